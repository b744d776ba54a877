"""A developer's machine next to the node: a checkout, an environment with podpass, `kind` and kubectl."""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.local.kubectl import binaries
from tests.node.images import ROOT
from tests.node.node import Node
from tests.release.checkout import make_checkout
from tests.release.wheelhouse import download_packages

_SECONDS = 290
_KIND = Path(__file__).with_name("kind_program.py")


def read_listings(page: Path, language: str) -> list[str]:
    """Return the listings of a page in one language."""
    pattern = rf"^```{language}\n(.*?)^```$"
    found: list[str] = re.findall(pattern, page.read_text(), re.MULTILINE | re.DOTALL)
    return found


def read_commands(page: Path) -> list[str]:
    """Return the command lines of a page's shell listings."""
    return [line for listing in read_listings(page, "sh") for line in listing.splitlines() if line]


@dataclass(slots=True)
class UserMachine:
    """Runs command lines in the checkout; pip installs from a folder, because the node has no network."""

    node: Node
    checkout: Path
    temporary: Path
    environ: dict[str, str]

    def run(self, script: str, **variables: str) -> str:
        """Run a script of bash, as a CI system does; return its output."""
        settings = [f"{key}={value}" for key, value in {**self.environ, **variables}.items()]
        shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", f'cd "$0"\n{script}']
        command: list[str | Path] = ["env", "-i", *settings, *shell, self.checkout]
        return self.node.sandbox.run(*command, seconds=_SECONDS).stdout


def prepare(node: Node) -> UserMachine:
    """Copy the checkout, create a Python environment, and put the programs on the PATH."""
    folder = node.sandbox.folder / "user"
    checkout, programs = make_checkout(folder / "podpass"), folder / "bin"
    temporary = folder / "temporary"
    for each in (programs, temporary):
        each.mkdir()
    kind = programs / "kind"
    kind.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{_KIND}" "$@"\n')
    kind.chmod(0o755)
    found = binaries()
    (programs / "kubectl").symlink_to(found["package"] or found["machine"])
    node.sandbox.run(sys.executable, "-m", "venv", folder / "venv")
    path = [str(folder / "venv" / "bin"), str(programs)]
    path += ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"]
    return UserMachine(
        node,
        checkout,
        temporary,
        {
            "PATH": os.pathsep.join(path),
            "HOME": str(folder),
            "KUBECONFIG": str(folder / "kubeconfig"),
            "NODE_KUBECONFIG": str(node.pki.kubeconfig("admin")),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(download_packages()),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        },
    )


GUIDE = ROOT / "docs" / "guides" / "kind.md"
