"""Metrics of a running authority, over all processes; docs/metrics.md lists all of them."""

import re
from pathlib import Path

import pytest

from podpass.exchange.metrics import OUTCOMES
from tests import observability
from tests.servers.authority.running import Authority

pytestmark = pytest.mark.processes

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
OWN = PAGE.read_text().partition("# Metrics of the webhook")[0]


@pytest.fixture(scope="module")
def running(shared: Authority) -> Authority:
    shared.start(workers=2)
    return shared


def _list_exported_metrics(authority: Authority) -> dict[str, str]:
    """Return the type of each metric, by its name without the suffix of a counter."""
    text = authority.get("/metrics").body
    found = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    return {
        name.removesuffix("_total") if kind == "counter" else name: kind
        for name, kind in found.items()
    }


def _list_documented_metrics() -> dict[str, str]:
    return dict(re.findall(r"^\| `(podpass_\w+)` \| (\w+) \|", OWN, re.MULTILINE))


def test_docs_list_every_exported_metric(running: Authority) -> None:
    assert _list_documented_metrics() == _list_exported_metrics(running)
    assert len(_list_documented_metrics()) >= 14


def test_alerts_use_existing_metrics_and_outcomes() -> None:
    alerts = OWN.partition("## Alerts")[2]
    names = set(re.findall(r"podpass_\w+", alerts))
    assert names
    for name in names:
        assert re.sub(r"_(total|bucket)$", "", name) in _list_documented_metrics()
    assert {"AADSTS50000", "AADSTS90033", "throttled"} <= OUTCOMES


def test_alerts_and_dashboard_use_metrics_and_labels_that_an_authority_exports(
    running: Authority,
) -> None:
    assert running.request_token().status == 200
    running.until(lambda: "podpass_exchange_requests_total{" in running.get("/metrics").body)
    assert not observability.missing("authority", running.get("/metrics").body)


def test_requests_of_all_workers_are_summed(running: Authority) -> None:
    for _ in range(12):
        assert running.request_token().status == 200
    name = 'podpass_exchange_requests_total{outcome="granted",version="v2"}'
    running.until(lambda: running.metrics()[name] >= 12)
    found = running.metrics()
    assert found["podpass_exchange_request_seconds_count"] >= 12
    assert found["podpass_authority_workers_ready"] == 2
    assert found["podpass_authority_certificate_not_after_seconds"] > 1.7e9
    running.until(lambda: running.metrics()["podpass_authority_database_up"] == 1)


def test_connections_and_requests_in_flight_are_exported(running: Authority) -> None:
    kept = [running.connect() for _ in range(3)]
    for connection in kept:
        assert running.request_token(connection).status == 200
    running.until(lambda: running.metrics()["podpass_authority_connections"] == 3)
    running.until(lambda: running.metrics()["podpass_authority_requests_in_flight"] == 0)
    for connection in kept:
        connection.close()
    running.until(lambda: running.metrics()["podpass_authority_connections"] == 0)


def test_labels_contain_no_value_of_a_caller(running: Authority) -> None:
    before = set(running.metrics())
    for number in range(20):
        running.request_token(
            client_id=f"{number:08d}-0000-4000-8000-000000000000", scope=f"x{number}"
        )
        running.get(f"/{number}/oauth2/v2.0/token", "service")
    added = set(running.metrics()) - before
    assert len(added) <= 3
    assert not [name for name in added if "x1" in name or "0000-4000" in name]
