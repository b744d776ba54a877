"""Container logs on disk, a line an entry with its time, as the container runtime interface writes them.

    2026-01-02T03:04:05.000000006Z stdout F what the program wrote

`P` instead of `F` marks a part of a line too long for one entry.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from podpass.clock import Clock

_log = logging.getLogger(__name__)

MAX_BYTES = 10 * 1024 * 1024
_MAX_LINE = 16 * 1024
_BLOCK = 64 * 1024
_POLL_SECONDS = 0.25


def stamp(seconds: float) -> str:
    """Write a time with nine digits of fraction, so that text order is time order."""
    whole = datetime.fromtimestamp(int(seconds), tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{int((seconds % 1) * 1_000_000_000):09d}Z"


def rotated(path: Path) -> Path:
    """Name the older half of a log."""
    return path.with_name(path.name + ".1")


class LogWriter:
    """Appends what a container writes; the older half is dropped when both are full."""

    def __init__(self, path: Path, clock: Clock, max_bytes: int = MAX_BYTES) -> None:
        self._path, self._clock, self._max_bytes = path, clock, max_bytes
        self._lost = False
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = self._open()
        self._rests = {"stdout": b"", "stderr": b""}
        self._open_streams = set(self._rests)

    def _open(self) -> BinaryIO:
        self._path.touch(mode=0o600)
        return self._path.open("ab", buffering=0)

    def write(self, stream: str, data: bytes) -> None:
        """Take a piece of a stream; an empty one is its end."""
        if self._file.closed:
            return
        if not data:
            self._end(stream)
            return
        *lines, rest = (self._rests[stream] + data).split(b"\n")
        entries = [entry for line in lines for entry in self._entries(stream, line)]
        while len(rest) > _MAX_LINE:
            entries.append(self._entry(stream, b"P", rest[:_MAX_LINE]))
            rest = rest[_MAX_LINE:]
        self._rests[stream] = rest
        self._append(b"".join(entries))

    def _end(self, stream: str) -> None:
        if self._rests[stream]:
            # No newline came, so none is shown: the line counts as a part, as in containerd.
            self._append(self._entry(stream, b"P", self._rests[stream]))
            self._rests[stream] = b""
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
        head = f"{stamp(self._clock())} {stream} ".encode()
        return head + tag + b" " + line + b"\n"

    def _append(self, data: bytes) -> None:
        if not data:
            return
        if self._file.tell() + len(data) > self._max_bytes // 2 and self._file.tell():
            self._file.close()
            self._path.replace(rotated(self._path))
            self._file = self._open()
        try:
            self._file.write(data)
        except OSError as exc:
            # A full disk loses lines; it must not end the program that writes them.
            if not self._lost:
                _log.error(
                    "container_log_lost", extra={"path": str(self._path), "cause": exc.strerror}
                )
            self._lost = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """What a reader asked for.

    Shapes:  `since` epoch seconds; `tail` lines from the end; `limit` bytes at most; `stream` stdout, stderr
             or empty for both.
    """

    follow: bool = False
    timestamps: bool = False
    since: float | None = None
    tail: int | None = None
    limit: int | None = None
    stream: str = ""


async def read(path: Path, query: LogQuery, *, activity: "Activity") -> AsyncIterator[bytes]:
    """Yield a log's lines, and with `follow` those to come until the container ends.

    Shapes:  `activity` says whether somebody still writes to this very file.
    """
    left, render = query.limit, _Renderer(query)
    async for data in _follow(path, query, activity):
        out = render(data)
        if left is not None:
            out = out[:left]
            left -= len(out)
        if out:
            yield out
        if left == 0:
            return


class Activity:
    """Whether a container still writes to its log; a reader asks before it waits for more."""

    def __init__(self, *, over: bool = False) -> None:
        self._ended = asyncio.Event()
        if over:
            self._ended.set()

    def end(self) -> None:
        self._ended.set()

    @property
    def over(self) -> bool:
        return self._ended.is_set()

    async def wait_more(self) -> None:
        """Wait a moment, or until the end."""
        try:
            await asyncio.wait_for(self._ended.wait(), _POLL_SECONDS)
        except TimeoutError:
            return


def present(path: Path, query: LogQuery) -> Iterator[bytes]:
    """Yield the lines that are there now."""
    yield from map(_Renderer(query), _present(path, query.tail))


async def _follow(path: Path, query: LogQuery, activity: Activity) -> AsyncIterator[bytes]:
    """Yield whole entries in pieces, through rotation."""
    for data in _present(path, query.tail):
        yield data
    if not query.follow:
        return
    file = path.open("rb")
    try:
        file.seek(0, 2)
        rest = b""
        while True:
            over = activity.over  # before reading: what is written until then is read below
            while data := file.read(_BLOCK):
                whole, _, rest = (rest + data).rpartition(b"\n")
                if whole:
                    yield whole + b"\n"
            if path.exists() and path.stat().st_ino != _inode(file):
                file.close()
                file = path.open("rb")
            elif over:
                return
            else:
                await activity.wait_more()
    finally:
        file.close()


def _inode(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_ino


def _present(path: Path, tail: int | None) -> Iterator[bytes]:
    """Yield what is there, older half first."""
    files = [file for file in (rotated(path), path) if file.exists()]
    starts = [0] * len(files)
    if tail is not None:
        starts = [file.stat().st_size for file in files]
        wanted = tail
        for index in reversed(range(len(files))):
            starts[index], wanted = _tail_start(files[index], wanted)
    for file, start in zip(files, starts, strict=True):
        with file.open("rb") as opened:
            opened.seek(start)
            yield from _blocks(opened)


def _blocks(opened: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while data := opened.read(_BLOCK):
        whole, _, rest = (rest + data).rpartition(b"\n")
        if whole:
            yield whole + b"\n"


def _tail_start(path: Path, wanted: int) -> tuple[int, int]:
    """Find where the last `wanted` lines begin; give also how many are still missing.

    Parts of a long line count with the line they end.
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
    """Find the offsets at which a program's lines begin in a piece of a log."""
    starts: list[int] = []
    at = 0 if whole_file else data.find(b"\n") + 1
    fresh = True
    while 0 <= at < len(data):
        end = data.find(b"\n", at)
        if end < 0:
            break
        if fresh:
            starts.append(at)
        fresh = data[at:end].split(b" ", 3)[2:3] != [b"P"]
        at = end + 1
    return starts


class _Renderer:
    """Turns entries into what the reader sees; remembers whether it is in the middle of a line."""

    def __init__(self, query: LogQuery) -> None:
        self._since = stamp(query.since).encode() if query.since is not None else b""
        self._stream = query.stream.lower().encode()
        self._timestamps = query.timestamps
        self._fresh = True

    def __call__(self, data: bytes) -> bytes:
        out: list[bytes] = []
        for entry in data.split(b"\n")[:-1]:
            when, stream, tag, text = entry.split(b" ", 3)
            if when < self._since or (self._stream and stream != self._stream):
                continue
            if self._timestamps and self._fresh:
                out += [when, b" "]
            self._fresh = tag != b"P"
            out += [text, b"\n"] if self._fresh else [text]
        return b"".join(out)
