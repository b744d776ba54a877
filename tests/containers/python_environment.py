"""A new environment of Python with podpass from its wheel, as a project that uses it has."""

import subprocess
import sys
from pathlib import Path

from tests.clients.installation import run_installation
from tests.node.images import ROOT

_PIP = ("-m", "pip", "install", "-q", "--disable-pip-version-check")


def install_podpass(folder: Path) -> str:
    """Build the wheel, install it with the extra `testcontainers`; return the Python."""
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(build, check=True, timeout=300)
    (wheel,) = folder.glob("podpass-*.whl")
    package = f"podpass[testcontainers] @ {wheel.as_uri()}"
    installed = run_installation(
        "testcontainers",
        [ROOT / "pyproject.toml"],
        [sys.executable, "-m", "venv", "."],
        ["bin/python", *_PIP, package, "pytest>=8.4"],
        newest=True,
        made_with=wheel.name,
        not_hashed=[package],
    )
    python = str(installed / "bin" / "python")
    # The environment is used for a week; podpass itself changes more often.
    subprocess.run(
        [python, *_PIP, "--no-deps", "--force-reinstall", str(wheel)], check=True, timeout=300
    )
    return python
