"""Applies every rendering to the API server of KUBECONFIG as Helm 4, Flux and Argo CD do, and compares what is there then.

The server is of Kubernetes 1.20: it knows no policy/v1, which tests/deploy validates.
"""

import json
import os
import subprocess

import cloudcoil.models.prometheus_operator.v1 as operator

from helm import CHART, DEPLOY, EVERYTHING, HELMS, MATRIX, as_yaml, is_test, objects

GROUP = "monitoring.coreos.com"
NEWER = {"policy/v1"}


def kubectl(*arguments, given=None):
    command = ["kubectl", *map(str, arguments)]
    done = subprocess.run(command, input=given and json.dumps(given), capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def helm(*arguments, values=None):
    command = [os.environ["HELM310"], *map(str, arguments)]
    done = subprocess.run(command, input=as_yaml(values), capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def everything(found):
    return {"apiVersion": "v1", "kind": "List", "items": found}


def apply(found):
    kubectl("apply", "--server-side", "--filename", "-", given=everything(found))


def compare(wanted, there, path):
    """Every field that was applied is there, with the value that was applied."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            assert key in there, f"{path}.{key} is gone"
            compare(value, there[key], f"{path}.{key}")
    elif isinstance(wanted, list):
        # The server adds two tolerations to every pod.
        assert len(wanted) == len(there) or path.endswith(".tolerations"), f"{path}: {there}, not {wanted}"
        for n, value in enumerate(wanted):
            compare(value, there[n], f"{path}[{n}]")
    else:
        assert wanted == there, f"{path} is {there}, not {wanted}"


# --- The operator's definitions ----------------------------------------------------------------------------------------


def definitions():
    for model, plural in ((operator.PodMonitor, "podmonitors"), (operator.ServiceMonitor, "servicemonitors"), (operator.PrometheusRule, "prometheusrules")):
        kind, schema = model.__name__, model.model_json_schema(by_alias=True)
        spec = structural(schema["properties"]["spec"], schema["$defs"])
        schema = {"type": "object", "properties": {"spec": spec}}
        yield {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{GROUP}"},
            "spec": {
                "group": GROUP,
                "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
            },
        }


def structural(schema, named):
    """A model's JSON schema as a definition must have it: without references, titles and alternatives to null."""
    schema = {key: value for key, value in schema.items() if key not in ("title", "default", "description")}
    if "$ref" in schema:
        return structural(named[schema["$ref"].rpartition("/")[2]], named)
    if "anyOf" in schema:
        kinds = [kind for kind in schema.pop("anyOf") if kind != {"type": "null"}]
        if len(kinds) > 1:
            return {"x-kubernetes-preserve-unknown-fields": True}
        return structural(kinds[0], named)
    if "const" in schema:
        return {"type": "string", "enum": [schema["const"]]}
    if isinstance(schema.get("additionalProperties"), dict):
        schema["additionalProperties"] = structural(schema["additionalProperties"], named)
    elif "additionalProperties" in schema:
        del schema["additionalProperties"]
    if "properties" in schema:
        schema["properties"] = {key: structural(value, named) for key, value in schema["properties"].items()}
    if "items" in schema:
        schema["items"] = structural(schema["items"], named)
    return schema


# --- What is checked ---------------------------------------------------------------------------------------------------


def renderings():
    """Each in namespaces of its own."""
    for n, (name, values) in enumerate(MATRIX.items()):
        found = [o for o in objects(HELMS["3.10"](values)) if o["apiVersion"] not in NEWER]
        for o in found:
            o["metadata"]["namespace"] = f"{o['metadata']['namespace']}-{n}"
        yield name, found


def every_rendering_is_taken_as_it_is():
    count = 0
    for name, found in renderings():
        namespaces(o["metadata"]["namespace"] for o in found)
        apply(found)
        there = json.loads(kubectl("get", "--filename", "-", "--output", "json", given=everything(found)))["items"]
        for o, live in zip(found, there, strict=True):
            compare(o, live, f"{name}: {o['kind']}")
        count += len(found)
    print(f"ok: {count} objects of {len(MATRIX)} renderings are taken, and read back as they were written")


def namespaces(names):
    apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in sorted(set(names))])


def a_volume_can_be_turned_on_and_off():
    namespaces(["volume"])
    for values in ({}, {"state": {"enabled": True}}, {}):
        found = objects(HELMS["3.10"](values, namespace="volume"))
        apply([o for o in found if not is_test(o)])
        workloads = json.loads(kubectl("get", "deployments,statefulsets", "--namespace", "volume", "--output", "json"))["items"]
        assert [w["kind"] for w in workloads] == ["Deployment"]
    print("ok: state off, on and off again, with one workload")


def plain_manifests_are_taken():
    namespaces(["openai-cert-exporter"])
    for folder in ("kubernetes", "kubernetes/operator"):
        for how in (["--server-side", "--force-conflicts"], []):
            kubectl("apply", *how, "--kustomize", DEPLOY / folder)
    kubectl("delete", "--wait=false", "--kustomize", DEPLOY / "kubernetes/operator")
    print("ok: kubectl apply -k, server-side and not")


def helm_installs_upgrades_and_leaves_nothing():
    release = ["openai-cert-exporter", "--namespace", "helm"]
    demo = ["--values", DEPLOY / "demo.yaml", "--set", "image.registry=registry.example.com"]
    notes = helm("upgrade", "--install", release[0], CHART, *release[1:], "--create-namespace", *demo)
    assert "simulated organization" in notes and "NO POD" not in notes, notes
    notes = helm("upgrade", release[0], CHART, *release[1:], "--values", "-", values={**EVERYTHING, "rules": {"namespace": ""}, "monitor": {}, "dashboard": {}})
    assert "Secret other-name, key other.key" in notes, notes
    assert "NO POD CAN START YET" in helm("upgrade", release[0], CHART, *release[1:], "--values", "-", values={"replicas": 1})
    helm("uninstall", *release)
    kinds = "deployments,services,configmaps,serviceaccounts,networkpolicies,podmonitors,prometheusrules,secrets"
    left = json.loads(kubectl("get", kinds, "--namespace", "helm", "--output", "json"))["items"]
    assert not [o for o in left if o["metadata"]["name"].startswith("openai-cert-exporter")], left
    print("ok: helm installs the demo, upgrades it to an organization, says what is missing, and leaves nothing")


def main():
    apply(list(definitions()))
    kubectl("wait", "--for=condition=Established", "customresourcedefinitions", "--all", "--timeout=60s")
    every_rendering_is_taken_as_it_is()
    a_volume_can_be_turned_on_and_off()
    plain_manifests_are_taken()
    helm_installs_upgrades_and_leaves_nothing()


main()
