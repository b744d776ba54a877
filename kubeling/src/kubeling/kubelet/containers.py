"""The containers of one pod: start, observe and stop them, and store their state on disk."""

import asyncio
import logging
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kubeling.api import ApiError
from kubeling.event_recorder import NORMAL, WARNING, object_reference
from kubeling.files import create_private_folder
from kubeling.kubelet import lifecycle, port_conflict, probes
from kubeling.kubelet.container_run import ContainerRun
from kubeling.kubelet.container_state import (
    ContainerRecord,
    Running,
    Terminated,
    Waiting,
    load_records,
    save_records,
)
from kubeling.kubelet.context import KubeletContext
from kubeling.kubelet.environment import ConfigError
from kubeling.kubelet.images import ImageNotPresent, ImageUnavailable
from kubeling.kubelet.lifecycle import PodPlan
from kubeling.kubelet.logs import LogActivity, LogOptions, LogWriter, read_existing
from kubeling.kubelet.pod_network import PodNetwork
from kubeling.kubelet.prepared_container import PreparedContainer, pod_folder, prepare
from kubeling.kubelet.process import StartError
from kubeling.tasks import cancel_all

_MAX_BYTES = 4096
_LOG_BYTES = 2048
_LOG_LINES = 80
FALLBACK = "FallbackToLogsOnError"


def exit_reason(code: int) -> str:
    """Return the reason that container runtimes report for an exit code."""
    return "Completed" if code == 0 else "Error"


def termination_message(container: Mapping[str, Any], file: Path, log: Path, code: int) -> str:
    """Return the message in the file of a container, or the end of its log if the policy says so.

    Source:  API reference, Container.terminationMessagePolicy.
    """
    message = _read_file(file, _MAX_BYTES)
    if not message and code != 0 and container.get("terminationMessagePolicy") == FALLBACK:
        lines = b"".join(read_existing(log, LogOptions(tail=_LOG_LINES))) if log.exists() else b""
        message = lines[-_LOG_BYTES:]
    return message.decode("utf-8", "replace")


def _read_file(file: Path, max_bytes: int) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(max_bytes)
    except OSError:
        return b""


_log = logging.getLogger(__name__)

Pod = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _RetryPolicy:
    """The delay before the first retry, its growth, and its maximum in seconds."""

    first: float
    growth: float
    last: float

    def delay(self, attempts: int) -> float:
        return min(self.first * self.growth ** min(attempts - 1, 50), self.last)


# A missing ConfigMap or image may appear at any time.
_START_BACK_OFF = _RetryPolicy(2.0, 1.5, 15.0)
# A pull costs much more than a read of a ConfigMap. The delays are those of the kubelet.
_PULL_BACK_OFF = _RetryPolicy(10.0, 2.0, 300.0)
_MAX_PULL_SECONDS = 3600.0
_DEFAULT_GRACE = 30
_START_ERROR_CODE = 128
_CONFIG_ERROR = "CreateContainerConfigError"
_INTERRUPTED_MESSAGE = "the kubelet stopped while the container ran"


class PodContainers:
    """All containers of a pod, by name; `on_change` is called after each change of one of them."""

    def __init__(
        self, context: KubeletContext, pod: Pod, plan: PodPlan, on_change: Callable[[], None]
    ) -> None:
        self._context, self._plan, self._on_change = context, plan, on_change
        self.pod = pod
        self.network: PodNetwork | None = None
        self._folder = pod_folder(context, pod)
        spec = pod["spec"]
        self._specs = {
            each["name"]: each
            for each in (*(spec.get("initContainers") or []), *spec["containers"])
        }
        stored = load_records(self._records_file, context.clock())
        self._records = {name: stored.get(name, ContainerRecord()) for name in self._specs}
        self._attempts: dict[str, int] = {}
        self._runs: dict[str, ContainerRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._interrupted = False
        self._may_start = True
        self._pulls: dict[str, asyncio.Task[None]] = {}
        self._pulled: set[str] = set()

    @property
    def records(self) -> Mapping[str, ContainerRecord]:
        return self._records

    @property
    def running_count(self) -> int:
        """Return the number of running containers."""
        return len(self._runs)

    def find_log(self, name: str, *, previous: bool) -> tuple[Path, LogActivity] | None:
        """Return the log of a container, and whether the container still writes to it."""
        attempt = self._records[name].restarts - (1 if previous else 0)
        path = self._log_path(name, attempt)
        if not path.exists():
            return None
        run = None if previous else self._runs.get(name)
        return path, run.activity if run else LogActivity(ended=True)

    def find_run(self, name: str) -> ContainerRun | None:
        """Return the running container of this name."""
        return self._runs.get(name)

    def stopped(self) -> dict[str, int]:
        """Return the containers that a signal has stopped, and their processes."""
        pids = {name: run.stopped_pid for name, run in self._runs.items()}
        return {name: pid for name, pid in pids.items() if pid is not None}

    def grace_seconds(self) -> float:
        """Return the grace period of the pod."""
        given = self.pod["metadata"].get("deletionGracePeriodSeconds")
        if given is None:
            given = self.pod["spec"].get("terminationGracePeriodSeconds")
        return float(_DEFAULT_GRACE if given is None else given)

    def stop(self, name: str, seconds: float) -> None:
        if run := self._runs.get(name):
            run.stop(seconds)

    def forbid_start(self) -> None:
        """Prevent further container starts, because the pod or the kubelet stops."""
        self._may_start = False

    def initialize_again(self) -> None:
        """Run again the init containers that changed an earlier network of the pod."""
        self._records = lifecycle.record_new_network(self._plan, self._records)

    async def interrupt_all(self, seconds: float) -> None:
        """Stop all running containers because the kubelet stops; the next kubelet starts them again."""
        self._interrupted = True
        await self.stop_all(seconds)

    async def stop_all(self, seconds: float) -> None:
        """Stop all running containers, and wait until they have ended."""
        for run in self._runs.values():
            run.stop(seconds)
        await cancel_all(self._pulls.values())
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def start(self, name: str, volumes: Mapping[str, Path]) -> None:
        """Start a container, or record why it cannot start now."""
        if not self._may_start:
            return
        record, container = self._records[name], self._specs[name]
        now = self._context.clock()
        container_id = uuid.uuid4().hex * 2
        if lifecycle.is_crash_restart(record):
            self._event(name, WARNING, "BackOff", self._back_off_message(name))
        try:
            prepared = await prepare(self._context, self.pod, container, volumes, container_id)
        except ImageNotPresent as exc:
            self._start_pull(name, exc.message)
        except (ConfigError, ImageUnavailable, ApiError) as exc:
            reason = exc.reason if isinstance(exc, ImageUnavailable) else _CONFIG_ERROR
            self._record_waiting(name, reason, exc.message)
        except StartError as exc:
            self._record_start_error(name, exc.message, container_id)
        else:
            if not self._may_start:
                return  # the pod was deleted while its objects were read
            self._attempts.pop(name, None)
            started = lifecycle.record_start(record, now, container_id, self._context.back_off)
            await self._start_process(name, prepared, container_id, started)

    def _start_pull(self, name: str, message: str) -> None:
        """Get the program of an image in the background; the container starts after the pull."""
        if name not in self._pulls:
            self._event(name, NORMAL, "Pulling", message)
            self._pulls[name] = asyncio.create_task(self._pull(name))
        retry_at = self._context.clock() + _MAX_PULL_SECONDS
        record = self._records[name]
        self._set(name, lifecycle.record_start_failure(record, Waiting().reason, "", retry_at))

    async def _pull(self, name: str) -> None:
        try:
            message = await self._context.images.pull(self._specs[name].get("image") or "")
        except ImageUnavailable as exc:
            self._record_waiting(name, exc.reason, exc.message, _PULL_BACK_OFF)
        else:
            self._pulled.add(name)
            self._event(name, NORMAL, "Pulled", message)
            self._set(name, replace(self._records[name], state=Waiting()))
        finally:
            self._pulls.pop(name, None)
            self._on_change()

    async def _start_process(
        self, name: str, prepared: PreparedContainer, container_id: str, started: ContainerRecord
    ) -> None:
        path = self._log_path(name, started.restarts)
        self._delete_old_logs(path)
        run = ContainerRun(
            self._context,
            self._specs[name],
            prepared,
            container_id,
            self._reference(name),
            LogWriter(path, self._context.clock),
            self.network,
        )
        try:
            await run.start()
        except StartError as exc:
            self._record_start_error(name, exc.message, container_id)
            return
        image = self._specs[name].get("image") or ""
        if name not in self._pulled:
            message = f'Container image "{image}" already present on machine'
            self._event(name, NORMAL, "Pulled", message)
        self._pulled.discard(name)
        self._event(name, NORMAL, "Created", f"Container created: {name}")
        self._event(name, NORMAL, "Started", f"Container started: {name}")
        if ignored := self._context.sandbox.ignored(prepared.process.security):
            message = (
                f"Container {name} runs as user {os.geteuid()} of this machine, and"
                f" {' and '.join(ignored)} of its securityContext is ignored: it needs bubblewrap and"
                " user namespaces"
            )
            self._event(name, WARNING, "SecurityContextIgnored", message)
        probed = run.probe_status
        self._runs[name] = run
        self._set(name, replace(started, started=probed.started, ready=probed.ready))
        task = asyncio.create_task(self._wait_for_exit(name, run, prepared))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait_for_exit(
        self, name: str, run: ContainerRun, prepared: PreparedContainer
    ) -> None:
        """Wait until a run has ended, and record its result."""

        def on_probe(probed: probes.ProbeStatus) -> None:
            record = replace(self._records[name], started=probed.started, ready=probed.ready)
            self._set(name, record)
            if probed.kill:
                run.stop(self._probe_grace(name, probed.kill), f"failed {probed.kill} probe")
            self._on_change()

        code = await run.wait(on_probe)
        record = self._records[name]
        assert isinstance(record.state, Running)
        log = self._log_path(name, record.restarts)
        message = termination_message(self._specs[name], prepared.message_file, log, code)
        terminated = Terminated(
            code=code,
            reason=exit_reason(code),
            message=message or (_INTERRUPTED_MESSAGE if self._interrupted else ""),
            container_id=run.container_id,
            started_at=record.state.started_at,
            finished_at=self._context.clock(),
            interrupted=self._interrupted,
        )
        del self._runs[name]
        _log.info("container_exited", extra={**self._facts(), "container": name, "code": code})
        # The kubelet shows an init container that has succeeded as ready.
        done = code == 0 and name in self._plan.inits and name not in self._plan.sidecars
        self._set(name, replace(record, state=terminated, started=False, ready=done))
        if code:
            self._report_used_ports(name)
        self._on_change()

    def _report_used_ports(self, name: str) -> None:
        address = self._context.node.pod_address
        if self.network is not None:
            return  # the ports belong to the namespace of the pod
        if used := port_conflict.used_ports(self._specs[name], address):
            message = port_conflict.event_message(name, used, address, self._context.network_hint)
            self._event(name, WARNING, port_conflict.REASON, message)

    def _probe_grace(self, name: str, kind: str) -> float:
        probe = self._specs[name].get(f"{kind}Probe") or {}
        own = probe.get("terminationGracePeriodSeconds")
        return self.grace_seconds() if own is None else float(own)

    def _record_waiting(
        self, name: str, reason: str, message: str, back_off: _RetryPolicy = _START_BACK_OFF
    ) -> None:
        """Record a container that waits for a missing object or image."""
        attempts = self._attempts[name] = self._attempts.get(name, 0) + 1
        before = self._records[name]
        retry_at = self._context.clock() + back_off.delay(attempts)
        waiting = lifecycle.record_start_failure(before, reason, message, retry_at)
        if lifecycle.is_same_failure(before, waiting):
            self._records[name] = waiting  # only the retry time differs: no write, no event
            return
        self._set(name, waiting)
        self._event(name, WARNING, "Failed", f"Error: {message}")

    def _record_start_error(self, name: str, message: str, container_id: str) -> None:
        """Record a program that could not be started; it counts as a failed run."""
        now = self._context.clock()
        started = lifecycle.record_start(
            self._records[name], now, container_id, self._context.back_off
        )
        terminated = Terminated(
            code=_START_ERROR_CODE,
            reason="StartError",
            message=message,
            container_id=container_id,
            started_at=now,
            finished_at=now,
        )
        self._set(name, replace(started, state=terminated))
        self._event(name, WARNING, "Failed", f"Error: {message}")

    def _set(self, name: str, record: ContainerRecord) -> None:
        """Set the record of a container, and save all records to disk."""
        self._records[name] = record
        try:
            create_private_folder(self._folder)
            save_records(self._records_file, self._records)
        except OSError as exc:
            # A full disk must not hide that a container has ended. The records in memory are correct, and
            # the next change saves them.
            _log.error(
                "container_records_save_failed", extra={**self._facts(), "cause": exc.strerror}
            )

    @property
    def _records_file(self) -> Path:
        return self._folder / "records.json"

    def _log_path(self, name: str, attempt: int) -> Path:
        return self._folder / "logs" / name / f"{attempt}.log"

    def _delete_old_logs(self, path: Path) -> None:
        """Delete all logs except the previous one, which `kubectl logs --previous` reads."""
        for old in path.parent.glob("*.log*"):
            number = old.name.partition(".")[0]
            if number.isdigit() and int(number) < int(path.stem) - 1:
                old.unlink()

    def _reference(self, name: str) -> Mapping[str, Any]:
        return object_reference(self.pod, name, init=name in self._plan.inits)

    def _event(self, name: str, type_: str, reason: str, message: str) -> None:
        self._context.recorder.record(self._reference(name), type_, reason, message)

    def _back_off_message(self, name: str) -> str:
        meta = self.pod["metadata"]
        pod = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
        return f"Back-off restarting failed container {name} in pod {pod}"

    def _facts(self) -> dict[str, str]:
        meta = self.pod["metadata"]
        return {"pod": meta["name"], "namespace": meta["namespace"]}
