"""Shows a real Alertmanager, configured as deploy/README.md says, alerts side by side: which of them does it hold back?

inhibitions.py CONFIGURATION
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

ORGANIZATION = {"scope": "organization"}
PROJECT = {"scope": "project", "project_id": "p", "project_name": "search"}
NOT_COVERED = {"alertname": "OpenAIMTLSNotCovered", "severity": "critical"}
RUNWAY = {"alertname": "OpenAIMTLSRunwayShort", "severity": "critical"}
REFUSED = {"alertname": "OpenAIClientCertificateRefused", "severity": "critical", "client": "edge", "reason": "anchor_expired"}
FAILING = {"alertname": "OpenAICertExporterPollFailing"}
ABSENT = {"alertname": "OpenAICertExporterAbsent", "severity": "critical"}

# What happens, which alerts are raised, and which of them are held back. Each case is a job of its own.
CASES = {
    "polls have failed for an hour": (
        [FAILING | {"severity": "critical"}, FAILING | {"severity": "warning"}],
        [FAILING | {"severity": "warning"}],
    ),
    "polls have failed for a quarter of an hour": ([FAILING | {"severity": "warning"}], []),
    "nothing is scraped any more": ([ABSENT, FAILING | {"severity": "warning"}], [FAILING | {"severity": "warning"}]),
    "an outage of the organization": (
        [NOT_COVERED | ORGANIZATION, RUNWAY | ORGANIZATION, NOT_COVERED | PROJECT],
        [RUNWAY | ORGANIZATION, NOT_COVERED | PROJECT],
    ),
    "an outage of one project, and the organization's to come": (
        [NOT_COVERED | PROJECT, RUNWAY | PROJECT, RUNWAY | ORGANIZATION],
        [RUNWAY | PROJECT],
    ),
    "an outage of one project, and a client in it, and that client elsewhere": (
        [NOT_COVERED | PROJECT, REFUSED | PROJECT, REFUSED | ORGANIZATION],
        [REFUSED | PROJECT],
    ),
    "an outage of one organization of two": (
        [NOT_COVERED | ORGANIZATION | {"cluster": "eu"}, RUNWAY | ORGANIZATION | {"cluster": "us"}],
        [],
    ),
}


def main():
    with tempfile.TemporaryDirectory() as work, open(f"{work}/log", "wb") as log:
        alertmanager = subprocess.Popen(
            ["prometheus-alertmanager", f"--config.file={sys.argv[1]}", f"--storage.path={work}",
             "--web.listen-address=127.0.0.1:0", "--cluster.listen-address="],
            stdout=log, stderr=log,
        )  # fmt: skip
        try:
            check(f"http://{address(alertmanager, pathlib.Path(log.name))}/api/v2/alerts")
        finally:
            alertmanager.terminate()
            alertmanager.wait(20)


def address(alertmanager, log):
    """Where it says that it listens."""
    end = time.monotonic() + 20
    while not (found := re.search(r'"Listening on" address=(\S+)\n', log.read_text())):
        if alertmanager.poll() is not None or time.monotonic() > end:
            sys.exit(f"Alertmanager does not listen: {log.read_text()}")
        time.sleep(0.1)
    return found[1]


def check(url):
    alerts = [{"labels": alert | {"job": name}} for name, (raised, _) in CASES.items() for alert in raised]
    expected = {frozenset((alert | {"job": name}).items()) for name, (_, held) in CASES.items() for alert in held}
    end = time.monotonic() + 20
    while True:
        try:
            call(url, alerts)
            shown = call(url)
            held = {frozenset(a["labels"].items()) for a in shown if a["status"]["state"] == "suppressed"}
            if len(shown) == len(alerts) and held == expected:
                return
        except OSError:
            shown = held = "no answer"
        if time.monotonic() > end:
            sys.exit(f"of {shown}, held back: {held}, not {expected}")
        time.sleep(0.2)


def call(url, body=None):
    request = urllib.request.Request(url, body and json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as response:
        return json.loads(response.read() or "null")


main()
