"""The devcontainers of this repository and of examples/compose, with the released command line."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.installation import find_tool
from tests.clients.toolchains import OLDEST, npm
from tests.containers import images
from tests.containers.engine import Engine
from tests.node.images import ROOT
from tests.run_program import run_text

_PACKAGE = Path(__file__).parent / "client_programs" / "devcontainer" / "package.json"


def _program() -> list[str]:
    folder = npm("devcontainer", [_PACKAGE], OLDEST)
    return [find_tool("node"), str(folder / "node_modules" / ".bin" / "devcontainer")]


def test_released_command_line_reads_the_configuration() -> None:
    """Its image and features are in registries, so it is not started."""
    command = [*_program(), "read-configuration", "--workspace-folder", str(ROOT)]
    # It asks the engine for a running container; there is none.
    done = run_text([*command, "--docker-path", find_tool("true")], check=True, timeout=60)
    read = json.loads(done.stdout)
    assert read["workspace"]["workspaceFolder"] == f"/workspaces/{ROOT.name}"
    settings = read["configuration"]["customizations"]["vscode"]["settings"]
    interpreter = f"/workspaces/{ROOT.name}/.venv/bin/python"
    assert settings["python.defaultInterpreterPath"] == interpreter
    assert read["configuration"]["postCreateCommand"] == "make .venv/.dev"


@pytest.fixture(scope="module")
def example(docker: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Load the images of the example; remove its containers at the end."""
    folder = tmp_path_factory.mktemp("devcontainer")
    for build in (images.azurite_archive, images.devcontainer_archive):
        docker.load(build(folder))
    settings = images.COMPOSE_EXAMPLE / ".devcontainer" / "compose.yaml"
    files = ("--file", images.COMPOSE_EXAMPLE / "compose.yaml", "--file", settings)
    try:
        yield docker
    finally:
        docker.run("docker-compose", "--project-name", "compose", *files, "down", "--volumes")


def test_development_container_uses_azure(example: Engine, tmp_path: Path) -> None:
    options = (
        *("--workspace-folder", images.COMPOSE_EXAMPLE),
        *("--docker-compose-path", "docker-compose"),
    )
    # `pip` would need a registry; the image has the packages already.
    quiet = ("--skip-post-create", "--update-remote-user-uid-default", "never")
    variables = {"TMPDIR": str(tmp_path)}
    started = example.run(*_program(), "up", *options, *quiet, variables=variables)
    assert json.loads(started.stdout.splitlines()[-1])["outcome"] == "success"
    command = ("exec", *options, "python", "app/app.py")
    done = example.run(*_program(), *command, variables=variables)
    assert done.stdout.splitlines()[-1] == "hello from the vault"
