"""Metrics of all processes in one place: each writes files of its own in a private folder, one reads them.

A file belongs to a child's place, not to its process id: who takes a dead one's place goes on counting
where it stopped, so counters never go backwards and no file is left over.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile, gettempdir
from typing import TYPE_CHECKING

from podpass.errors import Error
from podpass.http.tls import ReloadingTls
from podpass.servers.authority.health_checks import Judge

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Gauge
    from prometheus_client.core import Metric

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# What the files of a few processes take; they are mapped, and no room for a page of one ends its process.
_ROOM_BYTES = 1024 * 1024
_PREFIX, _LOCK = "podpass-metrics-", "lock"


class NoRoom(Error):
    """There is no room for metrics."""

    code = "no_room"
    hint = "free a few megabytes there, or name another folder with TMPDIR"


@contextmanager
def folder() -> Iterator[Path]:
    """Make the private folder, for as long as the context lasts; what leads the library there is set.

    Folders of masters that were killed go first: where they lie may be a few megabytes of memory.

    Errors:  NoRoom.
    """
    _remove_abandoned()
    _check_room()
    with TemporaryDirectory(prefix=_PREFIX) as name, _held(Path(name)):
        os.environ[_FOLDER] = name  # noqa: TID251 the library takes it from nowhere else
        try:
            yield Path(name)
        finally:
            del os.environ[_FOLDER]  # noqa: TID251


def _check_room() -> None:
    try:
        with TemporaryFile() as file:
            file.write(bytes(_ROOM_BYTES))
            file.flush()
    except OSError as exc:
        raise NoRoom(f"there is no room for metrics in {gettempdir()}: {exc.strerror}") from exc


@contextmanager
def _held(place: Path) -> Iterator[None]:
    """Hold a lock beside the metrics; the children have it too, so it goes with the last of them."""
    with (place / "lock.part").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (place / "lock.part").rename(place / _LOCK)  # whoever finds it finds it held
        yield


def _remove_abandoned() -> None:
    for lock in Path(gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        # Another user's cannot be opened, another service's is held.
        with suppress(OSError), lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent)


def registry(place: str) -> "CollectorRegistry":
    """Give the registry of this child, whose values lie in the files of its place."""
    from prometheus_client import CollectorRegistry, values

    own = values.MultiProcessValue(process_identifier=lambda: place)  # type: ignore[no-untyped-call]
    values.ValueClass = own
    return CollectorRegistry()


class OwnGauges:
    """What each worker tells of its keys."""

    def __init__(self, registry: "CollectorRegistry") -> None:
        self.key_age = _gauge(
            registry, "signing_key_age_seconds", "For how long the active key has signed", "max"
        )
        self.damaged = _gauge(
            registry,
            "signing_keys_damaged",
            "Signing keys in the database that do not open; no worker starts until there are none",
            "max",
        )
        self.next_rotation = _gauge(
            registry,
            "signing_key_next_rotation_seconds",
            "When the next key begins to sign, in seconds since the epoch; 0 when none is planned",
            "max",
        )


class Certificate:
    """What each process that serves by TLS tells of its certificate, whenever it has looked at the files."""

    def __init__(self, registry: "CollectorRegistry", tls: ReloadingTls) -> None:
        from prometheus_client import Counter

        self._tls = tls
        self._failures = 0
        self._not_after = _gauge(
            registry,
            "certificate_not_after_seconds",
            "When the serving certificate expires, in seconds since the epoch; the earliest of all processes",
            "min",
        )
        self._behind = _gauge(
            registry,
            "certificate_not_taken",
            "Whether the files hold a certificate and key that a process did not take",
            "max",
        )
        self._refused = Counter(
            "podpass_authority_certificate_reload_failures",
            "Revisions of certificate and key that a process did not take",
            registry=registry,
        )
        tls.looked = self._tell
        self._tell()

    def _tell(self) -> None:
        self._not_after.set(self._tls.not_after)
        self._behind.set(self._tls.is_behind)
        self._refused.inc(self._tls.failures - self._failures)
        self._failures = self._tls.failures


def _gauge(registry: "CollectorRegistry", name: str, meaning: str, how: str) -> "Gauge":
    from prometheus_client import Gauge

    return Gauge(
        f"podpass_authority_{name}",
        meaning,
        registry=registry,
        multiprocess_mode=how,  # type: ignore[arg-type]  # one of its literals
    )


class FromBoard:
    """A collector of what stands on the board."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        rows, master, up = self._judge.rows(), self._judge.board.master, self._judge.database_up()
        # What nobody knows is no number: no alert that asks for 0 rings for it.
        database = float("nan") if up is None else float(up)
        for name, meaning, value in (
            ("workers_ready", "Workers that serve", len(self._judge.serving())),
            ("connections", "Open connections", sum(row.connections for row in rows)),
            ("requests_in_flight", "Requests under way", sum(row.under_way for row in rows)),
            (
                "database_up",
                "Whether the database answered every worker when it was last asked",
                database,
            ),
            ("draining", "Whether it is about to end", int(master.draining)),
        ):
            yield GaugeMetricFamily(f"podpass_authority_{name}", meaning, value=value)
        yield CounterMetricFamily(
            "podpass_authority_restarts",
            "Processes that ended or hung and were replaced",
            value=master.restarts,
        )


def exposition(judge: Judge, place: Path) -> tuple[bytes, bytes]:
    """Write the metrics of all processes as Prometheus reads them, and say in which format."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    everything = CollectorRegistry()
    MultiProcessCollector(everything, path=str(place))  # type: ignore[no-untyped-call]
    everything.register(FromBoard(judge))
    return generate_latest(everything), CONTENT_TYPE_LATEST.encode()
