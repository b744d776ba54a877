"""Run the podpass command line on a data directory, as a child process."""

import subprocess
import sys
from pathlib import Path

from podpass.errors import Error


def run_podpass(data_dir: Path, *arguments: str, failed: type[Error]) -> str:
    """Run a podpass command and return its output. Raises `failed`, with the last lines of the output."""
    done = subprocess.run(
        [sys.executable, "-m", "podpass.cli", *arguments, "--data-dir", str(data_dir)],
        capture_output=True,
        text=True,
        check=False,
        # Ctrl-C must not reach the child: an interrupted `down` would leave the instance running.
        start_new_session=True,
    )
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise failed(f"podpass {arguments[0]}: {' '.join(lines[-2:])}")
    return done.stdout
