// Validates objects of the Prometheus Operator's kinds, a JSON list in each file, against its published schemas.
import { readFileSync } from "node:fs";
import { PodMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor";
import { PrometheusRule } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule";
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor";

const kinds = { PodMonitor, PrometheusRule, ServiceMonitor };
const objects = process.argv.slice(2).flatMap((file) => JSON.parse(readFileSync(file)));
for (const object of objects) new kinds[object.kind](object).validate();
for (const kind in kinds) if (!objects.some((object) => object.kind === kind)) throw new Error(`no ${kind} was validated`);
