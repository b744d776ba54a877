"""`podpass down`."""

import os
import signal
import time

import click

from podpass.cli import options
from podpass.cli.output import print_message, print_output, slow_notice
from podpass.errors import Error
from podpass.lab.data.datadir import DataDir, check_version
from podpass.lab.data.lock import check_lock_file, lock_holder
from podpass.lab.data.process import has_exited

_STOP_TIMEOUT_SECONDS = 20.0


class StopFailed(Error):
    """The instance is running and cannot be stopped."""

    code = "stop_failed"


@click.command
@options.data_dir
@options.output("text", "json")
def command(data_dir: DataDir, output: str) -> None:
    """Stop the instance.

    It returns when the pods have ended, the ports are closed and the lock is released.
    """
    check_version(data_dir)
    if lock_holder(data_dir.lock_file) is None:
        check_lock_file(data_dir.lock_file)
        print_message(f"no instance is running in {data_dir.root}")
        _print_result(data_dir, output, stopped=False)
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
    _print_result(data_dir, output, stopped=True, killed=not stopped)


def _print_result(data_dir: DataDir, output: str, *, stopped: bool, killed: bool = False) -> None:
    if output == "json":
        print_output({"data_dir": str(data_dir.root), "stopped": stopped, "killed": killed}, output)


def _signal_and_wait(data_dir: DataDir, number: signal.Signals) -> bool:
    """Send a signal to the lock holder; wait until the lock is free and the process has exited."""
    signalled: set[int] = set()
    deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
    with slow_notice(
        f"waiting for the instance to exit, for up to {_STOP_TIMEOUT_SECONDS:.0f} seconds"
    ):
        while time.monotonic() < deadline:
            pid = lock_holder(data_dir.lock_file)
            if pid is None and all(has_exited(each) for each in signalled):
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
