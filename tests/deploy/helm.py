"""The chart as three generations of Helm render it, and the values that tests give it.

HELM36 and HELM310 name the programs; Helm 4 is the Python package helm-python-sdk.
"""

import json
import os
import pathlib
import re
import subprocess

import helm_python
import yaml

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
CHART = DEPLOY / "chart"
README = (DEPLOY / "README.md").read_text()

DIGEST = "sha256:" + "0123456789abcdef" * 4
MONITOR = {"monitor": {"kind": "PodMonitor"}, "rules": {"enabled": True}, "dashboard": {"enabled": True}}
# Everything that goes together with one replica.
EVERYTHING = {
    "image": {"registry": "registry.example.com:5000", "digest": DIGEST, "pullSecrets": ["registry"]},
    "adminKey": {"secret": "other-name", "key": "other.key"},
    "config": {
        "api": {"base_url": "https://mtls.api.openai.com/v1", "page_size": 50},
        "poll": {"concurrency": 8, "projects": True, "interval": "5m", "project_include": ["^a|b{2}", 'c"d\\.e', "<&>é"], "state_file": None},
        "log": {"format": "text"},
    },
    "clientCertificate": {"secret": "client", "certificate": "c.pem", "key": "k.pem"},
    "certificateAuthority": {"secret": "roots", "key": "roots.pem"},
    "clientSecrets": ["edge-client", "edge.ca"],
    "state": {"enabled": True, "size": "1Gi", "storageClass": "fast"},
    "web": {"secret": "web", "key": "w.yml", "tls": True, "probePort": 10098},
    "service": {"port": 80},
    "monitor": {
        "kind": "ServiceMonitor",
        "namespace": "monitoring",
        "interval": "1m",
        "tlsConfig": {"insecureSkipVerify": True},
        "basicAuth": {"username": {"name": "scrape", "key": "user"}, "password": {"name": "scrape", "key": "password"}},
    },
    "rules": {
        "enabled": True,
        "namespace": "monitoring",
        "labels": {"team": "edge"},
        "severities": {"critical": "page", "OpenAICertExporterMalformed": "info", "OpenAICertificateExpiry/warning": "ticket"},
        "runbookUrl": "https://wiki.example.org/RUNBOOK.md",
        "thresholds": {
            "expiryWarningDays": 45, "expiryCriticalDays": 10, "runwayCriticalDays": 14, "quota": 40,
            "pollFailingWarningFor": "30m", "pollFailingCriticalFor": "2h", "absentFor": "1h",
        },
    },
    "dashboard": {"enabled": True, "namespace": "grafana", "labels": {"board": "1"}, "annotations": {"folder": "TLS"}},
    "podSecurityContext": {"fsGroup": 65532},
    "extraArgs": ["--log.level=debug"],
    "env": [{"name": "A", "value": "1e6"}, {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName", "apiVersion": "v1"}}}],
    "volumes": [{"name": "clients", "secret": {"secretName": "clients", "defaultMode": 292}}],
    "volumeMounts": [{"name": "clients", "mountPath": "/clients", "readOnly": True}],
    "labels": {"release": "kube-prometheus-stack"},
    "annotations": {"note": "{{ x }}"},
    "podLabels": {"tier": "monitoring"},
    "podAnnotations": {"note": "{{ y }}"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]}]}}},
}  # fmt: skip


def without(values, *keys):
    return {key: value for key, value in values.items() if key not in keys}


def readme_values():
    """The values files of deploy/README.md: YAML blocks that begin with the comment `values: NAME`."""
    blocks = re.findall(r"^( *)```yaml\n *# values: (.*)\n([\s\S]*?)^ *```$", README, re.MULTILINE)
    return {f"README: {name}": yaml.safe_load(text) for _, name, text in blocks}


MATRIX = {
    "defaults": {},
    "no replica": {"replicas": 0},
    "two replicas": {"replicas": 2, **MONITOR},
    "everything": EVERYTHING,
    "everything, two replicas": without(EVERYTHING, "state") | {"replicas": 2},
    "annotations": {"monitor": {"kind": "annotations"}, "web": {"secret": "web", "tls": True}},
    "users": {"web": {"secret": "web"}, **MONITOR},
    "client certificates": {"web": {"secret": "web", "tls": True, "probePort": 10098}, **MONITOR},
    "state": {"state": {"enabled": True}},
    "clients": {"config": {"clients": [{"name": "a", "certificate_files": ["/a/*.pem"]}, {"name": "b", "issuer_files": ["/b.pem"]}]}},
    "no key, no policy, no limits": {"adminKey": {"secret": ""}, "networkPolicy": {"enabled": False}, "resources": {"limits": {"cpu": None}}},
    "anybody scrapes": {"networkPolicy": {"from": [], "egress": []}, "monitor": {"kind": "ServiceMonitor", "interval": ""}},
    "names that YAML reads as something else": {
        "image": {"pullSecrets": ["123", "on"]},
        "adminKey": {"secret": "123"},
        "clientCertificate": {"secret": "1e3"},
        "certificateAuthority": {"secret": "no"},
        "clientSecrets": ["on", "0x1"],
        "state": {"enabled": True, "storageClass": "1"},
        "web": {"secret": "null"},
        "monitor": {"kind": "PodMonitor", "namespace": "1"},
        "rules": {"enabled": True, "namespace": "2", "severities": {"critical": "1", "warning": "on"}},
        "dashboard": {"enabled": True, "namespace": "3"},
    },
    "demo": yaml.safe_load((DEPLOY / "demo.yaml").read_text()),
    **readme_values(),
}  # fmt: skip


class Refused(Exception):
    """Helm renders nothing, for the reason given."""


def as_yaml(values):
    """A values file. Tests that care for how it is written give its text."""
    return values if isinstance(values, str) else json.dumps(values or {})


def program(path):
    def render(values=None, release="x", namespace="a", chart=CHART, options=()):
        command = [path, "template", release, chart, "--namespace", namespace, "--values", "-", *options]
        done = subprocess.run(command, input=as_yaml(values), capture_output=True, text=True)
        if done.returncode:
            raise Refused(done.stderr)
        return done.stdout

    return render


def library(values=None, release="x", namespace="a", chart=CHART):
    try:
        with helm_python.Chart.load(chart) as loaded:
            rendered = loaded.render(helm_python.values_from_yaml(as_yaml(values)), name=release, namespace=namespace)
    except helm_python.HelmError as error:
        raise Refused(str(error)) from error
    return "\n---\n".join(text for path, text in rendered.items() if path.endswith(".yaml"))


HELMS = {"3.6": program(os.environ["HELM36"]), "3.10": program(os.environ["HELM310"]), "4": library}


def objects(text):
    """The objects of a rendering, in an order of their own."""
    return sorted((o for o in yaml.safe_load_all(text) if o), key=lambda o: (o["kind"], o["metadata"]["name"]))


def is_test(o):
    return "helm.sh/hook" in o["metadata"].get("annotations", {})
