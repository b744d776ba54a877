"""`podpass down`."""

import os
import signal
import time
from pathlib import Path

import click

from podpass.cli import options
from podpass.cli.output import patience, say
from podpass.errors import Error
from podpass.local.datadir import DataDir, check_version
from podpass.local.lock import holder

_PATIENCE_SECONDS = 20.0


class WillNotStop(Error):
    """The instance is there and cannot be ended."""

    code = "will_not_stop"


@click.command
@options.data_dir
def command(data_dir: DataDir) -> None:
    """Stop the instance.

    It ends its pods, closes its ports and gives its lock back before this returns.
    """
    check_version(data_dir)
    if holder(data_dir.lock_file) is None:
        say(f"nothing runs on {data_dir.root}")
        return
    ended = _end(data_dir, signal.SIGTERM)
    if not ended and not _end(data_dir, signal.SIGKILL):
        raise WillNotStop(
            f"process {holder(data_dir.lock_file)} does not end",
            hint=f"end it yourself; its log is {data_dir.log_file}",
        )
    how = (
        "" if ended else f": it did not end within {_PATIENCE_SECONDS:.0f} seconds, and was killed"
    )
    say(f"stopped the instance on {data_dir.root}{how}")


def _end(data_dir: DataDir, number: signal.Signals) -> bool:
    """Send a signal to whoever holds the lock, and wait until nobody does and the process is gone."""
    asked: set[int] = set()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with patience(f"waiting for it to end, for up to {_PATIENCE_SECONDS:.0f} seconds"):
        while time.monotonic() < deadline:
            pid = holder(data_dir.lock_file)
            if pid is None and all(_is_gone(each) for each in asked):
                return True
            # 0: it took the lock this instant and has not said who it is.
            if pid and pid not in asked:
                asked.add(pid)
                _send(pid, number)
            time.sleep(0.02)
    return False


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it ended by itself
    except PermissionError as exc:
        raise WillNotStop(
            f"process {pid} belongs to somebody else", hint="ask its owner to stop it"
        ) from exc


def _is_gone(pid: int) -> bool:
    """Tell whether a process has ended, though nobody may have collected it yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return Path("/proc/self").exists() or not _answers(pid)
    return state in ("Z", "X")


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
