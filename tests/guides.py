"""The listings of documentation pages, and a shell that runs them as a reader does."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def read_listings(page: Path, language: str) -> list[str]:
    """Return the listings of a page in one language."""
    pattern = rf"^```{language}\n(.*?)^```$"
    found: list[str] = re.findall(pattern, page.read_text(), re.MULTILINE | re.DOTALL)
    return found


class GuideShell:
    """Runs listings in one folder, with the programs of this environment."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self._environ = {**environ, "XDG_STATE_HOME": str(folder / "state")}
        path = self._environ["PATH"]
        self._environ["PATH"] = f"{Path(sys.executable).parent}:{path}"
        self._environ.pop("KUBECONFIG", None)
        self._folder = folder

    def __call__(self, script: str) -> str:
        """Run a script of bash that must succeed; return its output."""
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-euo", "pipefail", "-c", script],
            cwd=self._folder,
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=150,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout
