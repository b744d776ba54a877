"""podpass's own command line on one data dir, as a program that somebody else started."""

import subprocess
import sys
from pathlib import Path

from podpass.errors import Error


def podpass(data_dir: Path, *arguments: str, failed: type[Error]) -> str:
    """Run a podpass command and give what it printed.

    Errors:  `failed`, with the command's own last lines.
    """
    done = subprocess.run(
        [sys.executable, "-m", "podpass.cli", *arguments, "--data-dir", str(data_dir)],
        capture_output=True,
        text=True,
        check=False,
        # Ctrl-C is for the caller: a `down` that died with it would leave the instance running.
        start_new_session=True,
    )
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise failed(f"podpass {arguments[0]}: {' '.join(lines[-2:])}")
    return done.stdout
