"""Why a container ended, in its own words where it left some."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from podpass.kubernetes.kubelet.logs import LogQuery, present

_MAX_BYTES = 4096
_LOG_BYTES = 2048
_LOG_LINES = 80
FALLBACK = "FallbackToLogsOnError"


def end_reason(code: int) -> str:
    """Word an exit code as container runtimes do."""
    return "Completed" if code == 0 else "Error"


def termination_message(container: Mapping[str, Any], file: Path, log: Path, code: int) -> str:
    """Read what a container wrote about its end; if nothing, and it asks so, the end of its log.

    Source:  API reference, Container.terminationMessagePolicy.
    """
    message = _read_end(file, _MAX_BYTES)
    if not message and code != 0 and container.get("terminationMessagePolicy") == FALLBACK:
        lines = b"".join(present(log, LogQuery(tail=_LOG_LINES))) if log.exists() else b""
        message = lines[-_LOG_BYTES:]
    return message.decode("utf-8", "replace")


def _read_end(file: Path, most: int) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(most)
    except OSError:
        return b""
