"""devcontainer.json, as its own command line reads it; its image and features are in registries."""

import json
import subprocess
from pathlib import Path

from tests.clients.installation import find_tool
from tests.clients.toolchains import OLDEST, npm
from tests.node.images import ROOT

_PACKAGE = Path(__file__).parent / "client_programs" / "devcontainer" / "package.json"


def test_released_command_line_reads_the_configuration() -> None:
    folder = npm("devcontainer", [_PACKAGE], OLDEST)
    program = str(folder / "node_modules" / ".bin" / "devcontainer")
    options = ("read-configuration", "--workspace-folder", str(ROOT))
    command = [find_tool("node"), program, *options]
    # It asks the engine for a running container; there is none.
    done = subprocess.run(
        [*command, "--docker-path", find_tool("true")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    read = json.loads(done.stdout)
    assert read["workspace"]["workspaceFolder"] == f"/workspaces/{ROOT.name}"
    settings = read["configuration"]["customizations"]["vscode"]["settings"]
    interpreter = f"/workspaces/{ROOT.name}/.venv/bin/python"
    assert settings["python.defaultInterpreterPath"] == interpreter
    assert read["configuration"]["postCreateCommand"] == "make .venv/.dev"
