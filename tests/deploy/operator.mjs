// Validates manifests of the Prometheus Operator's kinds against its published schemas.
import { readFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { PodMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor";
import { PrometheusRule } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule";

const kinds = { PodMonitor, PrometheusRule };
for (const file of process.argv.slice(2)) {
  const manifest = JSON.parse(execFileSync("kubectl", ["create", "--dry-run=client", "-o", "json", "-f", file]));
  new kinds[manifest.kind](manifest).validate();
}
