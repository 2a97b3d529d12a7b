"""Writes a Grafana dashboard as TypeScript whose types are those of Grafana's schema, options and field options included."""

import json
import pathlib
import sys

dashboard = json.loads(pathlib.Path(sys.argv[1]).read_text())
PANELS = {"bargauge": "BarGauge", "stat": "Stat", "table": "Table", "timeseries": "TimeSeries"}

print("""\
import type { AnnotationQuery, Dashboard, Panel, RowPanel } from "@grafana/schema";
// An enum's members are written as their values.
type Plain<T> = T extends string ? `${T}` : T extends number | boolean | null | undefined ? T
  : T extends Array<infer U> ? Plain<U>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
type Query = { refId: string; datasource: { type: string; uid: string }; expr: string; legendFormat?: string;
  instant: boolean; range: boolean; format?: "time_series" | "table" | "heatmap" };
type Annotation = Plain<AnnotationQuery> & { expr: string; step: string; titleFormat: string; textFormat: string };""")
for kind, name in PANELS.items():
    print(
        f'import type * as {name} from "@grafana/schema/dist/esm/raw/composable/{kind}/panelcfg/x/{name}PanelCfg_types.gen";'
    )
for panel in dashboard["panels"]:
    number, kind = panel["id"], panel["type"]
    if kind == "row":
        print(f"export const panel{number}: Plain<RowPanel> = {json.dumps(panel)};")
        continue
    name = PANELS[kind]
    print(f"export const panel{number}: Plain<Panel> = {json.dumps(panel)};")
    print(f"export const options{number}: Partial<Plain<{name}.Options>> = {json.dumps(panel['options'])};")
    custom = panel["fieldConfig"]["defaults"].get("custom")
    if custom is not None:
        print(f"export const custom{number}: Partial<Plain<{name}.FieldConfig>> = {json.dumps(custom)};")
    for target in panel["targets"]:
        print(f"export const query{number}{target['refId']}: Query = {json.dumps(target)};")
print(f"export const annotations: Annotation[] = {json.dumps(dashboard['annotations']['list'])};")
rest = {key: value for key, value in dashboard.items() if key not in ("panels", "annotations")}
print(f"export const dashboard: Plain<Omit<Dashboard, 'panels' | 'annotations'>> = {json.dumps(rest)};")
