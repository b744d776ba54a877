"""Logs as one JSON object a line, or plain text on a terminal; and the token's hops among them.

An event is a fixed `snake_case` name in the past tense; facts go in `extra`. `correlation_id`
rides in a context variable set at the edges, so the cause of an error answer is found under the id the
caller got; `stage` is a fact of each hop. Tokens are logged as `fingerprint(token)`, never themselves.
"""

import hashlib
import logging
import os
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TextIO

import orjson

from podpass.clock import rfc3339
from podpass.files import open_private
from podpass.secret import Secret

correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")
HOP = "hop"
MAX_FILE_BYTES = 64 * 1024 * 1024
_OWN = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime"}


def fingerprint(token: str) -> str:
    """Name a token in a log without showing it."""
    return hashlib.sha256(token.encode()).hexdigest()[:12]


def hop(
    logger: logging.Logger,
    event: str,
    *,
    stage: str,
    asked: str,
    checked: Sequence[str],
    seconds: float,
    level: int = logging.INFO,
    **facts: object,
) -> None:
    """Log one hop of a token's journey: what was asked, what was checked, how long it took.

    Shapes:  `stage` is a stage's folder name; `facts` should hold what ties hops together where known:
             pod, namespace, account, sub, client_id, vault, outcome.
    """
    logger.log(
        level,
        event,
        extra={
            HOP: True,
            "stage": stage,
            "asked": asked,
            "checked": list(checked),
            "took_ms": round(seconds * 1000, 3),
            **facts,
        },
    )


class JsonFormatter(logging.Formatter):
    """Write a record as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": rfc3339(record.created)[:-1] + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if cid := correlation_id.get():
            line["correlation_id"] = cid
        line.update(_facts(record))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    """Write a record for a person at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        facts = " ".join(f"{name}={_line(value)}" for name, value in _facts(record).items())
        line = (
            f"{rfc3339(record.created)} {record.levelname.lower():7} {record.getMessage()} {facts}"
        )
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line.rstrip()


class _LogFile(logging.FileHandler):
    """A file that steps aside when it is long; one before it is kept."""

    def __init__(self, file: Path) -> None:
        # Who asked for what is the owner's to read.
        open_private(file).close()
        super().__init__(file, encoding="utf-8")
        self._step_aside_if_long()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, and make room after it."""
        super().emit(record)
        try:
            self._step_aside_if_long()
        except OSError:
            self.handleError(record)

    def _step_aside_if_long(self) -> None:
        if self.stream is None or os.fstat(self.stream.fileno()).st_size <= MAX_FILE_BYTES:
            return
        file = Path(self.baseFilename)
        self.stream.close()
        file.replace(file.with_name(file.name + ".1"))
        open_private(file).close()
        self.stream = self._open()


def _line(value: object) -> str:
    # A value from outside must not begin a line, or colour the terminal.
    text = str(value)
    return text if text.isprintable() else repr(text)


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value, Secret) else value
        for name, value in vars(record).items()
        if name not in _OWN
    }


def configure(
    stream: TextIO | None = None, *, file: Path | None = None, level: str = "info"
) -> None:
    """Send podpass's logs to a stream (text on a terminal, JSON otherwise) or to a file as JSON."""
    handler: logging.Handler
    if file is not None:
        handler = _LogFile(file)
        handler.setFormatter(JsonFormatter())
    else:
        stream = stream or sys.stderr
        handler = logging.StreamHandler(stream)
        handler.setFormatter(TextFormatter() if stream.isatty() else JsonFormatter())
    # No line names thread or process, and looking them up costs each record a system call.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger("podpass")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
