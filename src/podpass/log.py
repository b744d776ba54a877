"""Logs as one JSON object a line, or plain text on a terminal; and the token's hops among them.

An event is a fixed `snake_case` name in the past tense; facts go in `extra`. `correlation_id`
rides in a context variable set at the edges, so the cause of an error answer is found under the id the
caller got; `stage` is a fact of each hop. Tokens are logged as `fingerprint(token)`, never themselves.
"""

import hashlib
import logging
import os
import select
import stat
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import orjson

from podpass.clock import rfc3339
from podpass.files import open_private
from podpass.tasks import EndOfTurn

correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")
HOP = "hop"
# When, level, logger, event, correlation id, facts: what a line says.
Said = tuple[float, int, str, str, str, dict[str, Any]]
MAX_FILE_BYTES = 64 * 1024 * 1024
_LEAST_CHARS = 64
_LEVELS = {logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}
_OWN_COUNT = len(vars(logging.LogRecord("", 0, "", 0, "", (), None)))
_OWN = frozenset({"message", "asctime"})


_root = logging.getLogger("podpass")
# What libraries say of their own accord comes as lines of ours, too: whoever reads them wants one form.
_LIBRARIES = ("asyncio", "psycopg")


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
    if not logger.isEnabledFor(level):
        return
    said = {
        HOP: True,
        "stage": stage,
        "asked": asked,
        "checked": list(checked),
        "took_ms": round(seconds * 1000, 3),
        **facts,
    }
    if len(_root.handlers) == 1 and isinstance(lines := _root.handlers[0], _Lines):
        # The short way, worth a tenth of an exchange: no record, since nobody else is to see one.
        lines.add(level, (time.time(), level, logger.name, event, correlation_id.get(), said))
    else:
        logger.log(level, event, extra=said)


class JsonFormatter(logging.Formatter):
    """Write a record as one JSON object a line.

    Shapes:  `always` are facts of every line.
    """

    def __init__(self, always: Mapping[str, object] | None = None) -> None:
        super().__init__()
        self._always = dict(always or {})

    def format(self, record: logging.LogRecord) -> str:
        return self.line(self.said(record)).decode()

    def said(self, record: logging.LogRecord) -> Said:
        """Take from a record what its line says."""
        facts = _facts(record)
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        event, cid = record.getMessage(), correlation_id.get()
        if record.name.partition(".")[0] in _LIBRARIES:
            event, facts = "library_spoke", {"said": event, **facts}
        return record.created, record.levelno, record.name, event, cid, facts

    def line(self, said: Said) -> bytes:
        """Write a line."""
        when, level, name, event, cid, facts = said
        line = {
            "time": f"{rfc3339(when)[:-1]}.{int(when % 1 * 1000):03d}Z",
            "level": _LEVELS.get(level) or logging.getLevelName(level).lower(),
            "logger": name,
            "event": event,
            **self._always,
        }
        if cid:
            line["correlation_id"] = cid
        line.update(facts)
        # A dataclass is written as it shows itself: a Secret does not.
        return orjson.dumps(line, default=str, option=orjson.OPT_PASSTHROUGH_DATACLASS)


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


class _Lines(logging.Handler):
    """Write JSON lines: those of one turn of the event loop at once, errors without delay.

    A kill may take the lines of one turn along; a stop does not, since `logging` flushes at exit.
    """

    def __init__(self, json: JsonFormatter) -> None:
        super().__init__()
        self._json = json
        self._waiting: list[Said] = []
        self._turn = EndOfTurn(self.flush)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record's line until the loop turns."""
        self.add(record.levelno, self._json.said(record))

    def add(self, level: int, said: Said) -> None:
        """Keep a line until the loop turns."""
        self._waiting.append(said)
        if level >= logging.ERROR:
            self.flush()
        else:
            self._turn.want()

    def flush(self) -> None:
        """Write what waits."""
        with self._guard():
            waiting, self._waiting = self._waiting, []
            if waiting:
                self._write([self._json.line(said) for said in waiting])

    @contextmanager
    def _guard(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        except Exception:  # noqa: BLE001 a full disk, a value that is no JSON: no reason to stop a service
            self.handleError(logging.makeLogRecord({}))
        finally:
            self.release()

    def _write(self, lines: Sequence[bytes]) -> None:
        raise NotImplementedError


class _LogStream(_Lines):
    """A stream that several processes may share: whole lines, in pieces that a pipe does not tear.

    In a pipe a line has to fit such a piece: what is longer is shortened in its middle.
    """

    def __init__(self, stream: TextIO, json: JsonFormatter) -> None:
        super().__init__(json)
        self._stream = stream
        try:
            self._handle: int | None = stream.fileno()
            self._is_pipe = stat.S_ISFIFO(os.fstat(self._handle).st_mode)
        except OSError:  # none, as StringIO
            self._handle, self._is_pipe = None, False

    def _write(self, lines: Sequence[bytes]) -> None:
        if self._is_pipe:
            lines = [_fit(line) for line in lines]
        for piece in _pieces(lines):
            if self._handle is None:
                self._stream.write(piece.decode())
                continue
            # A file takes it whole, or its disk is full; a pipe may be left by a signal in the middle.
            while piece := piece[os.write(self._handle, piece) :]:
                pass


class _LogFile(_Lines):
    """A file that steps aside when it is long; one before it is kept."""

    def __init__(self, file: Path, json: JsonFormatter) -> None:
        super().__init__(json)
        self._file = file
        # Who asked for what is the owner's to read.
        self._stream = open_private(file)
        self._step_aside_if_long()

    def close(self) -> None:
        """Write what waits, and let the file go."""
        self.flush()
        self._stream.close()
        super().close()

    def _write(self, lines: Sequence[bytes]) -> None:
        self._stream.write(b"\n".join((*lines, b"")))
        self._stream.flush()
        self._step_aside_if_long()

    def _step_aside_if_long(self) -> None:
        if os.fstat(self._stream.fileno()).st_size <= MAX_FILE_BYTES:
            return
        self._stream.close()
        self._file.replace(self._file.with_name(self._file.name + ".1"))
        self._stream = open_private(self._file)


def _fit(line: bytes) -> bytes:
    """Shorten the longest texts of a line until a pipe takes it whole."""
    if len(line) < select.PIPE_BUF:
        return line
    said = orjson.loads(line)
    texts = {name: value for name, value in said.items() if isinstance(value, str)}
    for name in sorted(texts, key=lambda name: len(texts[name]), reverse=True):
        # How much room a text takes is known only when it is written: escapes, letters of several bytes.
        kept = len(texts[name])
        while len(line) >= select.PIPE_BUF and kept > _LEAST_CHARS:
            kept = kept // 2
            said[name] = f"{texts[name][: kept // 2]} ... {texts[name][-(kept // 2) :]}"
            line = orjson.dumps(said)
    return line


def _pieces(lines: Sequence[bytes]) -> Iterator[bytes]:
    """Join lines up to what a pipe takes whole; a longer line goes alone."""
    piece = b""
    for line in lines:
        if piece and len(piece) + len(line) >= select.PIPE_BUF:
            yield piece
            piece = b""
        piece += line + b"\n"
    yield piece


def _line(value: object) -> str:
    # A value from outside must not begin a line, or colour the terminal.
    text = str(value)
    return text if text.isprintable() else repr(text)


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    # What `extra` brought stands after what every record has.
    given = islice(vars(record).items(), _OWN_COUNT, None)
    return {name: value for name, value in given if name not in _OWN}


def configure(
    stream: TextIO | None = None,
    *,
    file: Path | None = None,
    level: str = "info",
    always: Mapping[str, object] | None = None,
) -> None:
    """Send podpass's logs to a stream (text on a terminal, JSON otherwise) or to a file as JSON.

    Shapes:  `always` are facts of every line of JSON, as which of several workers wrote it.
    """
    handler: logging.Handler
    stream = stream or sys.stderr
    if file is not None:
        handler = _LogFile(file, JsonFormatter(always))
    elif stream.isatty():
        handler = logging.StreamHandler(stream)
        handler.setFormatter(TextFormatter())
    else:
        handler = _LogStream(stream, JsonFormatter(always))
    # No line names thread or process, and looking them up costs each record a system call.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    _root.handlers[:] = [handler]
    _root.setLevel(level.upper())
    _root.propagate = False
    for library in map(logging.getLogger, _LIBRARIES):
        library.handlers[:] = [handler]
        library.setLevel(logging.WARNING)
        library.propagate = False
