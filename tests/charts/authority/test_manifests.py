"""The chart renders the manifests of deploy/, so that users with and without Helm run the same objects."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import render_charts
from tests.charts.authority.rendering import DEPLOY, NAME, AuthorityChart
from tests.charts.rendering import Object, find

pytestmark = pytest.mark.kubernetes


def _plain(one: Object) -> Object:
    """Remove what a release adds: its labels, hooks, and the checksum of the settings."""
    one = copy.deepcopy(one)
    labels = one["metadata"].pop("labels", {})
    one["metadata"].pop("annotations", None)
    assert labels.get("app.kubernetes.io/name", NAME) == NAME
    if one["kind"] == "Deployment":
        one["spec"]["template"]["metadata"]["annotations"].pop("podpass/config", None)
    return one


def _by_name(objects: list[Object]) -> dict[tuple[str, str], Object]:
    named = {(one["kind"], one["metadata"]["name"]): _plain(one) for one in objects}
    assert len(named) == len(objects)
    return named


def _files(*paths: Path) -> list[Object]:
    return [one for path in paths for one in yaml.safe_load_all(path.read_text())]


def _seed(objects: dict[tuple[str, str], Object]) -> Any:
    """Parse the seed, to ignore comments and formatting."""
    data = objects["ConfigMap", f"{NAME}-seed"]["data"]
    data["seed.yaml"] = yaml.safe_load(data["seed.yaml"])
    return data["seed.yaml"]


def test_example_values_render_to_the_manifests(chart: AuthorityChart) -> None:
    made = render_charts.build_authority(chart.binary)
    assert {file: file.read_text() for file in made} == made
    by_hand = {DEPLOY / "authority" / "namespace.yaml"}
    assert {*(DEPLOY / "authority").glob("*.yaml")} == made.keys() | by_hand


def test_seed_renders_to_the_seed_manifest(chart: AuthorityChart) -> None:
    written = _by_name(_files(DEPLOY / "authority-seed.yaml"))
    rendered = _by_name(chart.render({"seed": _seed(written)}))
    _seed(rendered)
    assert {key: rendered[key] for key in written} == written


def test_release_labels_are_in_no_selector(chart: AuthorityChart) -> None:
    """A Deployment's selector cannot change, so it must equal that of the manifests."""
    for one in chart.render():
        if one["kind"] != "Pod":
            assert one["metadata"]["labels"]["app.kubernetes.io/instance"] == NAME
    manifest = yaml.safe_load((DEPLOY / "authority" / "deployment.yaml").read_text())
    selector = find(chart.render(), "Deployment")["spec"]["selector"]
    assert selector == manifest["spec"]["selector"]
    other = find(chart.render(name="other"), "Deployment")["spec"]["selector"]
    assert other["matchLabels"] == {"app.kubernetes.io/name": f"other-{NAME}"}
