"""The state of a pod's containers, and how it is stored across restarts of the kubelet."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson

from kubeling.files import write_private

LOST_CODE = 137
LOST_REASON = "ContainerStatusUnknown"
_LOST_MESSAGE = "the kubelet stopped while the container ran, and the container was killed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A container that does not run; `retry_at` is the time of the next attempt, in epoch seconds."""

    reason: str = "ContainerCreating"
    message: str = ""
    retry_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A container that runs; `started_at` in epoch seconds."""

    container_id: str
    started_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminated:
    """A run that has ended; `code` is the exit code, or 128 and the signal number if a signal ended it.

    `interrupted` is true if the stop of the kubelet ended the run: it is neither a crash nor a success.
    """

    code: int
    reason: str
    message: str = ""
    container_id: str = ""
    started_at: float = 0.0
    finished_at: float = 0.0
    interrupted: bool = False


State = Waiting | Running | Terminated


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRecord:
    """The record of one container.

    `last` is the run before the current state; `stale` is true if that run, or the current state, belongs to
    an earlier network of the pod, and the container must run in the new one. `delay` is the backoff
    before the next restart, in seconds.
    """

    state: State = Waiting()
    last: Terminated | None = None
    restarts: int = 0
    delay: float = 0.0
    started: bool = False
    ready: bool = False
    stale: bool = False

    @property
    def previous(self) -> Terminated | None:
        """Return the newest run that has ended."""
        return self.state if isinstance(self.state, Terminated) else self.last


ContainerRecords = Mapping[str, ContainerRecord]


def save_records(path: Path, records: ContainerRecords) -> None:
    """Write the records to a file that the kubelet reads after a restart."""
    entries = {name: _to_entry(record) for name, record in records.items()}
    write_private(path, orjson.dumps(entries))


def load_records(path: Path, now: float) -> dict[str, ContainerRecord]:
    """Read the records of the previous kubelet; containers that ran then are marked as terminated.

    An invalid file counts as missing, and the pod starts from the beginning.
    """
    try:
        entries = orjson.loads(path.read_bytes())
        return {name: _mark_lost(_from_entry(entry), now) for name, entry in entries.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _to_entry(record: ContainerRecord) -> dict[str, object]:
    return {
        **asdict(record),
        "state": {"kind": type(record.state).__name__, **asdict(record.state)},
    }


def _from_entry(entry: dict[str, object]) -> ContainerRecord:
    state = dict(entry.pop("state"))  # type: ignore[call-overload]  # an invalid entry raises
    last = entry.pop("last")
    kinds = {"Waiting": Waiting, "Running": Running, "Terminated": Terminated}
    return ContainerRecord(
        state=kinds[state.pop("kind")](**state),
        last=Terminated(**last) if last else None,  # type: ignore[arg-type]  # an invalid entry raises
        **entry,  # type: ignore[arg-type]  # an invalid entry raises
    )


def _mark_lost(record: ContainerRecord, now: float) -> ContainerRecord:
    if isinstance(record.state, Waiting):
        return replace(record, state=replace(record.state, retry_at=0.0))
    if isinstance(record.state, Terminated):
        return record
    terminated = Terminated(
        code=LOST_CODE,
        reason=LOST_REASON,
        message=_LOST_MESSAGE,
        container_id=record.state.container_id,
        started_at=record.state.started_at,
        finished_at=now,
        interrupted=True,
    )
    return replace(record, state=terminated, started=False, ready=False)
