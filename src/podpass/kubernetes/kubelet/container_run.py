"""One run of one container: start, probes, hooks, stop and exit."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp

from podpass.kubernetes.client.event_recorder import NORMAL, WARNING, Reference
from podpass.kubernetes.kubelet import probes
from podpass.kubernetes.kubelet.context import KubeletContext
from podpass.kubernetes.kubelet.logs import LogActivity, LogWriter
from podpass.kubernetes.kubelet.prepared_container import PreparedContainer
from podpass.kubernetes.kubelet.probes import Prober, ProbeStatus
from podpass.kubernetes.kubelet.process import ContainerProcess, StartError

_log = logging.getLogger(__name__)

# The container gets at least this grace period, even if its preStop hook used the whole grace period.
_MIN_GRACE_SECONDS = 2.0
_MAX_OUTPUT = 4096
_NO_LIMIT = 1e9


class ContainerRun:
    """A running container of a pod."""

    def __init__(
        self,
        context: KubeletContext,
        container: Mapping[str, Any],
        prepared: PreparedContainer,
        container_id: str,
        reference: Reference,
        log: LogWriter,
    ) -> None:
        self._context, self._container, self._prepared = context, container, prepared
        self.container_id = container_id
        self._reference, self._log = reference, log
        self.activity = LogActivity()
        hook = (container.get("lifecycle") or {}).get("postStart")
        self.probe_status = (
            ProbeStatus(started=False, ready=False) if hook else probes.initial_status(container)
        )
        self._process: ContainerProcess | None = None
        self._exec_count = 0
        self._exited = asyncio.Event()
        self._deadline = _NO_LIMIT
        self._deadline_changed = asyncio.Event()
        self._stop_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process.

        Errors:  StartError.
        """
        prepared = self._prepared
        process = self._context.sandbox.wrap(prepared.process, prepared.mounts, prepared.workdir)
        try:
            self._process = await ContainerProcess.start(
                process, self.container_id, self._context.reaper, self._log.write
            )
        except StartError:
            self._log.close()
            self.activity.end()
            raise

    async def wait(self, on_change: Callable[[ProbeStatus], None]) -> int:
        """Run hooks and probes until the container ends; return its exit code."""
        assert self._process is not None
        probing = asyncio.create_task(self._probe(on_change))
        try:
            return await self._process.wait()
        finally:
            self._exited.set()
            tasks = [probing] if self._stop_task is None else [probing, self._stop_task]
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    _log.error("container_sync_failed", exc_info=result)
            self._log.close()
            self.activity.end()

    async def _probe(self, on_change: Callable[[ProbeStatus], None]) -> None:
        """Run the postStart hook, then the probes."""

        def set_status(status: ProbeStatus) -> None:
            self.probe_status = status
            on_change(status)

        hook = (self._container.get("lifecycle") or {}).get("postStart")
        if hook:
            failure = await self._run_hook(hook)
            if failure:
                self._event(WARNING, "FailedPostStartHook", f"PostStartHook failed: {failure}")
                self.stop(_MIN_GRACE_SECONDS, "failed postStart hook")
                return
            set_status(probes.initial_status(self._container))
        prober = Prober(
            self._container,
            self._context.node.address,
            self.execute,
            set_status,
            lambda message: self._event(WARNING, "Unhealthy", message),
        )
        await prober.run()

    def stop(self, seconds: float, why: str = "") -> None:
        """Stop the container, or shorten the grace period of a stop that has begun."""
        self._deadline = min(self._deadline, asyncio.get_running_loop().time() + seconds)
        if self._stop_task is None:
            name = self._container["name"]
            reason = f"Container {name} {why}, will be restarted" if why else ""
            self._event(NORMAL, "Killing", reason or f"Stopping container {name}")
            self._stop_task = asyncio.create_task(self._stop())
        else:
            self._deadline_changed.set()

    async def _stop(self) -> None:
        """Run the preStop hook, send SIGTERM, and send SIGKILL after the grace period."""
        assert self._process is not None
        loop = asyncio.get_running_loop()
        hook = (self._container.get("lifecycle") or {}).get("preStop")
        if hook and self._deadline > loop.time():
            failure = "the grace period is over"
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._deadline):
                    failure = await self._run_hook(hook)
            if failure:
                self._event(WARNING, "FailedPreStopHook", f"PreStopHook failed: {failure}")
            self._deadline = max(self._deadline, loop.time() + _MIN_GRACE_SECONDS)
        if self._deadline > loop.time():
            self._process.terminate()
        while not self._exited.is_set() and (left := self._deadline - loop.time()) > 0:
            self._deadline_changed.clear()
            waits = [
                asyncio.create_task(self._exited.wait()),
                asyncio.create_task(self._deadline_changed.wait()),
            ]
            try:
                await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        if not self._exited.is_set():
            self._process.kill()

    async def _run_hook(self, hook: Mapping[str, Any]) -> str:
        """Run a lifecycle hook; return the failure message, or an empty string."""
        address = self._context.node.address
        try:
            if action := hook.get("exec"):
                code, output = await self.execute(action.get("command") or [], _NO_LIMIT)
                return f"exit code {code}: {output}" if code else ""
            if action := hook.get("httpGet"):
                status = await probes.http_get_status(self._container, address, action)
                return "" if status < 400 else f"HTTP status {status}"
            if action := hook.get("tcpSocket"):
                await probes.tcp_connect(self._container, address, action)
            if action := hook.get("sleep"):
                await asyncio.sleep(action.get("seconds") or 0)
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            return str(exc) or type(exc).__name__
        return ""

    async def execute(self, command: Sequence[str], seconds: float) -> tuple[int, str]:
        """Run a command with the settings of the container, for `exec` probes and hooks.

        Shapes:  exit code and output.
        Errors:  TimeoutError.
        """
        self._exec_count += 1
        mark = f"{self.container_id}-{self._exec_count}"
        output = bytearray()
        try:
            prepared = self._prepared.with_command(command, mark)
            wrapped = self._context.sandbox.wrap(
                prepared.process, prepared.mounts, prepared.workdir
            )
            process = await ContainerProcess.start(
                wrapped,
                mark,
                self._context.reaper,
                lambda _, data: output.extend(data[:_MAX_OUTPUT]),
            )
        except StartError as exc:
            return 126, exc.message
        waiting = asyncio.ensure_future(process.wait())
        try:
            async with asyncio.timeout(seconds):
                code = await asyncio.shield(waiting)
        finally:
            if not waiting.done():
                process.kill()
                await waiting
        return code, output[:_MAX_OUTPUT].decode("utf-8", "replace").strip()

    def _event(self, type_: str, reason: str, message: str) -> None:
        self._context.recorder.record(self._reference, type_, reason, message)
