"""The charts' PrometheusRules and dashboards; promtool runs each alert on series that fire it, and others."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.alert_cases import OF_A_CHART, Case
from tests.charts.authority.rendering import AuthorityChart
from tests.charts.rendering import Helm, Values, find
from tests.observability import PACK, ROOT
from tests.programs import built
from tests.run_program import run_text

pytestmark = pytest.mark.kubernetes
RULES: Values = {"prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}}}
CHARTS = {"podpass": Helm, "podpass-authority": AuthorityChart}


@pytest.fixture(scope="module")
def promtool() -> str:
    return str(built("promtool"))


@pytest.fixture(params=sorted(CHARTS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def chart(helm: Helm, name: str) -> Helm:
    return CHARTS[name](helm.binary)


def _spec(chart: Helm, values: Values | None = None) -> dict[str, Any]:
    rule = find(
        chart.render({"prometheusRule": {**RULES["prometheusRule"], **(values or {})}}),
        "PrometheusRule",
    )
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    spec: dict[str, Any] = rule["spec"]
    return spec


def _run(promtool: str, folder: Path, *arguments: str) -> str:
    done = run_text([promtool, *arguments], cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def _test(rule: dict[str, Any], case: Case) -> dict[str, Any]:
    """Return one test of an alert in the format of promtool."""
    expected = [
        {"exp_labels": {**rule["labels"], **labels}, "exp_annotations": rule["annotations"]}
        for labels in case.labels
    ]
    return {
        "interval": "1m",
        "input_series": [{"series": key, "values": value} for key, value in case.series.items()],
        "alert_rule_test": [
            {"eval_time": case.at, "alertname": rule["alert"], "exp_alerts": expected}
        ],
    }


def test_every_alert_fires_only_in_its_firing_cases(
    promtool: str, chart: Helm, name: str, tmp_path: Path
) -> None:
    spec = _spec(chart)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    rules = {rule["alert"]: rule for group in spec["groups"] for rule in group["rules"]}
    cases = OF_A_CHART[name]
    assert rules.keys() == cases.keys()
    assert all(each.fires and each.quiet for each in cases.values())
    tests = [
        _test(rules[alert], case)
        for alert, each in cases.items()
        for case in (*each.fires, *each.quiet)
    ]
    (tmp_path / "tests.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": tests})
    )
    assert f"{len(rules)} rules found" in _run(promtool, tmp_path, "check", "rules", "rules.yaml")
    assert "SUCCESS" in _run(promtool, tmp_path, "test", "rules", "tests.yaml")


def test_promtool_refuses_a_case_that_does_not_fire(promtool: str, tmp_path: Path) -> None:
    rule = {"alert": "A", "expr": "up == 0", "labels": {}, "annotations": {}}
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "g", "rules": [rule]}]})
    )
    for value, status in (("0x30", 0), ("1x30", 1)):
        test = _test(rule, Case({"up": value}, ({},)))
        (tmp_path / "tests.yaml").write_text(
            yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [test]})
        )
        command = [promtool, "test", "rules", "tests.yaml"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == status


def test_panels_are_valid_expressions(promtool: str, tmp_path: Path) -> None:
    rules = [
        {"record": "panel", "expr": target["expr"].replace("$__rate_interval", "5m")}
        for path in sorted((PACK / "dashboards").glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", [])
    ]
    assert len(rules) > 30
    # Each in a group of its own: promtool reports rules of one group that are equal.
    groups = [{"name": str(number), "rules": [rule]} for number, rule in enumerate(rules)]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": groups}))
    said = _run(promtool, tmp_path, "check", "rules", "--lint=none", "panels.yaml")
    assert f"{len(rules)} rules found" in said


def test_rules_and_dashboards_are_off_by_default(chart: Helm) -> None:
    kinds = [(one["kind"], one["metadata"]["name"]) for one in chart.render()]
    assert not [kind for kind, name in kinds if kind == "PrometheusRule" or "dashboards" in name]


def test_manifest_and_chart_have_the_same_alerts(helm: Helm) -> None:
    listed = list(yaml.safe_load_all((PACK / "prometheusrule.yaml").read_text()))
    of_charts = [
        group for name in sorted(CHARTS) for group in _spec(CHARTS[name](helm.binary))["groups"]
    ]
    assert [group for one in listed for group in one["spec"]["groups"]] == of_charts


def test_runbook_links_have_the_configured_docs_url_and_an_existing_heading(chart: Helm) -> None:
    spec = _spec(chart, {"docsURL": "https://docs.example.com/podpass/"})
    links = [
        rule["annotations"]["runbook_url"] for group in spec["groups"] for rule in group["rules"]
    ]
    assert links
    for link in links:
        page, _, anchor = link.partition("/#")
        path = page.removeprefix("https://docs.example.com/podpass/")
        assert path != page
        assert f"\n### {anchor}\n" in (ROOT / f"docs/{path}.md").read_text().lower()


def test_docs_url_that_is_not_a_url_is_refused(chart: Helm) -> None:
    for address in ("docs.example.com", "https://a b", "https://a$1", "javascript:x"):
        assert "/prometheusRule/docsURL" in chart.refusal({"prometheusRule": {"docsURL": address}})


def test_dashboards_are_a_config_map_that_grafana_finds(chart: Helm, name: str) -> None:
    values: Values = {"dashboards": {"enabled": True, "annotations": {"folder": "Azure"}}}
    found = next(
        one
        for one in chart.render(values)
        if one["kind"] == "ConfigMap" and one["metadata"]["name"].endswith("dashboards")
    )
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"folder": "Azure"}
    components = ("webhook", "sidecar") if name == "podpass" else ("authority",)
    assert set(found["data"]) == {f"podpass-{component}.json" for component in components}
    for component in components:
        text = (PACK / f"dashboards/{component}.json").read_text()
        assert json.loads(found["data"][f"podpass-{component}.json"]) == json.loads(text)
