"""The termination message of a container: from its file, or from the end of its log."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubeling.kubelet.logs import LogOptions, read_existing

_MAX_BYTES = 4096
_LOG_BYTES = 2048
_LOG_LINES = 80
FALLBACK = "FallbackToLogsOnError"


def exit_reason(code: int) -> str:
    """Return the reason of an exit code, as container runtimes do."""
    return "Completed" if code == 0 else "Error"


def termination_message(container: Mapping[str, Any], file: Path, log: Path, code: int) -> str:
    """Return the message in the file of a container, or the end of its log if the policy says so.

    Source:  API reference, Container.terminationMessagePolicy.
    """
    message = _read_file(file, _MAX_BYTES)
    if not message and code != 0 and container.get("terminationMessagePolicy") == FALLBACK:
        lines = b"".join(read_existing(log, LogOptions(tail=_LOG_LINES))) if log.exists() else b""
        message = lines[-_LOG_BYTES:]
    return message.decode("utf-8", "replace")


def _read_file(file: Path, max_bytes: int) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(max_bytes)
    except OSError:
        return b""
