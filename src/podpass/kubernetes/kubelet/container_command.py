"""One run of one container: started, probed, asked to stop, ended."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp

from podpass.kubernetes.kubelet import probes
from podpass.kubernetes.kubelet.context import Host
from podpass.kubernetes.kubelet.event_recorder import NORMAL, WARNING, Reference
from podpass.kubernetes.kubelet.logs import Activity, LogWriter
from podpass.kubernetes.kubelet.pod_directories import Prepared
from podpass.kubernetes.kubelet.probes import Outcome, Prober
from podpass.kubernetes.kubelet.process import CannotStart, Process

_log = logging.getLogger(__name__)

# A preStop hook that took all the grace leaves the container this much for its goodbye.
_LEAST_SECONDS = 2.0
_MAX_OUTPUT = 4096
_NEVER = 1e9

Tell = Callable[[str, str, str], None]
"""Records an event: type, reason, message."""


class Run:
    """A running container of a pod."""

    def __init__(
        self,
        host: Host,
        container: Mapping[str, Any],
        prepared: Prepared,
        container_id: str,
        about: Reference,
        log: LogWriter,
    ) -> None:
        self._host, self._container, self._prepared = host, container, prepared
        self.container_id = container_id
        self._about, self._log = about, log
        self.activity = Activity()
        hook = (container.get("lifecycle") or {}).get("postStart")
        self.outcome = Outcome(started=False, ready=False) if hook else probes.initial(container)
        self._process: Process | None = None
        self._beside = 0
        self._ended = asyncio.Event()
        self._deadline = _NEVER
        self._hurry = asyncio.Event()
        self._stopping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process.

        Errors:  CannotStart.
        """
        prepared = self._prepared
        launch = self._host.sandbox.wrap(prepared.launch, prepared.mounts, prepared.workdir)
        try:
            self._process = await Process.start(
                launch, self.container_id, self._host.guard, self._log.write
            )
        except CannotStart:
            self._log.close()
            self.activity.end()
            raise

    async def wait(self, changed: Callable[[Outcome], None]) -> int:
        """Look after the container until it ends; give its exit code."""
        assert self._process is not None
        care = asyncio.create_task(self._look_after(changed))
        try:
            return await self._process.wait()
        finally:
            self._ended.set()
            tasks = [care] if self._stopping is None else [care, self._stopping]
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    _log.error("container_care_failed", exc_info=result)
            self._log.close()
            self.activity.end()

    async def _look_after(self, changed: Callable[[Outcome], None]) -> None:
        def told(outcome: Outcome) -> None:
            self.outcome = outcome
            changed(outcome)

        hook = (self._container.get("lifecycle") or {}).get("postStart")
        if hook:
            problem = await self._hook(hook)
            if problem:
                self._event(WARNING, "FailedPostStartHook", f"PostStartHook failed: {problem}")
                self.stop(_LEAST_SECONDS, "failed postStart hook")
                return
            told(probes.initial(self._container))
        prober = Prober(
            self._container,
            self._host.node.address,
            self.execute,
            told,
            lambda message: self._event(WARNING, "Unhealthy", message),
        )
        await prober.watch()

    def stop(self, seconds: float, why: str = "") -> None:
        """Begin to stop the container, or shorten the time it has left."""
        self._deadline = min(self._deadline, asyncio.get_running_loop().time() + seconds)
        if self._stopping is None:
            name = self._container["name"]
            reason = f"Container {name} {why}, will be restarted" if why else ""
            self._event(NORMAL, "Killing", reason or f"Stopping container {name}")
            self._stopping = asyncio.create_task(self._stop())
        else:
            self._hurry.set()

    async def _stop(self) -> None:
        assert self._process is not None
        loop = asyncio.get_running_loop()
        hook = (self._container.get("lifecycle") or {}).get("preStop")
        if hook and self._deadline > loop.time():
            problem = "the grace period is over"
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._deadline):
                    problem = await self._hook(hook)
            if problem:
                self._event(WARNING, "FailedPreStopHook", f"PreStopHook failed: {problem}")
            self._deadline = max(self._deadline, loop.time() + _LEAST_SECONDS)
        if self._deadline > loop.time():
            self._process.terminate()
        while not self._ended.is_set() and (left := self._deadline - loop.time()) > 0:
            self._hurry.clear()
            waits = [
                asyncio.create_task(self._ended.wait()),
                asyncio.create_task(self._hurry.wait()),
            ]
            try:
                await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        if not self._ended.is_set():
            self._process.kill()

    async def _hook(self, hook: Mapping[str, Any]) -> str:
        """Run a lifecycle hook; give what went wrong, or nothing."""
        address = self._host.node.address
        try:
            if action := hook.get("exec"):
                code, output = await self.execute(action.get("command") or [], _NEVER)
                return f"exit code {code}: {output}" if code else ""
            if action := hook.get("httpGet"):
                status = await probes.http_status(self._container, address, action)
                return "" if status < 400 else f"HTTP status {status}"
            if action := hook.get("tcpSocket"):
                await probes.connect(self._container, address, action)
            if action := hook.get("sleep"):
                await asyncio.sleep(action.get("seconds") or 0)
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            return str(exc) or type(exc).__name__
        return ""

    async def execute(self, command: Sequence[str], seconds: float) -> tuple[int, str]:
        """Run a command beside the container, as `exec` probes and hooks ask for.

        Errors:  TimeoutError.
        """
        self._beside += 1
        mark = f"{self.container_id}-{self._beside}"
        output = bytearray()
        try:
            beside = self._prepared.beside(command, mark)
            launch = self._host.sandbox.wrap(beside.launch, beside.mounts, beside.workdir)
            process = await Process.start(
                launch, mark, self._host.guard, lambda _, data: output.extend(data[:_MAX_OUTPUT])
            )
        except CannotStart as exc:
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

    def _event(self, kind: str, reason: str, message: str) -> None:
        self._host.events.record(kind, self._about, reason, message)
