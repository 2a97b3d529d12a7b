"""What the chart renders, for every values file and three generations of Helm; and what users of other charts stumbled over.

chart.py FOLDER: writes the renderings there, Kubernetes' own kinds as core/NAME.yaml and the Prometheus Operator's as
operator/NAME.json.
"""

import copy
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import yaml

from helm import CHART, DEPLOY, DIGEST, EVERYTHING, HELMS, MATRIX, MONITOR, README, Refused, is_test, objects, readme_values
from manifests import Rendering

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
RULES = DEPLOY / "alerts/openai-cert-exporter.rules.yaml"
helm = HELMS["3.10"]


def each_rendering_is_consistent_and_the_same_for_every_helm(folder):
    for name, values in MATRIX.items():
        texts = {version: render(values) for version, render in HELMS.items()}
        found = objects(texts["3.10"])
        for version, text in texts.items():
            assert objects(text) == found, f"Helm {version} renders {name} differently"
        Rendering(found, values, "a").check()
        Rendering(objects(helm(values, namespace="123")), values, "123").check()
        text = texts["3.10"]
        assert not re.search(r"[0-9]e\+[0-9]|: 0[0-7]{3}$|ipFamil|^ +$", text, re.MULTILINE), f"{name}: a number, an address"
        rules = [rule for o in found if o["kind"] == "PrometheusRule" for group in o["spec"]["groups"] for rule in group["rules"]]
        assert all(isinstance(value, str) for rule in rules for value in rule.get("labels", {}).values()), f"{name}: a severity"
        assert ("fsGroup" in text) == ("fsGroup" in json.dumps(values)) and not re.search("runAsUser|runAsGroup", text)
        write(folder, name, [o for o in found if not is_test(o)])


def write(folder, name, found):
    name = re.sub(r"\W+", "-", name)
    operator = [o for o in found if o["apiVersion"] == "monitoring.coreos.com/v1"]
    for kind in ("core", "operator"):
        (folder / kind).mkdir(exist_ok=True)
    (folder / f"core/{name}.yaml").write_text(yaml.safe_dump_all(o for o in found if o not in operator))
    (folder / f"operator/{name}.json").write_text(json.dumps(operator))


def what_is_wrong_is_refused_by_name():
    for text, named in {
        "nonsense: 1": "nonsense",
        "image: {tag: 12345678}": "image.tag",
        "image: {digest: 'sha256:sha256:00'}": "image.digest",
        "image: {pullSecrets: [{name: a}]}": "image.pullSecrets",
        "config: {api: {admin_key: x}}": "it belongs in the Secret",
        "config: {poll: {project_exclude: [no]}}": "config",
        "config: {poll: {interval: 5}}": "config",
        "config: {Poll: {}}": "Poll",
        "config: {clients: [{name: a}]}": "certificate_files",
        "config: {clients: [{name: a, files: [/a.pem]}]}": "files",
        "config: {clients: [{certificate_files: [/a.pem]}]}": "name",
        "clientSecrets: [{name: a}]": "clientSecrets.0",
        "clientSecrets: [a, a]": "clientSecrets",
        "replicas: -1": "replicas",
        "{state: {enabled: true}, replicas: 2}": "replicas",
        "monitor: {kind: Both}": "monitor.kind",
        "{monitor: {kind: PodMonitor}, podAnnotations: {prometheus.io/scrape: 'true'}}": "prometheus.io",
        "dashboard: {labels: {grafana_dashboard: 1}}": "dashboard.labels",
        "env: [{name: A, value: 5}]": "env.0.value",
        "volumes: [{name: config}]": "volumes.0.name",
        "volumes: [{name: client-secrets}]": "volumes.0.name",
        "rules: {enabled: true, severities: {OpenAINothing: page}}": "OpenAINothing",
        "rules: {enabled: true, thresholds: {expiryCriticalDays: 31}}": "expiryCriticalDays",
        "rules: {thresholds: {absentFor: 15}}": "absentFor",
        "rules: {labels: {severity: page}}": "severity",
        "config: {web: {listen_address: ':9000'}}": "listen_address",
        "config: {web: {listen_address: ['[::1]:10099', '127.0.0.1:10099']}}": "listen_address",
        "monitor: {interval: 10m}": "monitor.interval",
        "monitor: {interval: 301s}": "monitor.interval",
    }.items():
        for version, render in HELMS.items():
            try:
                render(text)
            except Refused as refusal:
                # Helm 4 writes paths with slashes.
                assert named in str(refusal) or named in str(refusal).replace("/", "."), f"Helm {version} refuses {text}: {refusal}"
            else:
                raise AssertionError(f"Helm {version} takes {text}")


def a_missing_value_is_named():
    """As after an upgrade with the values of an older release."""

    def paths(values, path=()):
        for key, value in values.items():
            yield (*path, key)
            if isinstance(value, dict):
                yield from paths(value, (*path, key))

    for path in paths(VALUES):
        values = None
        for key in reversed(path):
            values = {key: values}
        for render in HELMS.values():
            try:
                render({**MONITOR, **values})
            except Refused as refusal:
                assert path[-1] in str(refusal) and "nil pointer" not in str(refusal), f"{path}: {refusal}"


def it_can_be_a_dependency():
    for version, render in HELMS.items():
        with tempfile.TemporaryDirectory() as parent:
            parent = pathlib.Path(parent)
            dependency = {"name": "openai-cert-exporter", "version": "0.1.0", "condition": "openai-cert-exporter.enabled"}
            chart = {"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": [dependency]}
            (parent / "Chart.yaml").write_text(json.dumps(chart))
            shutil.copytree(CHART, parent / "charts/openai-cert-exporter")
            ours = lambda **more: {"global": {"a": {"b": "c"}}, "openai-cert-exporter": {"enabled": True, **more}}  # noqa: B023, E731
            assert "kind: Deployment" in render(ours(), chart=parent), version
            assert "kind: Deployment" not in render({"openai-cert-exporter": {"enabled": False}}, chart=parent)
            try:
                render(ours(nonsense=1), chart=parent)
                raise AssertionError(f"Helm {version} takes nonsense in a dependency")
            except Refused as refusal:
                assert "nonsense" in str(refusal)


def images():
    for image, expected in (
        ({"registry": "r.example:5000", "tag": "1"}, "r.example:5000/openai-cert-exporter:1"),
        ({"registry": "r.example/", "repository": "team/e"}, "r.example/team/e:0.1.0"),
        ({"registry": "", "repository": "team/e"}, "team/e:0.1.0"),
        ({"repository": "r.example/team/e", "tag": "1"}, "r.example/team/e:1"),
        ({"repository": "localhost:5000/e"}, "localhost:5000/e:0.1.0"),
        ({"digest": DIGEST, "tag": "1"}, f"registry.invalid/openai-cert-exporter@{DIGEST}"),
        ({"digest": DIGEST, "registry": ""}, f"openai-cert-exporter@{DIGEST}"),
    ):
        found = set(re.findall(r"(?m)^ +image: (.*)$", helm({"image": image})))
        assert found == {expected}, f"{image}: {found}"


def releases_share_nothing():
    names, pods = [], []
    for release in ("a.b", "1st-org", "openai-cert-exporter", "a", "b", "x" * 53, "x" * 52 + "y", "a-" * 26 + "a"):
        found = objects(helm(MATRIX["two replicas"] | {"state": {"enabled": False}}, release=release))
        rendering = Rendering(found, MATRIX["two replicas"], "a")
        rendering.check()
        names += [(o["kind"], o["metadata"]["name"]) for o in found]
        pods.append((rendering.spec["selector"]["matchLabels"], rendering.labels))
        names += [(o["kind"], o["metadata"]["name"]) for o in objects(helm({"state": {"enabled": True}}, release=release)) if "state" in o["metadata"]["name"]]
    assert len(set(names)) == len(names), "two releases have an object of one name"
    for n, (selector, _) in enumerate(pods):
        assert [m for m, (_, labels) in enumerate(pods) if selector.items() <= labels.items()] == [n]


def what_a_change_restarts():
    pod = lambda values: Rendering(objects(helm(values)), values, "a").spec["template"]  # noqa: E731
    assert pod({"config": {"poll": {"interval": "10m"}}}) != pod({}), "a changed configuration"
    assert pod({"service": {"port": 1}, "labels": {"a": "b"}, **MONITOR}) == pod({}), "what is beside the pods"
    assert helm(EVERYTHING) == helm(EVERYTHING), "no chance, no time"
    assert helm({}, options=["--is-upgrade"]) == helm({})


def what_an_upgrade_cannot_change():
    """As in the first release: another version of chart and program, or other values, change nothing here."""
    with tempfile.TemporaryDirectory() as other:
        other = pathlib.Path(other, "chart")
        shutil.copytree(CHART, other)
        (other / "Chart.yaml").write_text((CHART / "Chart.yaml").read_text().replace("0.1.0", "7.8.9"))
        for chart in (CHART, other):
            rendering = Rendering(objects(helm(EVERYTHING, chart=chart)), EVERYTHING, "a")
            assert rendering.spec["selector"] == {"matchLabels": {"app.kubernetes.io/name": "openai-cert-exporter", "app.kubernetes.io/instance": "x"}}
            claim = rendering.only("PersistentVolumeClaim")
            assert claim["metadata"]["name"] == "x-openai-cert-exporter-state"
            assert claim["spec"] == {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}


def rules_are_those_of_the_generator():
    """With the same options, and without any byte for byte; the operator's labels and the alerts' are not mixed up."""
    rule = helm({"rules": {"enabled": True}}, options=["--show-only", "templates/prometheusrule.yaml"])
    assert re.sub("(?m)^  ", "", rule.partition("\nspec:\n")[2]).rstrip() == RULES.read_text().rstrip()
    (rule,) = [o for o in objects(helm(EVERYTHING)) if o["kind"] == "PrometheusRule"]
    kebab = lambda name: re.sub("([A-Z])", lambda m: f"-{m[1].lower()}", name)  # noqa: E731
    values = EVERYTHING["rules"]
    options = [f"--{kebab(name)}={value}" for name, value in values["thresholds"].items()]
    options += [f"--severity={name}={value}" for name, value in values["severities"].items()]
    options += [f"--label={name}={value}" for name, value in values["labels"].items()] + [f"--runbook-url={values['runbookUrl']}"]
    generated = subprocess.check_output([DEPLOY / "alerts/generate", *options], text=True)
    assert rule["spec"] == yaml.safe_load(generated)
    assert rule["metadata"]["labels"]["release"] == "kube-prometheus-stack" and "team" not in rule["metadata"]["labels"]
    (board,) = [o for o in objects(helm(EVERYTHING)) if o["metadata"]["name"].endswith("-dashboard")]
    generated = subprocess.check_output([DEPLOY / "alerts/generate", *options[:7], "--format=dashboard"], text=True)
    assert json.loads(board["data"]["openai-cert-exporter.json"]) == json.loads(generated)


def the_archive_alone_is_enough(folder):
    subprocess.run([os.environ["HELM310"], "package", CHART, "--destination", folder], check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tgz")
    assert helm(EVERYTHING, chart=archive) == helm(EVERYTHING)
    archive.unlink()
    for version in ("HELM36", "HELM310"):
        subprocess.run([os.environ[version], "lint", "--strict", CHART], check=True, stdout=subprocess.DEVNULL)


def a_second_organization_brings_no_rules():
    second = [o["kind"] for o in objects(helm(readme_values()["README: a second organization"])) if not is_test(o)]
    assert "PodMonitor" in second and "PrometheusRule" not in second and second.count("ConfigMap") == 1
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert not any(re.search(r"\bjob *=", rule["expr"]) for rule in rules)


def versions_agree():
    cargo = re.search(r'(?m)^version = "(.*)"', (DEPLOY.parent / "Cargo.toml").read_text())[1]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == cargo, f"{chart} is for {cargo}"


def plain_manifests_stay_plain(folder):
    for path in DEPLOY.glob("kubernetes/**/*.yaml"):
        assert not re.search("helm", path.read_text(), re.IGNORECASE), path
    for overlay in ("kubernetes", "kubernetes/operator"):
        found = kustomize(DEPLOY / overlay)
        assert not re.search(r"\bdefault\b", yaml.safe_dump_all(o for o in found if o["kind"] != "ConfigMap" and o["kind"] != "PrometheusRule"))
        Rendering(found, {}, "openai-cert-exporter").check()
        write(folder, overlay, found)


def the_readme_can_be_followed():
    """Its kustomizations beside deploy/, where a changed configuration must restart the pods, and what it gives to others."""
    plain = pods_of(kustomize(DEPLOY / "kubernetes/operator"))
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        shutil.copytree(DEPLOY, work / "deploy")
        found = []
        for n, text in enumerate(re.findall(r"```yaml\n# kustomization\n([\s\S]*?)```", README)):
            (work / f"mine{n}").mkdir()
            (work / f"mine{n}/kustomization.yaml").write_text(text)
            found.append(kustomize(work / f"mine{n}"))
            Rendering(found[-1], {}, yaml.safe_load(text)["namespace"]).check()
    demo, configured, second = found
    (container,) = pods_of(demo)["containers"]
    assert container["args"][-1] == "demo" and container["image"].startswith("registry.example.com/")
    assert {o["metadata"]["labels"]["release"] for o in demo} == {"kube-prometheus-stack"}
    kinds = [o["kind"] for o in second]
    assert "PodMonitor" in kinds and "PrometheusRule" not in kinds and kinds.count("ConfigMap") == 1
    assert pods_of(configured)["volumes"] != plain["volumes"], "a changed configuration restarts the pods"
    others = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(apiVersion: [\s\S]*?)```", README)]
    values = [o["spec"]["source"]["helm"]["valuesObject"] for o in others if o["kind"] == "Application"]
    values += [o["spec"]["values"] for o in others if o["kind"] == "HelmRelease"]
    assert len(values) == 2 and [helm(v) for v in values]


def pods_of(found):
    (pod,) = [o["spec"]["template"]["spec"] for o in found if o["kind"] == "Deployment"]
    return pod


def kustomize(folder):
    return objects(subprocess.check_output(["kubectl", "kustomize", folder], text=True))


def main():
    folder = pathlib.Path(sys.argv[1])
    for check in (
        each_rendering_is_consistent_and_the_same_for_every_helm, what_is_wrong_is_refused_by_name, a_missing_value_is_named,
        it_can_be_a_dependency, images, releases_share_nothing, what_a_change_restarts, what_an_upgrade_cannot_change,
        rules_are_those_of_the_generator, the_archive_alone_is_enough, a_second_organization_brings_no_rules, versions_agree,
        plain_manifests_stay_plain, the_readme_can_be_followed,
    ):  # fmt: skip
        check(*[folder] * check.__code__.co_argcount)
        print(f"ok: {check.__name__.replace('_', ' ')}", flush=True)


main()
