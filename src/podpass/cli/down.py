"""`podpass down`."""

import os
import signal
import time
from pathlib import Path

import click

from podpass.cli import options
from podpass.cli.output import print_message, slow_notice
from podpass.errors import Error
from podpass.local.datadir import DataDir, check_version
from podpass.local.lock import lock_holder

_STOP_TIMEOUT_SECONDS = 20.0


class StopFailed(Error):
    """The instance is running and cannot be stopped."""

    code = "stop_failed"


@click.command
@options.data_dir
def command(data_dir: DataDir) -> None:
    """Stop the instance.

    It returns when the pods have ended, the ports are closed and the lock is released.
    """
    check_version(data_dir)
    if lock_holder(data_dir.lock_file) is None:
        print_message(f"no instance is running in {data_dir.root}")
        return
    stopped = _signal_and_wait(data_dir, signal.SIGTERM)
    if not stopped and not _signal_and_wait(data_dir, signal.SIGKILL):
        raise StopFailed(
            f"process {lock_holder(data_dir.lock_file)} of the instance does not exit",
            hint=f"end the process yourself; its log is {data_dir.log_file}",
        )
    how = (
        ""
        if stopped
        else f": it did not exit within {_STOP_TIMEOUT_SECONDS:.0f} seconds and was killed"
    )
    print_message(f"stopped the instance in {data_dir.root}{how}")


def _signal_and_wait(data_dir: DataDir, number: signal.Signals) -> bool:
    """Send a signal to the lock holder; wait until the lock is free and the process has exited."""
    signalled: set[int] = set()
    deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
    with slow_notice(
        f"waiting for the instance to exit, for up to {_STOP_TIMEOUT_SECONDS:.0f} seconds"
    ):
        while time.monotonic() < deadline:
            pid = lock_holder(data_dir.lock_file)
            if pid is None and all(_has_exited(each) for each in signalled):
                return True
            # 0: the holder has not written its process id yet.
            if pid and pid not in signalled:
                signalled.add(pid)
                _send(pid, number)
            time.sleep(0.02)
    return False


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it has exited already
    except PermissionError as exc:
        raise StopFailed(
            f"process {pid} belongs to another user", hint="ask that user to run `podpass down`"
        ) from exc


def _has_exited(pid: int) -> bool:
    """Return whether a process has exited; a zombie counts as exited."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return Path("/proc/self").exists() or not _exists(pid)
    return state in ("Z", "X")


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
