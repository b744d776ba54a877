"""The containers of one pod: started, attended, written down."""

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from podpass.files import private_folder
from podpass.kubernetes.client import KubeError
from podpass.kubernetes.kubelet import container_state as records
from podpass.kubernetes.kubelet import lifecycle, probes
from podpass.kubernetes.kubelet.container_command import Run
from podpass.kubernetes.kubelet.container_state import Ended, Record, Running
from podpass.kubernetes.kubelet.context import Host
from podpass.kubernetes.kubelet.environment import ConfigError
from podpass.kubernetes.kubelet.event_recorder import NORMAL, WARNING, reference
from podpass.kubernetes.kubelet.images import ImageUnavailable
from podpass.kubernetes.kubelet.lifecycle import Plan
from podpass.kubernetes.kubelet.logs import Activity, LogWriter
from podpass.kubernetes.kubelet.pod_directories import Prepared, pod_folder, prepare
from podpass.kubernetes.kubelet.process import CannotStart
from podpass.kubernetes.kubelet.termination_message import end_reason, termination_message

_log = logging.getLogger(__name__)

Pod = Mapping[str, Any]

# What a container wants for may come at any moment; the longer it has not, the less often it is looked for.
_RETRY_SECONDS = 2.0
_RETRY_GROWTH = 1.5
_LONGEST_RETRY_SECONDS = 15.0
_DEFAULT_GRACE = 30
_START_ERROR_CODE = 128
_CONFIG_ERROR = "CreateContainerConfigError"


class Containers:
    """All containers of a pod, by name; `changed` is called whenever one of them changes."""

    def __init__(self, host: Host, pod: Pod, plan: Plan, changed: Callable[[], None]) -> None:
        self._host, self._plan, self._changed = host, plan, changed
        self.pod = pod
        self._folder = pod_folder(host, pod)
        spec = pod["spec"]
        self._specs = {
            each["name"]: each
            for each in (*(spec.get("initContainers") or []), *spec["containers"])
        }
        kept = records.load(self._records_file, host.clock())
        self._records = {name: kept.get(name, Record()) for name in self._specs}
        self._tries: dict[str, int] = {}
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def records(self) -> Mapping[str, Record]:
        return self._records

    @property
    def running(self) -> bool:
        return bool(self._runs)

    def log_of(self, name: str, *, previous: bool) -> tuple[Path, Activity] | None:
        """Find a container's log, and whether it is still written to."""
        attempt = self._records[name].restarts - (1 if previous else 0)
        path = self._log_path(name, attempt)
        if not path.exists():
            return None
        run = None if previous else self._runs.get(name)
        return path, run.activity if run else Activity(over=True)

    def grace(self) -> float:
        """Give the seconds a container has to end by itself."""
        given = self.pod["metadata"].get("deletionGracePeriodSeconds")
        if given is None:
            given = self.pod["spec"].get("terminationGracePeriodSeconds")
        return float(_DEFAULT_GRACE if given is None else given)

    def stop(self, name: str, seconds: float) -> None:
        if run := self._runs.get(name):
            run.stop(seconds)

    async def stop_all(self, seconds: float) -> None:
        """Stop what runs, and wait until it has ended."""
        for run in self._runs.values():
            run.stop(seconds)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --------------------------------------------------------------------------------------- one start

    async def start(self, name: str, volumes: Mapping[str, Path]) -> None:
        """Start a container, or write down why it cannot start now."""
        record, container = self._records[name], self._specs[name]
        now = self._host.clock()
        container_id = uuid.uuid4().hex * 2
        if record.previous and record.delay:
            self._event(name, WARNING, "BackOff", self._back_off_words(name))
        try:
            prepared = await prepare(self._host, self.pod, container, volumes, container_id)
        except (ConfigError, ImageUnavailable, KubeError) as exc:
            reason = exc.reason if isinstance(exc, ImageUnavailable) else _CONFIG_ERROR
            self._hold_up(name, reason, exc.message)
        except CannotStart as exc:
            self._refuse(name, exc.message, container_id)
        else:
            self._tries.pop(name, None)
            started = lifecycle.started(record, now, container_id, self._host.rule)
            await self._launch(name, prepared, container_id, started)

    async def _launch(
        self, name: str, prepared: Prepared, container_id: str, started: Record
    ) -> None:
        path = self._log_path(name, started.restarts)
        self._drop_old_logs(path)
        run = Run(
            self._host,
            self._specs[name],
            prepared,
            container_id,
            self._about(name),
            LogWriter(path, self._host.clock),
        )
        try:
            await run.start()
        except CannotStart as exc:
            self._refuse(name, exc.message, container_id)
            return
        image = self._specs[name].get("image") or ""
        self._event(name, NORMAL, "Pulled", f'Container image "{image}" already present on machine')
        self._event(name, NORMAL, "Created", f"Container created: {name}")
        self._event(name, NORMAL, "Started", f"Container started: {name}")
        outcome = run.outcome
        self._runs[name] = run
        self._set(name, replace(started, started=outcome.started, ready=outcome.ready))
        task = asyncio.create_task(self._attend(name, run, prepared))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attend(self, name: str, run: Run, prepared: Prepared) -> None:
        """Wait for a run's end and write it down."""

        def changed(outcome: probes.Outcome) -> None:
            record = replace(self._records[name], started=outcome.started, ready=outcome.ready)
            self._set(name, record)
            if outcome.kill:
                run.stop(self._probe_grace(name, outcome.kill), f"failed {outcome.kill} probe")
            self._changed()

        code = await run.wait(changed)
        record = self._records[name]
        assert isinstance(record.state, Running)
        log = self._log_path(name, record.restarts)
        ended = Ended(
            code=code,
            reason=end_reason(code),
            message=termination_message(self._specs[name], prepared.message_file, log, code),
            container_id=run.container_id,
            started_at=record.state.started_at,
            finished_at=self._host.clock(),
        )
        del self._runs[name]
        _log.info("container_ended", extra={**self._facts(), "container": name, "code": code})
        # An init container that did its work counts as ready, as the kubelet shows it.
        done = code == 0 and name in self._plan.inits and name not in self._plan.sidecars
        self._set(name, replace(record, state=ended, started=False, ready=done))
        self._changed()

    def _probe_grace(self, name: str, kind: str) -> float:
        probe = self._specs[name].get(f"{kind}Probe") or {}
        own = probe.get("terminationGracePeriodSeconds")
        return self.grace() if own is None else float(own)

    def _hold_up(self, name: str, reason: str, message: str) -> None:
        tries = self._tries[name] = self._tries.get(name, 0) + 1
        wait = min(_RETRY_SECONDS * _RETRY_GROWTH ** (tries - 1), _LONGEST_RETRY_SECONDS)
        before = self._records[name]
        held = lifecycle.held_up(before, reason, message, self._host.clock() + wait)
        if lifecycle.is_held_up_as(before, held):
            self._records[name] = held  # nothing that would have to outlive us, nothing new to tell
            return
        self._set(name, held)
        self._event(name, WARNING, "Failed", f"Error: {message}")

    def _refuse(self, name: str, message: str, container_id: str) -> None:
        """Write down a program that could not be started: it counts as a run that failed."""
        now = self._host.clock()
        begun = lifecycle.started(self._records[name], now, container_id, self._host.rule)
        ended = Ended(
            code=_START_ERROR_CODE,
            reason="StartError",
            message=message,
            container_id=container_id,
            started_at=now,
            finished_at=now,
        )
        self._set(name, replace(begun, state=ended))
        self._event(name, WARNING, "Failed", f"Error: {message}")

    # ------------------------------------------------------------------------------------- what is kept

    def _set(self, name: str, record: Record) -> None:
        self._records[name] = record
        try:
            private_folder(self._folder)
            records.save(self._records_file, self._records)
        except OSError as exc:
            # A full disk must not hide a container's end: what is remembered is right, and saved with
            # the next change.
            _log.error(
                "container_records_not_saved", extra={**self._facts(), "cause": exc.strerror}
            )

    @property
    def _records_file(self) -> Path:
        return self._folder / "records.json"

    def _log_path(self, name: str, attempt: int) -> Path:
        return self._folder / "logs" / name / f"{attempt}.log"

    def _drop_old_logs(self, path: Path) -> None:
        """Keep the log before this one, for `kubectl logs --previous`."""
        for old in path.parent.glob("*.log*"):
            number = old.name.partition(".")[0]
            if number.isdigit() and int(number) < int(path.stem) - 1:
                old.unlink()

    def _about(self, name: str) -> Mapping[str, Any]:
        return reference(self.pod, name, init=name in self._plan.inits)

    def _event(self, name: str, kind: str, reason: str, message: str) -> None:
        self._host.events.record(kind, self._about(name), reason, message)

    def _back_off_words(self, name: str) -> str:
        meta = self.pod["metadata"]
        where = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
        return f"Back-off restarting failed container {name} in pod {where}"

    def _facts(self) -> dict[str, str]:
        meta = self.pod["metadata"]
        return {"pod": meta["name"], "namespace": meta["namespace"]}
