"""Ends every process that a test run has started, however the run itself ends. It is a pytest plugin.

Tests start detached instances, PostgreSQL, replicas and control planes. `kill -9`, a time limit of CI or a
lost terminal ends the run before its fixtures can stop them. A signal on the parent's death does not reach a
detached process, so each run marks its environment, which every process that it starts inherits. A small
process watches the run and ends all processes with the mark when the run has ended. Linux only.
"""

import os
import select
import signal
import sys
import time
import uuid
from pathlib import Path

_VARIABLE = "PYTEST_RUN_MARK"
_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.1


def pytest_configure() -> None:
    """Start the reaper of this test run; each worker of pytest-xdist has its own."""
    start_reaper()


def start_reaper() -> None:
    """Mark the environment of this process and start the process that watches it."""
    # A worker inherits the mark of its controller, which is not its own.
    if sys.platform != "linux" or os.environ.get(_VARIABLE, "").startswith(f"{os.getpid()}-"):
        return
    environ = {name: value for name, value in os.environ.items() if name != _VARIABLE}
    os.environ[_VARIABLE] = f"{os.getpid()}-{uuid.uuid4()}"
    command = [sys.executable, "-I", "-S", __file__, str(os.getpid()), os.environ[_VARIABLE]]
    # The reaper holds no file of the run: a reader of its output would wait for the reaper.
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, 0, 1),
        (os.POSIX_SPAWN_DUP2, 0, 2),
    ]
    os.posix_spawn(command[0], command, environ, file_actions=files, setsid=True)


def run_mark() -> dict[str, str]:
    """Return the mark for a process that is started with an environment of its own."""
    return {_VARIABLE: os.environ[_VARIABLE]} if _VARIABLE in os.environ else {}


def end_processes(mark: str) -> None:
    """Send SIGTERM to all processes with the mark, and SIGKILL to those left after a grace period."""
    deadline = time.monotonic() + _GRACE_SECONDS
    _send(_marked(mark), signal.SIGTERM)
    while time.monotonic() < deadline and _marked(mark):
        time.sleep(_POLL_SECONDS)
    # A process may start another one between the search and its end.
    while (found := _marked(mark)) and time.monotonic() < deadline + _GRACE_SECONDS:
        _send(found, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            continue


def _marked(mark: str) -> list[int]:
    entry = f"{_VARIABLE}={mark}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # A process that has ended but was not waited for has an empty environment.
            if entry in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def _wait_for_end(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    # The run may have ended before the line above, and its number may belong to another process now.
    if os.getppid() == pid:
        select.select([descriptor], [], [])


if __name__ == "__main__":
    # A search for the processes of the run by their working directory must not find its reaper.
    os.chdir("/")
    _wait_for_end(int(sys.argv[1]))
    end_processes(sys.argv[2])
