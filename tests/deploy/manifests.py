"""Asserts what a schema cannot: that the parts of a rendered manifest fit together.

manifests.py RENDERED CORE OPERATOR writes the objects of Kubernetes' own kinds to CORE (YAML), and those of the
Prometheus Operator's to OPERATOR (JSON).
"""

import json
import pathlib
import re
import sys

import yaml

rendered, core, operator = sys.argv[1:]
objects = list(yaml.safe_load_all(pathlib.Path(rendered).read_text()))
by_kind = {}
for o in objects:
    by_kind.setdefault(o["kind"], []).append(o)
operators = [o for o in objects if o["apiVersion"] == "monitoring.coreos.com/v1"]
pathlib.Path(core).write_text(yaml.safe_dump_all(o for o in objects if o not in operators))
pathlib.Path(operator).write_text(json.dumps(operators))


def only(kind):
    assert len(by_kind.get(kind, [])) == 1, f"one {kind}"
    return by_kind[kind][0]


names = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
assert len(set(names)) == len(names), "no object twice"
namespaces = {o["metadata"].get("namespace") for o in objects if o["kind"] != "Namespace"}
assert len(namespaces) == 1, f"one namespace: {namespaces}"
for namespace in by_kind.get("Namespace", []):
    assert namespaces == {namespace["metadata"]["name"]}
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"

workload = only("StatefulSet" if "StatefulSet" in by_kind else "Deployment")
assert not ("StatefulSet" in by_kind and "Deployment" in by_kind)
spec, pod = workload["spec"], workload["spec"]["template"]["spec"]
labels = workload["spec"]["template"]["metadata"]["labels"]
(container,) = pod["containers"]

# Everything that selects pods selects these, and nothing selects by less than their name.
selectors = {
    "workload": spec["selector"]["matchLabels"],
    "service": only("Service")["spec"]["selector"],
    "policy": only("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
}
# One replica has nothing to spread, and a budget would stand in the way of a drain or do nothing.
assert (spec["replicas"] > 1) == ("PodDisruptionBudget" in by_kind) == ("topologySpreadConstraints" in pod)
if spec["replicas"] > 1:
    selectors["budget"] = only("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    selectors["spread"] = pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]
for monitor in by_kind.get("PodMonitor", []):
    selectors["monitor"] = monitor["spec"]["selector"]["matchLabels"]
    assert "jobLabel" not in monitor["spec"], "organizations are told apart by namespace"
    for endpoint in monitor["spec"]["podMetricsEndpoints"]:
        assert {"action": "labeldrop", "regex": "endpoint"} in endpoint["relabelings"], "`endpoint` is the exporter's own"
for who, selector in selectors.items():
    assert selector and selector.items() <= labels.items(), f"{who} selects the pods"

# Ports are called by a name that the container has, which is the one that the program listens on.
ports = {port["name"]: port["containerPort"] for port in container["ports"]}
assert ports == {"http": 10099}
named = [port["targetPort"] for port in only("Service")["spec"]["ports"]]
named += [port["port"] for rule in only("NetworkPolicy")["spec"]["ingress"] for port in rule["ports"]]
named += [
    endpoint["port"] for monitor in by_kind.get("PodMonitor", []) for endpoint in monitor["spec"]["podMetricsEndpoints"]
]
for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
    assert container[probe]["httpGet"]["path"] == path
    named.append(container[probe]["httpGet"]["port"])
assert set(named) == {"http"}
egress = {port["port"] for rule in only("NetworkPolicy")["spec"]["egress"] for port in rule["ports"]}
assert egress == {53, 443} and set(only("NetworkPolicy")["spec"]["policyTypes"]) == {"Ingress", "Egress"}

# Volumes are mounted, mounts have volumes, and what they refer to is here or is a Secret of the operator's.
volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
claims = {claim["metadata"]["name"]: claim for claim in spec.get("volumeClaimTemplates", [])}
mounts = [mount["name"] for mount in container.get("volumeMounts", [])]
assert sorted(mounts) == sorted([*volumes, *claims]), f"{mounts} are {[*volumes, *claims]}"
config_maps = {o["metadata"]["name"] for o in by_kind["ConfigMap"]}
for volume in volumes.values():
    if "configMap" in volume:
        assert volume["configMap"]["name"] in config_maps, volume
    else:
        assert volume["secret"]["secretName"] in {"openai-admin-key", "openai-client-certificate"}
        assert volume["secret"]["defaultMode"] == 0o440 and pod["securityContext"]["fsGroup"] == 65532
paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
for variable in container.get("env", []):
    if variable["name"].endswith("_FILE"):
        assert any(variable["value"].startswith(path + "/") for path in paths), f"{variable} is on a volume"
assert len({v["name"] for v in container.get("env", [])}) == len(container.get("env", [])), "no variable twice"
if claims:
    assert spec["serviceName"] == only("Service")["metadata"]["name"] and "strategy" not in spec
else:
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}

# Requests do not exceed limits; the program has been measured within them.
UNITS = {"": 1, "m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def quantity(text):
    number, unit = re.fullmatch(r"(\d+)([a-zA-Z]*)", text).groups()
    return int(number) * UNITS[unit]


requests, limits = container["resources"]["requests"], container["resources"]["limits"]
assert requests.keys() == limits.keys() == {"cpu", "memory"}
assert all(quantity(requests[key]) <= quantity(limits[key]) for key in limits)
assert quantity(limits["memory"]) >= 32 * 2**20

# Restricted, and without anything of the cluster's.
assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False
assert only("ServiceAccount")["automountServiceAccountToken"] is False
assert pod["serviceAccountName"] == only("ServiceAccount")["metadata"]["name"]
assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 65532
assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
assert container["securityContext"] == {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
assert ":" in container["image"] and not container["image"].endswith(":latest")

for config_map in by_kind["ConfigMap"]:
    for name, text in config_map["data"].items():
        if name.endswith(".json"):
            assert json.loads(text)["panels"] and config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
