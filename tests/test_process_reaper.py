"""A test run that is killed leaves no process behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import PATIENCE_SECONDS, is_running, wait_until_ended

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the reaper needs Linux")
ROOT = Path(__file__).parents[1]
# The shell exits immediately, so its child is detached: it has no parent in the test run, and a separate
# session.
STARTS_DAEMON = """
import subprocess, time

def test_starts_a_daemon():
    subprocess.run(["setsid", "sh", "-c", "sleep 600 & echo $! > {file}.part; mv {file}.part {file}"])
    time.sleep({seconds})
"""


def _start(folder: Path, seconds: int) -> "subprocess.Popen[bytes]":
    (folder / "pytest.ini").write_text("[pytest]\n")
    test = folder / "test_daemon.py"
    test.write_text(STARTS_DAEMON.format(file=folder / "pid", seconds=seconds))
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(folder / "pytest.ini")]
    command += ["-p", "tests.process_reaper", "-p", "no:cacheprovider", str(test)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


@pytest.mark.processes
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None])
def test_daemon_is_killed_with_its_test_run(tmp_path: Path, how: signal.Signals | None) -> None:
    file = tmp_path / "pid"
    with _start(tmp_path, seconds=600 if how else 0) as run:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not file.exists():
            assert time.monotonic() < deadline, "the test run did not start its daemon"
            time.sleep(0.05)
        pid = int(file.read_text())
        if how is not None:
            assert is_running(pid)
            os.kill(run.pid, how)
        run.wait(PATIENCE_SECONDS)
    wait_until_ended(pid)
