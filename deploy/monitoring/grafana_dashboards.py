# SPDX-License-Identifier: Apache-2.0
"""Writes the dashboards as JSON that Grafana imports: python -m deploy.monitoring.grafana_dashboards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as dashboard_models
from grafana_foundation_sdk.models import prometheus as prometheus_models

from deploy.monitoring.panels import BOARDS, Board, Kind, Panel

FOLDER = Path(__file__).parent / "dashboards"
COLUMNS, HEIGHT = 24, 8  # of Grafana's grid
SMALL, THIRD = 4, 8  # columns of a panel
_SOURCE = dashboard_models.DataSourceRef(type_val="prometheus", uid="${datasource}")


def dashboard_json(board: Board) -> str:
    """A dashboard as Grafana's JSON model, with a line feed at its end."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .tags(["eulernet"])
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .tooltip(dashboard_models.DashboardCursorSync.CROSSHAIR)
    )
    for variable in _variables(board):
        built.with_variable(variable)
    for row in board.rows:
        built.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            built.with_panel(_panel(panel))
    model = json.loads(JSONEncoder().encode(built.build()))
    return json.dumps(_without_nulls(model), sort_keys=True, indent=1) + "\n"


def _without_nulls(value: Any) -> Any:
    """Grafana takes its defaults for a missing field, not for null."""
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _variables(board: Board) -> list[Any]:
    names = {
        "namespace": "label_values(eulernet_ready, namespace)",
        "job": 'label_values(eulernet_ready{namespace=~"$namespace"}, job)',
    }
    if board.by_model:
        names["model"] = "label_values(eulernet_frames_total, model)"
    return [
        dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        *(
            dashboard.QueryVariable(name)
            .query(query)
            .datasource(_SOURCE)
            .refresh(dashboard_models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*")  # also matches servers outside of Kubernetes, which have no namespace
            .current(dashboard_models.VariableOption(text="All", value="$__all", selected=True))
            for name, query in names.items()
        ),
    ]


def _panel(panel: Panel) -> Any:
    instant = panel.kind in (Kind.NUMBER, Kind.TABLE)
    built = _builder(panel).title(panel.title).unit(panel.unit).datasource(_SOURCE).height(HEIGHT)
    built.span(SMALL if panel.kind is Kind.NUMBER else THIRD)
    if panel.help:
        built.description(panel.help)
    for number, query in enumerate(panel.queries):
        target = prometheus.Dataquery().ref_id(chr(ord("A") + number)).expr(query.expr).datasource(_SOURCE)
        target.legend_format(query.name or "__auto")
        target = target.instant() if instant else target.range()
        if panel.kind is Kind.HEATMAP:
            target.format(prometheus_models.PromQueryFormat.HEATMAP)
        if panel.kind is Kind.TABLE:
            target.format(prometheus_models.PromQueryFormat.TABLE)
        built.with_target(target)
    return built


def _builder(panel: Panel) -> Any:
    if panel.kind is Kind.NUMBER:
        return stat.Panel()
    if panel.kind is Kind.TABLE:
        return table.Panel()
    if panel.kind is Kind.HEATMAP:
        return heatmap.Panel().calculate(False)
    lines = timeseries.Panel().min(0).fill_opacity(0)
    if panel.kind is Kind.AREAS:
        stacked = common.StackingConfig().mode(common_models.StackingMode("normal"))
        lines.fill_opacity(40).stacking(stacked)
    return lines


def main() -> None:
    """Writes all dashboards."""
    FOLDER.mkdir(exist_ok=True)
    for board in BOARDS:
        path = FOLDER / f"{board.uid}.json"
        path.write_text(dashboard_json(board))
        print(path)


if __name__ == "__main__":
    main()
