"""The status of all processes of one authority, in memory that they share.

The memory is created before the first fork. Each child writes only its own status, several times a second;
the supervisor and the health process read it. A status remains after its child exits, so the status of a
child that hangs or has exited can be read.
"""

import mmap
import struct
from dataclasses import dataclass
from enum import IntEnum

_SUPERVISOR = struct.Struct("<dqq")  # heartbeat, whether it is draining, restarts
# pid, state, heartbeat, connections, requests in flight, database, certificate
_PROCESS = struct.Struct("<qqdqqqq")
_REASON_BYTES = 256
_PROCESS_BYTES = _PROCESS.size + 2 + _REASON_BYTES


class ProcessState(IntEnum):
    """The state of a child process."""

    GONE = 0
    STARTING = 1
    READY = 2
    DRAINING = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """The status of a child process.

    Units: `heartbeat` in seconds of the monotonic clock, which the processes of one machine share.
    """

    pid: int = 0
    state: ProcessState = ProcessState.GONE
    heartbeat: float = 0.0
    connections: int = 0
    in_flight: int = 0
    database: bool = False
    certificate_expired: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorStatus:
    """The supervisor's status: its heartbeat, whether it is draining, and the number of replaced children."""

    heartbeat: float = 0.0
    draining: bool = False
    restarts: int = 0


class SharedStatus:
    """The status of each child and of the supervisor."""

    def __init__(self, children: int) -> None:
        self._children = children
        self._memory = mmap.mmap(-1, _SUPERVISOR.size + children * _PROCESS_BYTES)

    def __len__(self) -> int:
        return self._children

    def read(self, number: int) -> ProcessStatus:
        """Read the status of a child."""
        offset = self._offset(number)
        pid, state, heartbeat, connections, in_flight, database, certificate = _PROCESS.unpack_from(
            self._memory, offset
        )
        (length,) = struct.unpack_from("<H", self._memory, offset + _PROCESS.size)
        start = offset + _PROCESS.size + 2
        reason = self._memory[start : start + min(length, _REASON_BYTES)]
        return ProcessStatus(
            pid=pid,
            state=ProcessState(state),
            heartbeat=heartbeat,
            connections=connections,
            in_flight=in_flight,
            database=bool(database),
            certificate_expired=bool(certificate),
            reason=reason.decode(errors="replace"),
        )

    def write(self, number: int, status: ProcessStatus) -> None:
        """Write the status of a child."""
        offset = self._offset(number)
        reason = status.reason.encode()[:_REASON_BYTES]
        _PROCESS.pack_into(
            self._memory,
            offset,
            status.pid,
            status.state,
            status.heartbeat,
            status.connections,
            status.in_flight,
            status.database,
            status.certificate_expired,
        )
        struct.pack_into("<H", self._memory, offset + _PROCESS.size, len(reason))
        start = offset + _PROCESS.size + 2
        self._memory[start : start + len(reason)] = reason

    @property
    def supervisor(self) -> SupervisorStatus:
        """Return the status of the supervisor."""
        heartbeat, draining, restarts = _SUPERVISOR.unpack_from(self._memory, 0)
        return SupervisorStatus(heartbeat=heartbeat, draining=bool(draining), restarts=restarts)

    @supervisor.setter
    def supervisor(self, status: SupervisorStatus) -> None:
        _SUPERVISOR.pack_into(self._memory, 0, status.heartbeat, status.draining, status.restarts)

    def _offset(self, number: int) -> int:
        assert 0 <= number < self._children
        return _SUPERVISOR.size + number * _PROCESS_BYTES
