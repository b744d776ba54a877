"""A machine without kubeling: production commands run, and the local loop says what it needs."""

import sys
from pathlib import Path

import pytest

from tests.run_program import Done, run_text

PROGRAM = """
import sys
sys.modules["kubeling"] = None
from podpass.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


def run(*arguments: str) -> Done:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return run_text(command, timeout=60)


def test_local_loop_without_kubeling_says_how_to_install_it(tmp_path: Path) -> None:
    done = run("up", "--data-dir", str(tmp_path / "data"), "--port-base", "0")
    assert done.returncode == 1
    assert "the package kubeling, which is not installed" in done.stderr
    assert "pip install ./kubeling" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command", ["webhook", "authority", "proxy", "issuer", "doctor", "serviceaccount", "jwks"]
)
def test_command_for_a_cluster_needs_no_kubeling(command: str) -> None:
    assert run(command, "--help").returncode == 0
