"""The programs that a release is made with."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bench.peers.build import CannotBuild, build_program  # noqa: E402


class ProgramFailed(Exception):
    """A program failed; the message has the end of its output."""


class ProgramMissing(Exception):
    """A program is not available here; the message gives the reason."""


def find(name: str) -> str:
    """Return the path of helm or crane, from the PATH or built from its Go module. Raises ProgramMissing."""
    if found := shutil.which(name):
        return found
    try:
        return str(build_program(name))
    except CannotBuild as exc:
        raise ProgramMissing(f"{name} is not installed, and cannot be built: {exc}") from exc


def run(
    *command: str,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    only: bool = False,
    text: str | None = None,
) -> str:
    """Run a program with additional variables, or with them only; return its output. Raises ProgramFailed."""
    variables = {**({} if only else os.environ), **(environ or {})}
    done = subprocess.run(
        command, cwd=cwd, env=variables, input=text, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        end = (done.stdout + done.stderr).strip()[-3000:]
        raise ProgramFailed(f"{' '.join(command[:4])} exited with {done.returncode}:\n{end}")
    return done.stdout


def make_venv(folder: Path) -> Path:
    """Make a virtual environment without pip; return its interpreter."""
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    return folder / "bin" / "python"


def install(python: Path, constraints: Path, *packages: str) -> None:
    """Install packages into a virtual environment, in the pinned versions, without compiling them."""
    pip = (sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--no-compile", "-c", str(constraints), *packages)
