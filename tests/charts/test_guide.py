"""The installation guide names existing values, flags and files."""

import re
from pathlib import Path

import click

from podpass.cli.commands import cli
from tests.charts.rendering import CHART, FILES

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
