"""Container logs on disk, in the format of the container runtime interface: one entry with a time per line.

    2026-01-02T03:04:05.000000006Z stdout F what the program wrote

`P` instead of `F` marks a part of a line that is too long for one entry.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from kubeling.clock import Clock

_log = logging.getLogger(__name__)

MAX_BYTES = 10 * 1024 * 1024
_MAX_LINE = 16 * 1024
_BLOCK = 64 * 1024
_POLL_SECONDS = 0.25


def format_timestamp(seconds: float) -> str:
    """Format a time with nine fractional digits, so that the order of texts is the order of times."""
    whole = datetime.fromtimestamp(int(seconds), tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{int((seconds % 1) * 1_000_000_000):09d}Z"


def rotated_path(path: Path) -> Path:
    """Return the path of the older half of a log."""
    return path.with_name(path.name + ".1")


class LogWriter:
    """Appends the output of a container; the older half is deleted when both halves are full."""

    def __init__(self, path: Path, clock: Clock, max_bytes: int = MAX_BYTES) -> None:
        self._path, self._clock, self._max_bytes = path, clock, max_bytes
        self._write_failed = False
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = self._open()
        self._partial_lines = {"stdout": b"", "stderr": b""}
        self._open_streams = set(self._partial_lines)

    def _open(self) -> BinaryIO:
        self._path.touch(mode=0o600)
        return self._path.open("ab", buffering=0)

    def write(self, stream: str, data: bytes) -> None:
        """Append data of a stream; empty data is its end."""
        if self._file.closed:
            return
        if not data:
            self._end(stream)
            return
        *lines, rest = (self._partial_lines[stream] + data).split(b"\n")
        entries = [entry for line in lines for entry in self._entries(stream, line)]
        while len(rest) > _MAX_LINE:
            entries.append(self._entry(stream, b"P", rest[:_MAX_LINE]))
            rest = rest[_MAX_LINE:]
        self._partial_lines[stream] = rest
        self._append(b"".join(entries))

    def _end(self, stream: str) -> None:
        if self._partial_lines[stream]:
            # Without a newline at its end, the line is written as a part (`P`), as in containerd.
            self._append(self._entry(stream, b"P", self._partial_lines[stream]))
            self._partial_lines[stream] = b""
        self._open_streams.discard(stream)
        if not self._open_streams:
            self._file.close()

    def close(self) -> None:
        for stream in sorted(self._open_streams):
            self._end(stream)

    def _entries(self, stream: str, line: bytes) -> Iterator[bytes]:
        while len(line) > _MAX_LINE:
            yield self._entry(stream, b"P", line[:_MAX_LINE])
            line = line[_MAX_LINE:]
        yield self._entry(stream, b"F", line)

    def _entry(self, stream: str, tag: bytes, line: bytes) -> bytes:
        head = f"{format_timestamp(self._clock())} {stream} ".encode()
        return head + tag + b" " + line + b"\n"

    def _append(self, data: bytes) -> None:
        if not data:
            return
        size = os.fstat(self._file.fileno()).st_size
        if size and size + len(data) > self._max_bytes // 2:
            self._file.close()
            self._path.replace(rotated_path(self._path))
            self._file = self._open()
        try:
            self._file.write(data)
        except OSError as exc:
            # On a full disk lines are lost, but the program that writes them must not end.
            if not self._write_failed:
                _log.error(
                    "container_log_write_failed",
                    extra={"path": str(self._path), "cause": exc.strerror},
                )
            self._write_failed = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """The options of a log request, as in PodLogOptions.

    `since` is in epoch seconds; `tail` is a number of lines, `limit` a number of bytes; `stream` is `stdout`,
    `stderr` or empty for both.
    """

    follow: bool = False
    timestamps: bool = False
    since: float | None = None
    tail: int | None = None
    limit: int | None = None
    stream: str = ""


async def read_log(
    path: Path, options: LogOptions, *, activity: "LogActivity"
) -> AsyncIterator[bytes]:
    """Yield the lines of a log; with `follow` also new lines until the container ends.

    `activity` is the activity of the container that writes this log.
    """
    remaining, render = options.limit, _Renderer(options)
    async for data in _follow(path, options, activity):
        out = render(data)
        if remaining is not None:
            out = out[:remaining]
            remaining -= len(out)
        if out:
            yield out
        if remaining == 0:
            return


class LogActivity:
    """Tracks whether a container still writes to its log."""

    def __init__(self, *, ended: bool = False) -> None:
        self._ended = asyncio.Event()
        if ended:
            self._ended.set()

    def end(self) -> None:
        self._ended.set()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    async def wait_for_more(self) -> None:
        """Wait for the poll interval, or until the container has ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS):
                await self._ended.wait()


def read_existing(path: Path, options: LogOptions) -> Iterator[bytes]:
    """Yield the lines that the log contains now."""
    yield from map(_Renderer(options), _read_entries(path, options.tail))


async def _follow(path: Path, options: LogOptions, activity: LogActivity) -> AsyncIterator[bytes]:
    """Yield blocks of whole entries, also across rotations."""
    for data in _read_entries(path, options.tail):
        yield data
    if not options.follow:
        return
    file = path.open("rb")
    try:
        file.seek(0, 2)
        rest = b""
        while True:
            ended = activity.ended  # before the read, which then returns all earlier writes
            while data := file.read(_BLOCK):
                whole, _, rest = (rest + data).rpartition(b"\n")
                if whole:
                    yield whole + b"\n"
            if path.exists() and path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                file.close()
                file = path.open("rb")
            elif ended:
                return
            else:
                await activity.wait_for_more()
    finally:
        file.close()


def _read_entries(path: Path, tail: int | None) -> Iterator[bytes]:
    """Yield blocks of the existing entries, the older half first."""
    files = [file for file in (rotated_path(path), path) if file.exists()]
    starts = [0] * len(files)
    if tail is not None:
        starts = [file.stat().st_size for file in files]
        missing = tail
        for index in reversed(range(len(files))):
            starts[index], missing = _tail_start(files[index], missing)
    for file, start in zip(files, starts, strict=True):
        with file.open("rb") as opened:
            opened.seek(start)
            rest = b""
            while data := opened.read(_BLOCK):
                whole, _, rest = (rest + data).rpartition(b"\n")
                if whole:
                    yield whole + b"\n"


def _tail_start(path: Path, wanted: int) -> tuple[int, int]:
    """Return the offset of the last `wanted` lines, and how many lines are missing.

    The parts of a long line count as one line.
    """
    size = path.stat().st_size
    if wanted <= 0:
        return size, 0
    with path.open("rb") as opened:
        end, data = size, b""
        while end > 0:
            begin = max(0, end - _BLOCK)
            opened.seek(begin)
            data = opened.read(end - begin) + data
            end = begin
            starts = _line_starts(data, whole_file=begin == 0)
            if len(starts) > wanted or begin == 0:
                take = starts[-wanted:]
                return (begin + take[0] if take else size), max(0, wanted - len(take))
    return size, wanted


def _line_starts(data: bytes, *, whole_file: bool) -> list[int]:
    """Return the offsets at which lines of the program begin in a block of a log."""
    starts: list[int] = []
    at = 0 if whole_file else data.find(b"\n") + 1
    at_line_start = True
    while 0 <= at < len(data):
        end = data.find(b"\n", at)
        if end < 0:
            break
        if at_line_start:
            starts.append(at)
        at_line_start = data[at:end].split(b" ", 3)[2:3] != [b"P"]
        at = end + 1
    return starts


class _Renderer:
    """Converts log entries to output; remembers whether the last entry was part of a line."""

    def __init__(self, options: LogOptions) -> None:
        self._since = format_timestamp(options.since).encode() if options.since is not None else b""
        self._stream = options.stream.lower().encode()
        self._timestamps = options.timestamps
        self._at_line_start = True

    def __call__(self, data: bytes) -> bytes:
        out: list[bytes] = []
        for entry in data.split(b"\n")[:-1]:
            when, stream, tag, text = entry.split(b" ", 3)
            if when < self._since or (self._stream and stream != self._stream):
                continue
            if self._timestamps and self._at_line_start:
                out += [when, b" "]
            self._at_line_start = tag != b"P"
            out += [text, b"\n"] if self._at_line_start else [text]
        return b"".join(out)
