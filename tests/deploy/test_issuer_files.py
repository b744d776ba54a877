"""The units and manifests of an issuer call commands that exist, and the manifests are valid."""

import configparser
import shlex
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from podpass.cli.commands import cli

FOLDER = Path(__file__).parents[2] / "deploy" / "issuer"
VERSION = "1.33"


def _parse(arguments: list[str]) -> None:
    """Parse a command line of podpass without running it."""
    context = click.Context(cli)
    name, command, rest = cli.resolve_command(context, arguments)
    while isinstance(command, click.Group):
        name, command, rest = command.resolve_command(context, rest)
    assert command is not None
    command.make_context(name, rest)


def _load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return document


@pytest.mark.parametrize("name", ["podpass-signer.service", "podpass-rotate.service"])
def test_unit_calls_a_command_that_exists(name: str) -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    unit.read_string((FOLDER / name).read_text())
    program, *arguments = shlex.split(unit["Service"]["ExecStart"])
    assert program == "/usr/local/bin/podpass"
    _parse(arguments)
    assert unit["Service"]["LimitCORE"] == "0", "a core dump contains private keys"


@pytest.mark.parametrize("name", ["signer.yaml", "rotate.yaml"])
def test_manifest_is_valid_and_calls_a_command_that_exists(name: str) -> None:
    document = _load(name)
    kubernetes_validate.validate(document, VERSION, strict=True)
    pod = document["spec"]
    if document["kind"] == "CronJob":
        pod = pod["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    _parse(list(container["args"]))
    security = container["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not security["allowPrivilegeEscalation"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_signer_cannot_change_the_keys() -> None:
    (container,) = _load("signer.yaml")["spec"]["containers"]
    (keys,) = [each for each in container["volumeMounts"] if each["name"] == "keys"]
    assert keys["readOnly"] is True
