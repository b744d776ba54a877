"""What the processes of one authority know of each other: a page of memory that all of them see.

Made before the first fork. Each child writes its own row alone, several times a second; the master and
the health process read. A row outlives its child, so a child that hangs or is gone cannot hide it.
"""

import mmap
import struct
from dataclasses import dataclass
from enum import IntEnum

_MASTER = struct.Struct("<dqq")  # beat, whether it drains, restarts
_ROW = struct.Struct("<qqdqqq")  # pid, state, beat, connections, requests under way, database
_REASON_BYTES = 256
_ROW_BYTES = _ROW.size + 2 + _REASON_BYTES


class State(IntEnum):
    """How far a child is."""

    GONE = 0
    STARTING = 1
    READY = 2
    DRAINING = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a child says of itself.

    Units:   `beat` in seconds of the monotonic clock, which processes of one machine share.
    """

    pid: int = 0
    state: State = State.GONE
    beat: float = 0.0
    connections: int = 0
    under_way: int = 0
    database: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overall:
    """What the master says of itself: its beat, whether it is about to end, how many it had to replace."""

    beat: float = 0.0
    draining: bool = False
    restarts: int = 0


class Board:
    """The rows of all children, and the master's."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._memory = mmap.mmap(-1, _MASTER.size + rows * _ROW_BYTES)

    def __len__(self) -> int:
        return self._rows

    def read(self, number: int) -> Row:
        """Read a child's row."""
        at = self._at(number)
        pid, state, beat, connections, under_way, database = _ROW.unpack_from(self._memory, at)
        (length,) = struct.unpack_from("<H", self._memory, at + _ROW.size)
        begin = at + _ROW.size + 2
        reason = self._memory[begin : begin + min(length, _REASON_BYTES)]
        return Row(
            pid=pid,
            state=State(state),
            beat=beat,
            connections=connections,
            under_way=under_way,
            database=bool(database),
            reason=reason.decode(errors="replace"),
        )

    def write(self, number: int, row: Row) -> None:
        """Write a child's row."""
        at = self._at(number)
        reason = row.reason.encode()[:_REASON_BYTES]
        facts = (row.pid, row.state, row.beat, row.connections, row.under_way, row.database)
        _ROW.pack_into(self._memory, at, *facts)
        struct.pack_into("<H", self._memory, at + _ROW.size, len(reason))
        begin = at + _ROW.size + 2
        self._memory[begin : begin + len(reason)] = reason

    @property
    def master(self) -> Overall:
        """What the master says of itself."""
        beat, draining, restarts = _MASTER.unpack_from(self._memory, 0)
        return Overall(beat=beat, draining=bool(draining), restarts=restarts)

    @master.setter
    def master(self, told: Overall) -> None:
        _MASTER.pack_into(self._memory, 0, told.beat, told.draining, told.restarts)

    def _at(self, number: int) -> int:
        assert 0 <= number < self._rows
        return _MASTER.size + number * _ROW_BYTES
