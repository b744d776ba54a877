"""What the runtime knows about a pod's containers, and how it outlives the runtime itself."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson

from podpass.files import write_private

LOST_CODE = 137
LOST_REASON = "ContainerStatusUnknown"
_LOST = "the runtime ended while the container ran, and took it along"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Not running; `retry_at` is when it is worth trying again (epoch seconds)."""

    reason: str = "ContainerCreating"
    message: str = ""
    retry_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A process runs under this id since then (epoch seconds)."""

    container_id: str
    started_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A run is over. `code` is the exit code, 128 and the signal's number if one ended it."""

    code: int
    reason: str
    message: str = ""
    container_id: str = ""
    started_at: float = 0.0
    finished_at: float = 0.0


State = Waiting | Running | Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One container: its state, the run before, and how long its next restart has to wait (seconds)."""

    state: State = Waiting()
    last: Ended | None = None
    restarts: int = 0
    delay: float = 0.0
    started: bool = False
    ready: bool = False

    @property
    def previous(self) -> Ended | None:
        """The newest run that is over."""
        return self.state if isinstance(self.state, Ended) else self.last


Records = Mapping[str, Record]


def save(path: Path, records: Records) -> None:
    """Write the records where the next life of the runtime finds them."""
    entries = {name: _entry(record) for name, record in records.items()}
    write_private(path, orjson.dumps(entries))


def load(path: Path, now: float) -> dict[str, Record]:
    """Read the records of a former life; what ran then is over now, because nobody looked after it.

    Errors:  none; a damaged file counts as missing, and the pod starts afresh.
    """
    try:
        entries = orjson.loads(path.read_bytes())
        return {name: _lost(_record(entry), now) for name, entry in entries.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _entry(record: Record) -> dict[str, object]:
    return {
        **asdict(record),
        "state": {"kind": type(record.state).__name__, **asdict(record.state)},
    }


def _record(entry: dict[str, object]) -> Record:
    state = dict(entry.pop("state"))  # type: ignore[call-overload]  # checked by failing
    last = entry.pop("last")
    kinds = {"Waiting": Waiting, "Running": Running, "Ended": Ended}
    return Record(
        state=kinds[state.pop("kind")](**state),
        last=Ended(**last) if last else None,  # type: ignore[arg-type]  # checked by failing
        **entry,  # type: ignore[arg-type]  # checked by failing
    )


def _lost(record: Record, now: float) -> Record:
    if isinstance(record.state, Waiting):
        return replace(record, state=replace(record.state, retry_at=0.0))
    if isinstance(record.state, Ended):
        return record
    ended = Ended(
        code=LOST_CODE,
        reason=LOST_REASON,
        message=_LOST,
        container_id=record.state.container_id,
        started_at=record.state.started_at,
        finished_at=now,
    )
    return replace(record, state=ended, started=False, ready=False)
