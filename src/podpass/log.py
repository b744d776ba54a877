"""Logs: one JSON object per line, or plain text on a terminal; also the hops of a token.

An event is a fixed `snake_case` name in the past tense; its values are in `extra`. A context variable, which
the edges set, holds the `correlation_id`, so the cause of an error response is logged under the ID that the
caller received. Each hop has the value `stage`. Tokens are logged only as `fingerprint(token)`.
"""

import hashlib
import logging
import os
import select
import socket
import stat
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import orjson

from podpass.clock import rfc3339
from podpass.files import open_private
from podpass.tasks import CoalescedCallback

correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")
HOP = "hop"
# The event when a client sends a request to a token service that the instance does not serve.
AUTHORITY_NOT_SERVED = "authority_not_served"
DRY_RUN = "dry_run"
BY_DOCTOR = "by_doctor"
# The parts of a line: time, level, logger, event, correlation ID, values.
LogEntry = tuple[float, int, str, str, str, dict[str, Any]]
MAX_FILE_BYTES = 64 * 1024 * 1024
_MIN_CHARS = 64
_LEVELS = {logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}
_STANDARD_COUNT = len(vars(logging.LogRecord("", 0, "", 0, "", (), None)))
_STANDARD = frozenset({"message", "asctime"})


_root = logging.getLogger("podpass")
# Log messages of these libraries have the same format.
_LIBRARIES = ("asyncio", "psycopg")


def fingerprint(token: str) -> str:
    """Return a short hash that identifies a token in a log."""
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
    """Log one hop of a token: the request, the checks, and the duration.

    `stage` is the folder name of a stage; `facts` should have the values that connect hops, where known: pod,
    namespace, account, sub, client_id, vault, outcome.
    """
    if not logger.isEnabledFor(level):
        return
    values = {
        HOP: True,
        "stage": stage,
        "asked": asked,
        "checked": list(checked),
        "took_ms": round(seconds * 1000, 3),
        **facts,
    }
    if len(_root.handlers) == 1 and isinstance(handler := _root.handlers[0], _JsonHandler):
        # The creation of a log record takes a tenth of the time of an exchange; without a second handler, no
        # record is needed.
        entry = (time.time(), level, logger.name, event, correlation_id.get(), values)
        handler.add(level, entry)
    else:
        logger.log(level, event, extra=values)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line with a JSON object.

    `always` are values of every line.
    """

    def __init__(self, always: Mapping[str, object] | None = None) -> None:
        super().__init__()
        self._always = dict(always or {})

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as a line."""
        return self.serialize(self.to_entry(record)).decode()

    def to_entry(self, record: logging.LogRecord) -> LogEntry:
        """Convert a record to the parts of its line."""
        facts = _extra_fields(record)
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        event, cid = record.getMessage(), correlation_id.get()
        if record.name.partition(".")[0] in _LIBRARIES:
            event, facts = "library_message", {"said": event, **facts}
        return record.created, record.levelno, record.name, event, cid, facts

    def serialize(self, entry: LogEntry) -> bytes:
        """Serialize the parts of a line."""
        when, level, name, event, cid, facts = entry
        line = {
            "time": _format_time(int(when * 1000)),
            "level": _LEVELS.get(level) or logging.getLevelName(level).lower(),
            "logger": name,
            "event": event,
            **self._always,
        }
        if cid:
            line["correlation_id"] = cid
        line.update(facts)
        # A dataclass is written by its repr, because the repr of a Secret hides the value.
        return orjson.dumps(line, default=str, option=orjson.OPT_PASSTHROUGH_DATACLASS)


@lru_cache(maxsize=64)  # a busy service logs several lines a millisecond
def _format_time(milliseconds: int) -> str:
    return f"{rfc3339(milliseconds // 1000)[:-1]}.{milliseconds % 1000:03d}Z"


class TextFormatter(logging.Formatter):
    """Formats a record for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as text."""
        facts = " ".join(
            f"{name}={_to_printable(value)}" for name, value in _extra_fields(record).items()
        )
        line = (
            f"{rfc3339(record.created)} {record.levelname.lower():7} {record.getMessage()} {facts}"
        )
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line.rstrip()


class _JsonHandler(logging.Handler):
    """Writes JSON lines: the lines of one event-loop iteration together, errors immediately.

    SIGKILL may lose the lines of one iteration; a normal exit does not, because `logging` flushes then.
    """

    def __init__(self, json: JsonFormatter) -> None:
        super().__init__()
        self._json = json
        self._pending: list[LogEntry] = []
        self._hop_reader: socket.socket | None = None
        self._flush = CoalescedCallback(self.flush)

    def emit(self, record: logging.LogRecord) -> None:
        """Add a record to the lines of this iteration."""
        self.add(record.levelno, self._json.to_entry(record))

    def add(self, level: int, entry: LogEntry) -> None:
        """Add a line to those of this iteration."""
        self._pending.append(entry)
        if level >= logging.ERROR:
            self.flush()
        else:
            self._flush.schedule()

    def flush(self) -> None:
        """Write the pending lines."""
        with self._locked():
            entries, self._pending = self._pending, []
            if entries:
                lines = [self._json.serialize(entry) for entry in entries]
                self._write(lines)
                self._copy_hops(lines)

    def copy_hops_to(self, reader: socket.socket) -> None:
        """Send a copy of each hop to a datagram socket."""
        self._hop_reader = reader

    def _copy_hops(self, lines: Sequence[bytes]) -> None:
        if self._hop_reader is None:
            return
        for line in lines:
            if b'"hop":true' in line:
                # A reader that is slow, or absent, loses hops and delays nothing.
                with suppress(OSError):
                    self._hop_reader.send(line, socket.MSG_DONTWAIT)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        except Exception:  # noqa: BLE001 a full disk or an invalid value must not stop a service
            self.handleError(logging.makeLogRecord({}))
        finally:
            self.release()

    def _write(self, lines: Sequence[bytes]) -> None:
        raise NotImplementedError


class _StreamHandler(_JsonHandler):
    """Writes to a stream that several processes may share, in chunks that a pipe writes atomically.

    In a pipe, each line must fit into one chunk; the middle of longer texts is removed.
    """

    def __init__(self, stream: TextIO, json: JsonFormatter) -> None:
        super().__init__(json)
        self._stream = stream
        try:
            self._handle: int | None = stream.fileno()
            self._is_pipe = stat.S_ISFIFO(os.fstat(self._handle).st_mode)
        except OSError:  # a stream without a file, such as StringIO
            self._handle, self._is_pipe = None, False

    def _write(self, lines: Sequence[bytes]) -> None:
        if self._is_pipe:
            lines = [_shorten(line) for line in lines]
        for chunk in _split_chunks(lines):
            if self._handle is None:
                self._stream.write(chunk.decode())
                continue
            # A signal may interrupt a write to a pipe after a part of the chunk.
            while chunk := chunk[os.write(self._handle, chunk) :]:
                pass


class _FileHandler(_JsonHandler):
    """Writes to a file, and rotates it when it is large; one earlier file remains."""

    def __init__(self, file: Path, json: JsonFormatter) -> None:
        super().__init__(json)
        self._file = file
        # Only the owner may read the log: it shows the requests.
        self._stream = open_private(file)
        self._rotate_if_large()

    def close(self) -> None:
        """Write the pending lines and close the file."""
        self.flush()
        self._stream.close()
        super().close()

    def _write(self, lines: Sequence[bytes]) -> None:
        if self._stream.closed:
            # At the end of the process, asyncio logs tasks after `logging` has closed its handlers.
            self._stream = open_private(self._file)
        self._stream.write(b"\n".join((*lines, b"")))
        self._stream.flush()
        self._rotate_if_large()

    def _rotate_if_large(self) -> None:
        if os.fstat(self._stream.fileno()).st_size <= MAX_FILE_BYTES:
            return
        self._stream.close()
        self._file.replace(self._file.with_name(self._file.name + ".1"))
        self._stream = open_private(self._file)


def _shorten(line: bytes) -> bytes:
    """Shorten the longest texts of a line until a pipe writes it atomically."""
    if len(line) < select.PIPE_BUF:
        return line
    values = orjson.loads(line)
    texts = {name: value for name, value in values.items() if isinstance(value, str)}
    for name in sorted(texts, key=lambda name: len(texts[name]), reverse=True):
        # The size of a text is known only after serialization: escapes, characters of several bytes.
        kept = len(texts[name])
        while len(line) >= select.PIPE_BUF and kept > _MIN_CHARS:
            kept = kept // 2
            values[name] = f"{texts[name][: kept // 2]} ... {texts[name][-(kept // 2) :]}"
            line = orjson.dumps(values)
    return line


def _split_chunks(lines: Sequence[bytes]) -> Iterator[bytes]:
    """Join lines up to the size that a pipe writes atomically; a longer line is a separate chunk."""
    chunk = b""
    for line in lines:
        if chunk and len(chunk) + len(line) >= select.PIPE_BUF:
            yield chunk
            chunk = b""
        chunk += line + b"\n"
    yield chunk


def _to_printable(value: object) -> str:
    # A value from a caller must not start a new line or change the colour of the terminal.
    text = str(value)
    return text if text.isprintable() else repr(text)


def _extra_fields(record: logging.LogRecord) -> dict[str, Any]:
    # The values of `extra` follow the standard attributes of every record.
    extra = islice(vars(record).items(), _STANDARD_COUNT, None)
    return {name: value for name, value in extra if name not in _STANDARD}


def configure(
    stream: TextIO | None = None,
    *,
    file: Path | None = None,
    level: str = "info",
    always: Mapping[str, object] | None = None,
) -> None:
    """Write podpass's logs to a stream (text on a terminal, otherwise JSON), or as JSON to a file.

    `always` are values of every JSON line, such as the number of the worker.
    """
    handler: logging.Handler
    stream = stream or sys.stderr
    if file is not None:
        handler = _FileHandler(file, JsonFormatter(always))
    elif stream.isatty():
        handler = logging.StreamHandler(stream)
        handler.setFormatter(TextFormatter())
    else:
        handler = _StreamHandler(stream, JsonFormatter(always))
    # No line has a thread or process ID; reading them would cost a system call per record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    _root.handlers[:] = [handler]
    _root.setLevel(level.upper())
    _root.propagate = False
    for library in map(logging.getLogger, _LIBRARIES):
        library.handlers[:] = [handler]
        library.setLevel(logging.WARNING)
        library.propagate = False


class _Forward(logging.Handler):
    """Passes records on to the handlers that podpass has at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on."""
        for handler in _root.handlers:
            handler.handle(record)


def adopt(name: str, change: logging.Filter) -> None:
    """Write the records of another package as podpass's own, after `change` has completed them."""
    logger, handler = logging.getLogger(name), _Forward()
    handler.addFilter(change)
    logger.handlers[:] = [handler]
    logger.setLevel(_root.level)
    logger.propagate = False


def copy_hops_to(reader: socket.socket) -> None:
    """Send a copy of each hop that is logged to a datagram socket; a full one loses hops."""
    for handler in _root.handlers:
        if isinstance(handler, _JsonHandler):
            handler.copy_hops_to(reader)
