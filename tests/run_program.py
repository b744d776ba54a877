"""Run a program and read its output as text."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Done = subprocess.CompletedProcess[str]


def run_text(command: Sequence[str | Path], *, check: bool = False, **how: Any) -> Done:
    """Run a command; return its exit code and output. `how` is passed to `subprocess.run`."""
    return subprocess.run(command, capture_output=True, text=True, check=check, **how)
