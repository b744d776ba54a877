"""Alerts and dashboards use documented metrics; the pages list the alerts and have a runbook for each."""

import json
import re

import pytest

from podpass.exchange.metrics import OUTCOMES
from tests.observability import (
    COMPONENTS,
    PACK,
    ROOT,
    alerts,
    expressions,
    metrics,
    missing,
    selected_values,
)

METRICS = (ROOT / "docs/metrics.md").read_text() + (ROOT / "docs/migrate/sidecar.md").read_text()
# Where the alerts of a component are listed.
LISTS = {
    "webhook": "docs/operate/webhook.md",
    "sidecar": "docs/migrate/sidecar.md",
    "authority": "docs/metrics.md",
}


def _row(metric: str) -> str:
    """Return the row of a metric in the documentation."""
    name = re.sub(r"_(?:bucket|sum|count)$", "", metric)
    rows = [
        line
        for line in METRICS.splitlines()
        if line.startswith("| `")
        and {f"`{name}`", f"`{name.removesuffix('_total')}`"} & set(re.findall(r"`\w+`", line))
    ]
    return rows[0] if rows else ""


@pytest.mark.parametrize("component", COMPONENTS)
def test_alerts_and_panels_use_documented_metrics_and_labels(component: str) -> None:
    used = metrics(component)
    assert len(used) > 4
    undocumented = [name for name in used if not _row(name)]
    undocumented += [
        f"{name}{{{label}}}"
        for name, labels in used.items()
        for label in labels - {"le"}
        if f"`{label}`" not in _row(name)
    ]
    assert not undocumented


@pytest.mark.parametrize("component", COMPONENTS)
def test_selected_label_values_are_documented(component: str) -> None:
    selected = selected_values(component)
    assert selected
    # The numbers of errors are on the page of errors.
    errors = (ROOT / "docs/errors.md").read_text()
    assert not [(name, value) for name, _, value in selected if value not in _row(name) + errors]


def test_alerts_and_panels_select_outcomes_of_the_exchange() -> None:
    """An alert on an outcome that is never counted would never fire."""
    selected = {value for _, label, value in selected_values("authority") if label == "outcome"}
    assert len(selected) > 2
    assert selected <= OUTCOMES


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_own_metric_is_on_the_dashboard(component: str) -> None:
    prefix = {
        "webhook": "admission|certificate",
        "sidecar": "proxy",
        "authority": "exchange|authority",
    }
    listed = set(
        re.findall(rf"^\| `(podpass_(?:{prefix[component]})_\w+)` \|", METRICS, re.MULTILINE)
    )
    board = (PACK / f"dashboards/{component}.json").read_text()
    assert len(listed) > 4
    assert not [name for name in listed if name not in board]


@pytest.mark.parametrize("component", COMPONENTS)
def test_page_lists_each_alert(component: str) -> None:
    page = (ROOT / LISTS[component]).read_text()
    listed = re.findall(r"^\| \[(Podpass\w+)\]\(\S+\) \| \S", page, re.MULTILINE)
    assert listed == [rule["alert"] for rule in alerts(component)]


def test_page_of_the_sidecar_has_the_expressions_and_durations_of_its_alerts() -> None:
    page = (ROOT / LISTS["sidecar"]).read_text()
    rows = re.findall(
        r"^\| \[(Podpass\w+)\]\(\S+\) \| .* \| `([^`]+)` \| (?:(\S+) )?\|$", page, re.MULTILINE
    )
    listed = [(name, expr.replace("\\|", "|"), duration) for name, expr, duration in rows]
    defined = [(rule["alert"], rule["expr"], rule.get("for", "")) for rule in alerts("sidecar")]
    assert listed == defined


@pytest.mark.parametrize("component", COMPONENTS)
def test_runbook_of_each_alert_exists(component: str) -> None:
    for rule in alerts(component):
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert anchor == rule["alert"].lower()
        section = re.search(
            rf"^### {rule['alert']}\n\n(.+?)(?=^#|\Z)",
            (ROOT / page).read_text(),
            re.DOTALL | re.MULTILINE,
        )
        assert section, rule["alert"]
        assert len(section[1]) > 60


def test_alert_names_and_panel_ids_are_unique() -> None:
    names = [rule["alert"] for component in COMPONENTS for rule in alerts(component)]
    assert len(names) == len(set(names))
    for component in COMPONENTS:
        board = json.loads((PACK / f"dashboards/{component}.json").read_text())
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids))
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
        assert len(places) == len(set(places)), "panels overlap"


def test_missing_metrics_and_labels_are_reported() -> None:
    exposition = 'podpass_proxy_tokens 1\npodpass_proxy_requests_total{other="x"} 1\n'
    found = missing("sidecar", exposition)
    assert "podpass_proxy_requests_total{outcome}" in found
    assert "podpass_proxy_expired_tokens" in found
    assert "podpass_proxy_tokens" not in found


def test_alert_and_panel_expressions_are_returned_by_title() -> None:
    found = dict(expressions("sidecar"))
    assert found["PodpassSidecarRefreshOverdue"] == "podpass_proxy_refresh_overdue_seconds > 600"
    assert found["Tokens in use"] == "sum(podpass_proxy_tokens)"
