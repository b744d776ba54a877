"""Whether a process has exited, or is stopped by a signal."""

import os
from pathlib import Path


def has_exited(pid: int) -> bool:
    """Return whether a process has exited; a zombie counts as exited."""
    state = _read_state(pid)
    if not state:
        return Path("/proc/self").exists() or not _exists(pid)
    return state in ("Z", "X")


def is_stopped(pid: int) -> bool:
    """Return whether a signal has stopped a process, such as that of Ctrl-Z; False without /proc."""
    return _read_state(pid) in ("T", "t")


def _read_state(pid: int) -> str:
    """Return the letter of a process's state; empty without the process or without /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it belongs to another user
    return True
