"""Values, schema, README, version and guide of each chart are consistent. These tests do not need Helm."""

import re
from pathlib import Path

import click
import pytest

import podpass
from podpass.cli.commands import cli
from podpass.manifests.values import read_rendered_chart
from scripts import render_charts
from tests.charts.authority import rendering as authority
from tests.charts.rendering import CHART, FILES
from tests.charts.schema import ChartFiles, keys

BOTH = pytest.mark.parametrize("files", [FILES, authority.FILES], ids=lambda one: one.folder.name)


@BOTH
def test_every_schema_value_has_a_default_and_a_readme_row(files: ChartFiles) -> None:
    known = files.ours
    assert len(known) > 50
    assert not known - set(keys(files.defaults))
    leaves = {key for key in known if not any(other.startswith(f"{key}.") for other in known)}
    assert not [key for key in sorted(leaves) if f"| `{key}` |" not in files.page]


@BOTH
def test_every_default_is_known_to_the_schema(files: ChartFiles) -> None:
    below = (
        *("dashboards.labels.", "nodeSelector.", "podAnnotations."),
        *("resources.limits.", "resources.requests."),
    )
    assert not {key for key in keys(files.defaults) if not key.startswith(below)} - files.known


@BOTH
def test_schema_refuses_unknown_keys_in_every_object(files: ChartFiles) -> None:
    """A misspelt key must be refused: the user believes that the setting is active."""
    free = {"nodeSelector", "podLabels", "podAnnotations", "mutatingWebhookAnnotations", "global"}
    for name, one in files.schema["properties"].items():
        if one.get("type") == "object" and name not in free:
            assert one["additionalProperties"] is False, name


@BOTH
def test_chart_image_and_program_are_of_one_version(files: ChartFiles) -> None:
    image = files.defaults["image"]
    tag = image.get("tag") or image["release"]  # the name in the reference's chart
    assert {files.about["version"], files.about["appVersion"], tag} == {podpass.__version__}


@BOTH
def test_every_template_first_checks_the_values(files: ChartFiles) -> None:
    first = f'{{{{- include "{files.folder.name}.check" . -}}}}\n'
    assert len(files.templates) > 8
    assert not [path.name for path in files.templates if not path.read_text().startswith(first)]


@BOTH
def test_schema_accepts_the_quantities_of_kubernetes(files: ChartFiles) -> None:
    for kind in ("requests", "limits"):
        one = files.schema["properties"]["resources"]["properties"][kind]["additionalProperties"]
        pattern = re.compile(one["anyOf"][0]["pattern"])
        suffixes = ["", *"numkMGTPE", *(f"{each}i" for each in "KMGTPE"), "e3", "E6", "e-3", "e+3"]
        for number in ("0", "1", "1024", "0.5", "1.", ".5", "+1"):
            assert not [each for each in suffixes if not pattern.search(number + each)], number
        for wrong in (
            *("", ".", "1,5", "-1", "lots", "1 Gi", "1K", "1ki", "1ni", "1e", "1Zi", "1e1.5"),
        ):
            assert not pattern.search(wrong), wrong


@BOTH
def test_counts_and_percentages_have_the_limits_of_kubernetes(files: ChartFiles) -> None:
    known = files.schema["properties"]
    for name in ("replicaCount", "revisionHistoryLimit", "runAsUser"):
        assert known[name]["maximum"] == 2**31 - 1, name
    for one in known["podDisruptionBudget"]["properties"].values():
        count, share, _ = one["anyOf"]
        assert (count["minimum"], count["maximum"]) == (0, 2**31 - 1)
        takes = re.compile(share["pattern"]).search
        assert all(takes(each) for each in ("", "0%", "050%", "99%", "100%"))
        assert not any(takes(each) for each in ("101%", "150%", "1000%", "-1%", "50", "half", "%"))


def test_data_of_the_manifests_command_was_made_from_this_chart() -> None:
    assert read_rendered_chart()["chart"] == render_charts.hash_chart(), "run `make manifests`"


ROOT = CHART.parents[1]
GUIDE = (ROOT / "docs/operate/install.md").read_text()
KNOWN = FILES.known


def test_every_value_set_in_the_guide_exists_in_the_chart() -> None:
    keys = set(re.findall(r"--set(?:-file)? ([\w.]+)=", GUIDE))
    assert {"azureTenantID", "image.repository", "certManager.enabled", "caBundle"} <= keys
    assert not [key for key in sorted(keys) if key not in KNOWN]


def test_every_value_named_in_the_guide_exists_in_the_chart() -> None:
    said = re.findall(r"`([a-z]+[A-Z]\w*(?:\.\w+)*|[a-z]+\.[a-z]+[A-Z]?\w*)(?::[^`]*)?`", GUIDE)
    values = {one for one in said if not one.startswith("azureKubernetes")} - {"podpass.cdx.json"}
    assert len(values) > 10
    assert not [one for one in sorted(values) if one not in KNOWN]
    inside = {one for one in said if one.startswith("azureKubernetes")}
    assert not [one for one in inside if f"customTokenEndpoint.{one}" not in KNOWN]


def test_every_command_and_flag_in_the_guide_exists() -> None:
    context = click.Context(cli, info_name="podpass")
    called = re.findall(r"podpass manifests([^|\n`]*)", GUIDE)
    command = cli.get_command(context, "manifests")
    assert command is not None
    known = {name for option in command.params for name in option.opts} | {"--help"}
    flags = {flag for rest in called for flag in re.findall(r"(--[\w-]+)", rest)}
    assert {"--tenant-id", "--set", "--mode"} <= flags
    assert not flags - known


def test_every_file_named_in_the_guide_exists() -> None:
    named = set(re.findall(r"(?:scripts|deploy|charts)/[\w./-]*\w", GUIDE))
    assert {"scripts/image.py", "deploy/Dockerfile", "charts/podpass"} <= named
    assert not [name for name in named if not Path(ROOT, name).exists()]
