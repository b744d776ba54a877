"""Metrics of all processes: each process writes its own files in a private directory, one process reads them.

A file is named by the number of a child and not by its process ID. A replacement child continues the counters
of its predecessor, so counters never decrease and no unused file remains.
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
from podpass.servers.authority.health_checks import HealthChecker

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Gauge
    from prometheus_client.core import Metric

_DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# The size of the files of a few processes. The files are mapped: a full disk kills a process that writes.
_NEEDED_BYTES = 1024 * 1024
_PREFIX, _LOCK = "podpass-metrics-", "lock"


class MetricsDirectoryError(Error):
    """The directory for metrics has no space."""

    code = "metrics_directory_full"
    hint = "free a few megabytes there, or set TMPDIR to another directory"


@contextmanager
def metrics_directory() -> Iterator[Path]:
    """Create the private directory until the context ends, and set the variable that the library reads.

    Directories of killed supervisors are deleted first, because they may be in a small memory file system.

    Raises MetricsDirectoryError.
    """
    _remove_abandoned()
    try:
        with TemporaryFile() as file:
            file.write(bytes(_NEEDED_BYTES))
            file.flush()
    except OSError as exc:
        raise MetricsDirectoryError(
            f"metrics cannot be written to {gettempdir()}: {exc.strerror}"
        ) from exc
    with TemporaryDirectory(prefix=_PREFIX) as name, _hold_lock(Path(name)):
        os.environ[_DIRECTORY_VARIABLE] = name  # noqa: TID251 the library reads only this variable
        try:
            yield Path(name)
        finally:
            del os.environ[_DIRECTORY_VARIABLE]  # noqa: TID251


@contextmanager
def _hold_lock(directory: Path) -> Iterator[None]:
    """Lock the directory; the children inherit the lock, which is released when the last one exits."""
    with (directory / "lock.part").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (directory / "lock.part").rename(directory / _LOCK)  # locked before it has its final name
        yield


def _remove_abandoned() -> None:
    for lock in Path(gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        # OSError: the lock belongs to another user or to a running service.
        with suppress(OSError), lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent)


def create_registry(name: str) -> "CollectorRegistry":
    """Create the registry of this child, whose files have this name."""
    from prometheus_client import CollectorRegistry, values

    value_class = values.MultiProcessValue(process_identifier=lambda: name)  # type: ignore[no-untyped-call]
    values.ValueClass = value_class
    return CollectorRegistry()


class WorkerGauges:
    """The metrics of a worker's signing keys."""

    def __init__(self, registry: "CollectorRegistry") -> None:
        self.key_age = _create_gauge(
            registry, "signing_key_age_seconds", "Time since the active key became active", "max"
        )
        self.damaged = _create_gauge(
            registry,
            "signing_keys_damaged",
            "Signing keys in the database that cannot be decrypted; no worker starts while there is one",
            "max",
        )
        self.next_rotation = _create_gauge(
            registry,
            "signing_key_next_rotation_seconds",
            "When the next key becomes active, in seconds since the epoch; 0 when none is scheduled",
            "max",
        )


class CertificateMetrics:
    """The metrics of a process's certificate, updated after each check of its files."""

    def __init__(self, registry: "CollectorRegistry", tls: ReloadingTls) -> None:
        from prometheus_client import Counter

        self._tls = tls
        self._failures = 0
        self._not_after = _create_gauge(
            registry,
            "certificate_not_after_seconds",
            "When the serving certificate expires, in seconds since the epoch; the earliest of all processes",
            "min",
        )
        self._stale = _create_gauge(
            registry,
            "certificate_reload_failing",
            "Whether a process failed to load the certificate and key in the files",
            "max",
        )
        self._reload_failures = Counter(
            "podpass_authority_certificate_reload_failures",
            "Revisions of certificate and key that a process failed to load",
            registry=registry,
        )
        tls.on_check = self._update
        self._update()

    def _update(self) -> None:
        self._not_after.set(self._tls.not_after)
        self._stale.set(self._tls.is_stale)
        self._reload_failures.inc(self._tls.failures - self._failures)
        self._failures = self._tls.failures


def _create_gauge(registry: "CollectorRegistry", name: str, meaning: str, how: str) -> "Gauge":
    from prometheus_client import Gauge

    return Gauge(
        f"podpass_authority_{name}",
        meaning,
        registry=registry,
        multiprocess_mode=how,  # type: ignore[arg-type]  # one of its literals
    )


class StatusCollector:
    """Collects metrics from the shared status."""

    def __init__(self, checker: HealthChecker) -> None:
        self._checker = checker

    def collect(self) -> "Iterator[Metric]":
        """Yield the metrics of the workers and of the supervisor."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        workers, supervisor = self._checker.worker_statuses(), self._checker.shared.supervisor
        # An unknown state is NaN, so that an alert on 0 does not fire.
        up = self._checker.database_up()
        database = float("nan") if up is None else float(up)
        for name, meaning, value in (
            ("workers_ready", "Workers that are ready", len(self._checker.ready_workers())),
            ("connections", "Open connections", sum(worker.connections for worker in workers)),
            (
                "requests_in_flight",
                "Requests in flight",
                sum(worker.in_flight for worker in workers),
            ),
            (
                "database_up",
                "Whether the database answered the last check of every worker",
                database,
            ),
            ("draining", "Whether the authority drains", int(supervisor.draining)),
        ):
            yield GaugeMetricFamily(f"podpass_authority_{name}", meaning, value=value)
        yield CounterMetricFamily(
            "podpass_authority_restarts",
            "Processes that exited or hung and were replaced",
            value=supervisor.restarts,
        )


def expose(checker: HealthChecker, directory: Path) -> tuple[bytes, bytes]:
    """Return the metrics of all processes in Prometheus' text format, and its content type."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(directory))  # type: ignore[no-untyped-call]
    registry.register(StatusCollector(checker))
    return generate_latest(registry), CONTENT_TYPE_LATEST.encode()
