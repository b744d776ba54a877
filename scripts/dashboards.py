"""Makes the Grafana dashboards from the panels in deploy/observability/panels.yaml."""

import json
from pathlib import Path
from typing import Any

import yaml

_PANELS = Path(__file__).parents[1] / "deploy/observability/panels.yaml"
DASHBOARDS: dict[str, Any] = yaml.safe_load(_PANELS.read_text())
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS, _HEIGHT, _WIDTH = 3, 8, 24


def dashboard(name: str, indent: int | None = 1) -> str:
    """Return a dashboard as JSON, for the import of Grafana or for its sidecar."""
    panels: list[dict[str, Any]] = []
    top = 0
    for heading, members in DASHBOARDS[name]["rows"].items():
        panels.append(_row(len(panels) + 1, heading, top))
        for number, panel in enumerate(members):
            line, column = divmod(number, _COLUMNS)
            panels.append(_panel(len(panels) + 1, panel, column, top + 1 + line * _HEIGHT))
        top += 1 + -(-len(members) // _COLUMNS) * _HEIGHT
    whole = {
        "uid": f"podpass-{name}",
        "title": DASHBOARDS[name]["title"],
        "tags": ["podpass"],
        "schemaVersion": 39,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "1m",
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Data source",
                    "type": "datasource",
                    "query": "prometheus",
                }
            ]
        },
        "panels": panels,
    }
    return json.dumps(whole, indent=indent) + "\n"


def _row(number: int, title: str, top: int) -> dict[str, Any]:
    place = {"x": 0, "y": top, "w": _WIDTH, "h": 1}
    row = {"id": number, "type": "row", "title": title, "gridPos": place}
    return row | {"collapsed": False, "panels": []}


def _panel(number: int, panel: dict[str, Any], column: int, top: int) -> dict[str, Any]:
    width = _WIDTH // _COLUMNS
    return {
        "id": number,
        "type": "timeseries",
        "title": panel["title"],
        "datasource": _SOURCE,
        "gridPos": {"x": column * width, "y": top, "w": width, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel["unit"], "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": [
            {"refId": chr(65 + index), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
            for index, (legend, expr) in enumerate(panel["queries"].items())
        ],
    }
