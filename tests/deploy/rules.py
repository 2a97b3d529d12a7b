"""Runs the tests of the alert rules as they are, and in environments that differ from the one they were written in.

rules.py PROMTOOL...: each is asked the same, and must give the same answers.
"""

import concurrent.futures
import copy
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

ALERTS = pathlib.Path(__file__).resolve().parents[2] / "deploy/alerts"
RULES = yaml.safe_load((ALERTS / "openai-cert-exporter.rules.yaml").read_text())
TESTS = {path.name: yaml.safe_load(path.read_text()) for path in sorted(ALERTS.glob("*.test.yaml"))}
SHORT = ["alerts.test.yaml", "clients.test.yaml", "outages.test.yaml"]  # steps of a minute or less take too long for what lasts days


def as_it_is():
    return RULES, TESTS


def every(interval):
    """Rules are evaluated at this interval."""
    return RULES, {name: {**TESTS[name], "evaluation_interval": interval} for name in SHORT}


def with_label(name, value):
    """The platform adds a label to every rule, or puts its own in place of the target's."""
    rules, tests = copy.deepcopy(RULES), {}
    for rule in rules_of(rules):
        rule.setdefault("labels", {})[name] = value
    for file in SHORT:
        tests[file] = copy.deepcopy(TESTS[file])
        tests[file]["tests"] = [test for test in tests[file]["tests"] if len(values_of(name, test)) <= 1]
        for test in tests[file]["tests"]:
            for alert in expected_of(test):
                alert["exp_labels"][name] = value
    return rules, tests


def enforced_namespace(value):
    """As the Prometheus Operator's enforcedNamespaceLabel: on every target, rule and selector."""
    rules, tests = with_label("namespace", value)
    for rule in rules_of(rules):
        rule["expr"] = re.sub(r"(?<![\w:])(openai[\w:]+)(?:{(.*?)})?", select(value), rule["expr"])
    for file in tests.values():
        for test in file["tests"]:
            for series in test["input_series"]:
                series["series"] = series["series"].replace("{", f'{{namespace="{value}", ', 1)
    return rules, tests


def select(namespace):
    return lambda match: f'{match[1]}{{namespace="{namespace}", {match[2] or ""}}}'.replace(", }", "}")


def rules_of(rules):
    return [rule for group in rules["groups"] for rule in group["rules"]]


def values_of(label, test):
    return {v for series in test["input_series"] for v in re.findall(rf'\b{label}="(.*?)"', series["series"])}


def expected_of(test):
    return [alert for case in test.get("alert_rule_test", []) for alert in case["exp_alerts"]]


ENVIRONMENTS = {
    "as they are": as_it_is,
    "evaluated every 15 s": lambda: every("15s"),
    "evaluated every 2 min": lambda: every("2m"),
    "a label added to every rule": lambda: with_label("team", "edge"),
    "a target's label overridden in every rule": lambda: with_label("job", "platform"),
    "one namespace enforced on every rule and selector": lambda: enforced_namespace("tenant"),
}
SLOW = "evaluated every 15 s"  # one promtool is enough


def run(environment, promtool):
    rules, tests = ENVIRONMENTS[environment]()
    with tempfile.TemporaryDirectory() as work:
        pathlib.Path(work, "openai-cert-exporter.rules.yaml").write_text(yaml.safe_dump(rules))
        for name, test in tests.items():
            pathlib.Path(work, name).write_text(yaml.safe_dump(test))
        done = subprocess.run([promtool, "test", "rules", *tests], cwd=work, capture_output=True, text=True)
    cases = sum(len(test["tests"]) for test in tests.values())
    return environment, promtool, cases, done.returncode, done.stdout + done.stderr


failed = False
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    for environment, promtool, cases, code, output in pool.map(
        lambda what: run(*what), [(e, p) for e in ENVIRONMENTS for p in sys.argv[1:] if e != SLOW or p == sys.argv[-1]]
    ):
        if code:
            failed = True
            print(f"{environment}, {promtool}: {output}", file=sys.stderr)
        else:
            version = subprocess.run([promtool, "--version"], capture_output=True, text=True).stdout.split()[2]
            print(f"ok: {cases} tests of the rules, {environment}, promtool {version}")
sys.exit(failed)
