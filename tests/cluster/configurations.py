"""Has the exporter itself check every config.toml that the chart renders: it must take it, and read the same values from it."""

import os
import pathlib
import re
import subprocess
import tempfile
import tomllib

from helm import HELMS, MATRIX, objects


def flat(tables):
    sections = ((section, keys) for section, keys in tables.items() if isinstance(keys, dict))
    return {f"{section}.{key}": value for section, keys in sections for key, value in keys.items()}


def files(folder, config):
    """What the configuration names, below `folder`: certificates of an authority made up here, and a key."""
    for key, path in re.findall(r'(?m)^(\w+_file) = "(.*)"$', config):
        path = folder / path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        source = {"client_key_file": "key.pem", "config_file": "web.yml", "admin_key_file": "admin-key"}.get(key, "certificate.pem")
        path.write_bytes((folder / source).read_bytes())
    return re.sub(r'(?m)^(\w+_file = ")', rf"\1{folder}", config)


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "admin-key").write_text("sk-admin-test")
        (folder / "web.yml").write_text("basic_auth_users: {}\n")
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=test"]
        subprocess.run([*command, "-keyout", folder / "key.pem", "-out", folder / "certificate.pem"], check=True, capture_output=True)
        checked = 0
        for name, values in MATRIX.items():
            for version in ("3.6", "4"):
                (config,) = [o["data"]["config.toml"] for o in objects(HELMS[version](values)) if "config.toml" in o.get("data", {})]
                (folder / "config.toml").write_text(files(folder, config))
                environment = {} if "admin_key_file" in config else {"OPENAI_ADMIN_KEY": "sk-admin-test"}
                command = [os.environ["EXPORTER"], f"--config.file={folder}/config.toml", "check-config"]
                done = subprocess.run(command, capture_output=True, text=True, env=environment)
                assert done.returncode == 0, f"{name}: {done.stderr}{config}"
                effective = tomllib.loads(done.stdout)
                given = flat(values.get("config", {}))
                for key, value in given.items():
                    assert value is None or flat(effective)[key] == value, f"{name}: {key} is {flat(effective)[key]}"
                clients = values.get("config", {}).get("clients")
                assert clients is None or effective["clients"] == clients, f"{name}: {effective['clients']}"
                checked += 1
        print(f"ok: the exporter takes all {checked} configurations, with the values that were given")


main()
