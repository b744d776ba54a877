"""Wait for processes that a test does not own."""

import os
import select
import signal
import time
from pathlib import Path

PATIENCE_SECONDS = 60


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that has ended but was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_ended(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.05)


def kill(pid: int) -> None:
    """Kill a process and return when all its threads have ended: it then holds no lock and no port."""
    process = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
        ended, _, _ = select.select([process], [], [], PATIENCE_SECONDS)
    finally:
        os.close(process)
    assert ended, f"process {pid} still runs"
