"""Whether a process has exited."""

import os
from pathlib import Path


def has_exited(pid: int) -> bool:
    """Return whether a process has exited; a zombie counts as exited."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return Path("/proc/self").exists() or not _exists(pid)
    return state in ("Z", "X")


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it belongs to another user
    return True
