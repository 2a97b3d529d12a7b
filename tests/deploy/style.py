"""Asserts that the rules keep to what makes them readable and portable: style.py RULES RUNBOOK."""

import re
import sys

import yaml

rules_file, runbook = sys.argv[1:]
text = open(rules_file).read()
facts, alerts = (group["rules"] for group in yaml.safe_load(text)["groups"])
facts, derived = facts[:-2], facts[-2:]

# Short: without what is said to people, all of it fits on five screens, and every expression on a few lines.
assert len(re.sub(r"(?m)^( +)annotations:\n(?:\1 +.*\n|\n(?=\1 ))*", "", text).splitlines()) <= 265
assert all(len(line) <= 126 for line in text.splitlines())
for rule in facts + derived + alerts:
    expr, name = rule["expr"], rule.get("alert") or rule["record"]
    assert len(expr.splitlines()) <= 7, f"{name} is long"
    # Labels to keep are never listed, and nothing looks at what rules have said before.
    assert not re.search(r"\b(by|on)\b", expr), f"{name} lists labels to keep"
    assert "ALERTS" not in expr and not re.search(r"openai:[\w:]+(\{.*?\})?\[", expr), f"{name} refers to the past of a rule"
    assert not re.search(r"(?<![\w:])up\b", expr), f"{name} depends on Prometheus's own up"

# Each fact is recorded by the same lines, but for a reason, of which one is shown at a time.
shapes = set()
for rule in facts:
    metric = re.fullmatch(r"openai:(\w+):max", rule["record"])[1]
    own = re.search(r"ignoring \((.*?)\)", rule["expr"])[1]
    shape = " ".join(rule["expr"].replace("or ignoring (reason)", "or").split())
    shapes.add(shape.replace(f"openai_{metric}", "FACT").replace(f"({own})", "(OWN)"))
assert len(shapes) == 1, shapes
# And nothing mixes them with what is scraped: a platform may have added labels to the one and not to the other.
for rule in derived + alerts:
    assert ("openai:" in rule["expr"]) != ("openai_" in rule["expr"]), f"{rule} mixes facts and metrics"

severities = {}
for rule in alerts:
    severities.setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    assert rule["annotations"].keys() == {"summary", "description"}, f"{rule['alert']}: no address of a runbook by default"
assert severities == {
    "OpenAICertificateExpiry": {"critical", "warning"},
    "OpenAICertificateNotYetValid": {"warning"},
    "OpenAIMTLSRunwayShort": {"critical"},
    "OpenAIMTLSNotCovered": {"critical"},
    "OpenAIMTLSExpiryUnknown": {"warning"},
    "OpenAIMTLSEnforcementOff": {"warning"},
    "OpenAICertificateQuotaNearlyUsed": {"info"},
    "OpenAIClientCertificateRefused": {"critical"},
    "OpenAIClientCertificateRefusedSoon": {"critical", "warning"},
    "OpenAIClientIssuerNotTrusted": {"critical"},
    "OpenAIClientFilesFailed": {"warning"},
    "OpenAICertExporterPollFailing": {"critical", "warning"},
    "OpenAICertExporterAbsent": {"critical"},
    "OpenAICertExporterMalformed": {"warning"},
    "OpenAICertExporterReloadFailed": {"warning"},
    "OpenAICertExporterStateNotWritten": {"warning"},
    "OpenAICertExporterWebCertificateExpiry": {"warning"},
}, severities

sections = {s.splitlines()[0]: s for s in re.split(r"(?m)^## ", open(runbook).read())[1:]}
for alert in severities:
    parts = re.findall(r"(?m)^\*\*(.+?)\*\*", sections[alert])
    assert parts == ["What it means.", "How to see it.", "What to do."], f"{alert}: {parts}"
