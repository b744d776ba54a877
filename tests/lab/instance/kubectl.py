"""The kubectl of this machine and the kubectl of the package index."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.run_program import Done, run_text

PATH = "/usr/local/bin:/usr/bin:/bin"


def binaries() -> dict[str, str]:
    """Find the machine's kubectl and the one of the package index."""
    packaged = Path(sys.executable).parent / "kubectl"
    found = {"machine": shutil.which("kubectl", path=PATH) or ""}
    return found | {"package": str(packaged) if packaged.exists() else ""}


@dataclass(frozen=True, kw_only=True)
class Kubectl:
    """One kubectl with one kubeconfig."""

    binary: str
    kubeconfig: Path
    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        own = {"HOME": str(self.home), "KUBECONFIG": str(self.kubeconfig), "PATH": PATH}
        return {**own, **self.variables}

    def __call__(self, *arguments: str, given: str = "") -> str:
        """Run a command that must succeed; return its output."""
        done = self._run(arguments, given)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def fails(self, *arguments: str) -> str:
        """Run a command that must fail; return its error output."""
        done = self._run(arguments, "")
        assert done.returncode != 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stderr

    def warnings(self, *arguments: str, given: str = "") -> str:
        """Run a command that must succeed; return its error output, which has the server's warnings."""
        done = self._run(arguments, given)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stderr

    def _run(self, arguments: tuple[str, ...], given: str) -> Done:
        return run_text([self.binary, *arguments], env=self.environ, input=given, timeout=60)

    def following(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command with streaming output."""
        return subprocess.Popen(
            [self.binary, *arguments], env=self.environ, stdout=subprocess.PIPE, text=True
        )
