"""Asserts what a schema cannot: that the parts of a rendering fit together."""

import json
import re

UNITS = {"": 1, "m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
OWN_CONTAINER = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
# What differs between a kind's two namespaces: these may be put where Prometheus and Grafana look for them.
ELSEWHERE = {"PodMonitor": "monitor", "ServiceMonitor": "monitor", "PrometheusRule": "rules", "ConfigMap": "dashboard"}


def quantity(text):
    number, unit = re.fullmatch(r"(\d+)([a-zA-Z]*)", text).groups()
    return int(number) * UNITS[unit]


def unique(values, what):
    values = list(values)
    assert len(set(values)) == len(values), f"{what} twice: {values}"
    return values


class Rendering:
    """The objects of one release."""

    def __init__(self, objects, values, namespace):
        self.objects, self.values, self.namespace = objects, values, namespace
        self.workload = self.only("Deployment")
        self.spec = self.workload["spec"]
        self.pod = self.spec["template"]["spec"]
        (self.container,) = self.pod["containers"]
        self.labels = self.spec["template"]["metadata"]["labels"]

    def all(self, kind):
        return [o for o in self.objects if o["kind"] == kind]

    def only(self, kind):
        (found,) = self.all(kind)
        return found

    def check(self):
        self.metadata_is_complete()
        self.selectors_select_the_pods()
        self.ports_have_names()
        self.volumes_are_mounted(self.pod, self.container)
        self.configuration_names_what_is_mounted()
        self.pods_are_restricted(self.pod, self.container)
        self.requests_are_within_limits()
        self.strategy_fits_the_volume()
        self.dashboards_are_json()
        for test in self.all("Pod"):
            (container,) = test["spec"]["containers"]
            self.volumes_are_mounted(test["spec"], container)
            self.pods_are_restricted(test["spec"], container)

    def metadata_is_complete(self):
        unique(((o["kind"], o["metadata"]["namespace"], o["metadata"]["name"]) for o in self.objects), "an object")
        for o in self.objects:
            metadata = o["metadata"]
            assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", metadata["name"]), metadata["name"]
            other = self.values.get(ELSEWHERE.get(o["kind"]), {}).get("namespace")
            assert metadata["namespace"] in {self.namespace, other}, metadata
            for values in (metadata["labels"], metadata.get("annotations", {})):
                assert all(isinstance(value, str) for value in values.values()), values

    def selectors_select_the_pods(self):
        """By name and instance and nothing else: a Deployment's cannot be changed, and two releases share nothing."""
        matches = lambda selector: selector["matchLabels"]  # noqa: E731
        selectors = [matches(self.spec["selector"]), self.only("Service")["spec"]["selector"]]
        selectors += [matches(o["spec"]["podSelector"]) for o in self.all("NetworkPolicy")]
        # One replica has nothing to spread, and a budget would stand in the way of a drain or do nothing.
        many = self.spec["replicas"] > 1
        assert many == bool(self.all("PodDisruptionBudget")) == ("topologySpreadConstraints" in self.pod) == ("minReadySeconds" in self.spec)
        if many:
            budget = self.only("PodDisruptionBudget")["spec"]
            assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
            selectors += [matches(budget["selector"]), matches(self.pod["topologySpreadConstraints"][0]["labelSelector"])]
        for monitor in self.monitors():
            selectors.append(matches(monitor["spec"]["selector"]))
            elsewhere = monitor["metadata"]["namespace"] != self.namespace
            assert monitor["spec"].get("namespaceSelector") == ({"matchNames": [self.namespace]} if elsewhere else None)
        for selector in selectors:
            assert selector.keys() == {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
            assert selector == selectors[0] and selector.items() <= self.labels.items()
            assert selector.items() <= self.only("Service")["metadata"]["labels"].items(), "a ServiceMonitor finds the Service"
            for test in self.all("Pod"):
                assert not selector.items() <= test["metadata"]["labels"].items(), "the test's pod serves nothing"

    def monitors(self):
        return self.all("PodMonitor") + self.all("ServiceMonitor")

    def ports_have_names(self):
        """And a kubelet can ask the port of the probes."""
        web = {"tls": False, "probePort": 0, **self.values.get("web", {})}
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        assert ports == {"http": 10099, **({"probe": web["probePort"]} if web["probePort"] else {})}
        (service,) = self.only("Service")["spec"]["ports"]
        named = [service["targetPort"]] + [p["port"] for o in self.all("NetworkPolicy") for r in o["spec"]["ingress"] for p in r["ports"]]
        for monitor in self.monitors():
            spec = monitor["spec"]
            (endpoint,) = spec["podMetricsEndpoints"] if monitor["kind"] == "PodMonitor" else spec["endpoints"]
            assert "jobLabel" not in spec and {"action": "labeldrop", "regex": "endpoint"} in endpoint["relabelings"]
            assert endpoint.get("scheme") == ("https" if web["tls"] else None) and "honorLabels" not in endpoint
            assert endpoint.get("interval") != ""
            named.append(endpoint["port"])
        assert set(named) == {"http"} and service["name"] == "http" and len(self.monitors()) <= 1
        assert service["protocol"] == "TCP" and all(port["protocol"] == "TCP" for port in self.container["ports"])
        for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
            asked = {"path": path, "port": "probe" if web["probePort"] else "http"}
            if web["tls"] and not web["probePort"]:
                asked["scheme"] = "HTTPS"
            assert self.container[probe]["httpGet"] == asked

    def volumes_are_mounted(self, pod, container):
        volumes = unique((volume["name"] for volume in pod["volumes"]), "a volume")
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert sorted(mounts) == sorted(volumes), f"{mounts} are {volumes}"
        unique(mounts.values(), "a mount")
        unique((variable["name"] for variable in container.get("env", [])), "a variable")
        assert all("subPath" not in mount for mount in container["volumeMounts"]), "what is rotated arrives"
        for volume in pod["volumes"]:
            if "secret" in volume:
                assert volume["secret"]["defaultMode"] == 0o444, "whoever the pod runs as can read it"
            if "projected" in volume:
                assert volume["projected"]["defaultMode"] == 0o444, "whoever the pod runs as can read it"
                secrets = [source["secret"] for source in volume["projected"]["sources"]]
                assert [secret["name"] for secret in secrets] == self.values["clientSecrets"]
                for secret in secrets:
                    items = [{"key": "tls.crt", "path": f"{secret['name']}/tls.crt"}]
                    assert secret["optional"] and secret["items"] == items, "no private key"
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] == self.only("PersistentVolumeClaim")["metadata"]["name"]
            if "configMap" in volume:
                assert volume["configMap"]["name"] in {o["metadata"]["name"] for o in self.all("ConfigMap")}

    def configuration_names_what_is_mounted(self):
        (config,) = [o["data"]["config.toml"] for o in self.all("ConfigMap") if "config.toml" in o["data"]]
        folders = [mount["mountPath"] for mount in self.container["volumeMounts"]]
        named = re.findall(r'(?m)^\w+_file = "(.*)"$', config)
        assert all(path.rpartition("/")[0] in folders for path in named), f"{named} are on volumes"
        secrets = [folder for folder in folders if folder.startswith("/run/secrets/")]
        assert {path.rpartition("/")[0] for path in named} >= set(secrets), "every Secret is named"
        assert not re.search(r"0\.0\.0\.0|\[::\]", config), "no address is fixed"
        assert not re.search(r"(?m)^[^#\n]*\d\.0$|e\+", config), "no number is a float"

    def pods_are_restricted(self, pod, container):
        """As the `restricted` pod security standard wants it, without fixed ids, and without anything of the cluster's."""
        assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False
        account = self.only("ServiceAccount")
        assert pod["serviceAccountName"] == account["metadata"]["name"] and account["automountServiceAccountToken"] is False
        context = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}} | self.values.get("podSecurityContext", {})
        assert pod["securityContext"] == context and container["securityContext"] == OWN_CONTAINER
        assert re.fullmatch(r"[^:@]+(:\d+/[^:@]+)?(:[\w.-]+|@sha256:[0-9a-f]{64})", container["image"]), container["image"]
        assert not container["image"].endswith(":latest") and "secretKeyRef" not in json.dumps(container)

    def requests_are_within_limits(self):
        """Within which the program has been measured."""
        limits, requests = self.container["resources"].get("limits", {}), self.container["resources"]["requests"]
        assert all(quantity(requests[key]) <= quantity(limits[key]) for key in limits)
        assert quantity(limits["memory"]) >= 32 * 2**20

    def strategy_fits_the_volume(self):
        if self.all("PersistentVolumeClaim"):
            assert self.spec["strategy"] == {"type": "Recreate"} and self.spec["replicas"] == 1
            assert self.only("PersistentVolumeClaim")["spec"]["accessModes"] == ["ReadWriteOnce"]
        else:
            assert self.spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}

    def dashboards_are_json(self):
        for config_map in self.all("ConfigMap"):
            for name, text in config_map["data"].items():
                if name.endswith(".json"):
                    assert json.loads(text)["panels"]
