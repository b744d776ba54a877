"""The examples: each is a project of a user, whose tests run in another process."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.timeout(300)
def test_operator_with_the_official_client_passes_its_tests(tmp_path: Path) -> None:
    pytest.importorskip("kubernetes")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
    )
    words = ["-q", "-p", "no:cacheprovider", "-c", str(tmp_path / "pytest.ini"), str(EXAMPLES)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=290,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
