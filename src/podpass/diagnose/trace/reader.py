"""Read the hops of a log in steps of bounded size, also while it is written, rotated or replaced.

`InstanceLog` reads the log of an instance and the logs of the migration sidecars in its pods, by time.
"""

import os
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from podpass.diagnose.trace.assignment import AssignedHop, HopAssigner
from podpass.diagnose.trace.hop import Hop, parse_hop
from podpass.names import PROXY_CONTAINER

_CHUNK_BYTES = 256 * 1024
_HEAD_BYTES = 64
_FORM = re.compile(r"([0-9]{1,20})-([0-9]{1,20})-([0-9]{1,10})")
_SIDECAR_STAGE = "imds"


@dataclass(frozen=True, slots=True)
class LogPosition:
    """A position in a log: the inode of its file, an offset, and a checksum of the beginning of the file.

    The text form is `INODE-OFFSET-CHECKSUM`. Inode 0 stands for the beginning of the oldest file; checksum 0
    is not compared. A file system reuses the inode of a deleted file for a new one, which begins with another
    time.
    """

    file: int = 0
    offset: int = 0
    head: int = 0

    def __str__(self) -> str:
        return f"{self.file}-{self.offset}-{self.head}"

    @classmethod
    def parse(cls, text: str) -> "LogPosition":
        """Parse the text form; any other text means the beginning."""
        found = _FORM.fullmatch(text)
        return cls(*map(int, found.groups())) if found else cls()


START = LogPosition()


@dataclass(frozen=True, slots=True, kw_only=True)
class HopBatch:
    """Some hops and the position after them; `is_end` if the log has no further complete line."""

    hops: tuple[Hop, ...]
    position: LogPosition
    is_end: bool


def end_position(log: Path) -> LogPosition:
    """Return the position after the last line that the log has now."""
    try:
        with log.open("rb") as file:
            status = os.fstat(file.fileno())
            return LogPosition(status.st_ino, status.st_size, _checksum(file))
    except FileNotFoundError:
        return START


def read_hops(log: Path, position: LogPosition = START) -> HopBatch:
    """Read the next hops after a position: at most 256 KiB of the log.

    The rotated file `LOG.1` is read before the log. If the file of the position no longer exists, or is
    shorter than the position, reading begins at the oldest file.
    """
    with ExitStack() as opened:
        files = [opened.enter_context(file) for file in _open_files(log)]
        inodes = [os.fstat(file.fileno()).st_ino for file in files]
        first = inodes.index(position.file) if position.file in inodes else 0
        for at in range(first, len(files)):
            head = _checksum(files[at])
            is_same = position.file == inodes[at] and position.head in (0, head)
            begin = position.offset if is_same else 0
            begin = begin if begin <= os.fstat(files[at].fileno()).st_size else 0
            files[at].seek(begin)
            chunk = files[at].read(_CHUNK_BYTES)
            is_full, is_newest = len(chunk) == _CHUNK_BYTES, at == len(files) - 1
            # A line that is longer than a step is not a hop, and is skipped in parts.
            size = chunk.rfind(b"\n") + 1 or (len(chunk) if is_full else 0)
            if size or is_newest:
                end = LogPosition(inodes[at], begin + size, head)
                return HopBatch(
                    hops=tuple(_parse_lines(chunk[:size], replace(end, offset=begin))),
                    position=end,
                    is_end=is_newest and not is_full,
                )
    return HopBatch(hops=(), position=position, is_end=True)


def read_all(log: Path, position: LogPosition = START) -> Iterator[Hop]:
    """Read all hops from a position to the present end of the log."""
    is_end = False
    while not is_end:
        batch = read_hops(log, position)
        yield from batch.hops
        position, is_end = batch.position, batch.is_end


def _open_files(log: Path) -> list[BinaryIO]:
    """Open the files of a log, the oldest first."""
    files: dict[int, BinaryIO] = {}
    # The newest first: a rotation in between then opens one file twice, and skips none.
    for path in (log, log.with_name(f"{log.name}.1")):
        with suppress(FileNotFoundError):
            file = path.open("rb")
            inode = os.fstat(file.fileno()).st_ino
            if inode in files:
                file.close()
            else:
                files[inode] = file
    return [*reversed(files.values())]


def _checksum(file: BinaryIO) -> int:
    file.seek(0)
    return zlib.crc32(file.read(_HEAD_BYTES))


def _parse_lines(block: bytes, begin: LogPosition) -> Iterator[Hop]:
    offset = begin.offset
    for line in block.split(b"\n"):
        offset += len(line) + 1
        if (hop := parse_hop(line)) is not None:
            yield replace(hop, position=str(replace(begin, offset=offset)))


class InstanceLog:
    """The hops of an instance, read in steps; each step continues after the one before.

    `pods` is the folder in which the kubelet stores the logs of containers, by the uid of the pod.
    """

    def __init__(self, log: Path, pods: Path, position: LogPosition = START) -> None:
        self._log, self._pods = log, pods
        self._position = position
        self._sidecar_positions: dict[Path, LogPosition] = {}
        self._waiting: list[Hop] = []
        self._assigner = HopAssigner()
        self.is_end = False

    def read(self) -> list[AssignedHop]:
        """Read the next hops; `is_end` is then whether the logs have no further line now."""
        batch = read_hops(self._log, self._position)
        self._position, hops = batch.position, [*batch.hops]
        if not self._waiting:
            self._waiting = sorted(self._read_sidecars(), key=lambda hop: hop.time)
        # A sidecar's log is read before the log of the instance, whose lines name the pods.
        last = hops[-1].time if hops else ""
        ready = [hop for hop in self._waiting if batch.is_end or hop.time <= last]
        self._waiting = self._waiting[len(ready) :]
        self.is_end = batch.is_end and not ready
        if ready:
            hops = sorted([*hops, *ready], key=lambda hop: hop.time)
        return [*self._assigner.assign_all(hops)]

    def read_all(self) -> Iterator[AssignedHop]:
        """Read all hops that the logs have now."""
        while True:
            yield from self.read()
            if self.is_end:
                return

    def _read_sidecars(self) -> Iterator[Hop]:
        found = [*self._pods.glob(f"*/logs/{PROXY_CONTAINER}/*.log")]
        known = self._sidecar_positions
        self._sidecar_positions = {log: known.get(log, START) for log in found}
        for log, position in self._sidecar_positions.items():
            batch = read_hops(log, position)
            self._sidecar_positions[log] = batch.position
            uid = log.parents[2].name
            for hop in batch.hops:
                # A pod names its containers, so it can write any line: trusted for its own sidecar only.
                if hop.stage == _SIDECAR_STAGE:
                    yield replace(hop, facts={**hop.facts, "uid": uid})
