"""A developer's machine: a checkout, an environment with podpass, `kind` and kubectl."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.guides import read_listings
from tests.lab.instance.kubectl import binaries
from tests.node.images import ROOT
from tests.node.sandbox import Sandbox
from tests.release.action_runner import Runner
from tests.release.checkout import make_checkout
from tests.release.wheelhouse import pip_variables

_SECONDS = 290
GUIDE = ROOT / "docs/develop/kind.md"


def read_commands(page: Path) -> list[str]:
    """Return the command lines of a page's shell listings."""
    return [line for listing in read_listings(page, "sh") for line in listing.splitlines() if line]


@dataclass(slots=True)
class UserMachine:
    """Runs command lines in the checkout; pip installs from a folder, because the sandbox has no network."""

    sandbox: Sandbox
    checkout: Path
    temporary: Path
    environ: dict[str, str]
    seconds: float = _SECONDS

    def run(self, script: str, **variables: str) -> str:
        """Run a script of bash, as a CI system does; return its output."""
        settings = [f"{key}={value}" for key, value in {**self.environ, **variables}.items()]
        shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", f'cd "$0"\n{script}']
        command: list[str | Path] = ["env", "-i", *settings, *shell, self.checkout]
        return self.sandbox.run(*command, seconds=self.seconds).stdout


def prepare(sandbox: Sandbox, kind: str, variables: Mapping[str, str]) -> UserMachine:
    """Copy the checkout, create a Python environment, and put the programs on the PATH.

    `kind` is the program of that name, a script of the shell.
    """
    folder = sandbox.folder / "user"
    checkout, programs = make_checkout(folder / "podpass"), folder / "bin"
    temporary = folder / "temporary"
    for each in (programs, temporary):
        each.mkdir()
    (programs / "kind").write_text(f"#!/bin/sh\n{kind}\n")
    (programs / "kind").chmod(0o755)
    found = binaries()
    (programs / "kubectl").symlink_to(found["package"] or found["machine"])
    sandbox.run(sys.executable, "-m", "venv", folder / "venv")
    path = [str(folder / "venv" / "bin"), str(programs)]
    path += ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"]
    return UserMachine(
        sandbox,
        checkout,
        temporary,
        {
            "PATH": os.pathsep.join(path),
            "HOME": str(folder),
            "KUBECONFIG": str(folder / "kubeconfig"),
            **pip_variables(),
            **variables,
        },
    )


def read_workflow() -> tuple[str, dict[str, Any]]:
    """Return the workflow of the guide, as text and parsed."""
    (text,) = [each for each in read_listings(GUIDE, "yaml") if "jobs:" in each]
    return text, yaml.safe_load(text)


def run_workflow(machine: UserMachine) -> Runner:
    """Run the steps of the guide's workflow, but for the checkout."""
    for name in ("quickstart/seed.yaml", "ci/app.yaml"):
        source = machine.checkout / "examples" / name
        (machine.checkout / source.name).write_bytes(source.read_bytes())
    runner = Runner(machine, machine.checkout)
    checkout, *steps = read_workflow()[1]["jobs"]["test"]["steps"]
    assert checkout["uses"].startswith("actions/checkout@")
    for step in steps:
        if "uses" in step:
            action = yaml.safe_load((machine.checkout / "action.yml").read_text())
            runner.use(action, **step["with"])
        else:
            runner.run(step["run"])
    return runner
