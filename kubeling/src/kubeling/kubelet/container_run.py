"""One run of one container: start, probes, hooks, stop and exit."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kubeling.event_recorder import NORMAL, WARNING, Reference
from kubeling.kubelet import probes
from kubeling.kubelet.context import KubeletContext
from kubeling.kubelet.logs import LogActivity, LogWriter
from kubeling.kubelet.pod_network import PodNetwork
from kubeling.kubelet.prepared_container import PreparedContainer
from kubeling.kubelet.probes import Prober, ProbeStatus
from kubeling.kubelet.process import ContainerProcess, Sink, StartError, Terminal
from kubeling.tasks import cancel_all

_log = logging.getLogger(__name__)

# The container gets at least this grace period, even if its preStop hook used the whole grace period.
_MIN_GRACE_SECONDS = 2.0
_MAX_OUTPUT = 4096
_NO_LIMIT = 1e9
_CHECK_SECONDS = 5.0
# A client that reads nothing for so long is detached, so that it does not stop the container.
STUCK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Execution:
    """A command that runs in a container; `exit_code` is done when it has ended."""

    process: ContainerProcess
    exit_code: asyncio.Task[int]


class ContainerOutput:
    """Writes the output of a container to its log and to attached clients."""

    def __init__(self, log: LogWriter) -> None:
        self._log = log
        self._attached: set[Sink] = set()

    async def write(self, stream: str, data: bytes) -> None:
        """Write data to the log, and wait until each attached client has taken it."""
        self._log.write(stream, data)
        for sink in tuple(self._attached):
            try:
                async with asyncio.timeout(STUCK_SECONDS):
                    await sink(stream, data)
            except (OSError, TimeoutError):
                self._attached.discard(sink)

    @contextlib.contextmanager
    def attached(self, sink: Sink) -> Iterator[None]:
        """Send the container's output, from now on, to an additional client."""
        self._attached.add(sink)
        try:
            yield
        finally:
            self._attached.discard(sink)


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
        network: PodNetwork | None = None,
    ) -> None:
        self._context, self._container, self._prepared = context, container, prepared
        self.container_id = container_id
        self._reference, self._log = reference, log
        self._network = network
        self.activity = LogActivity()
        hook = (container.get("lifecycle") or {}).get("postStart")
        self.probe_status = self._probed = (
            ProbeStatus(started=False, ready=False) if hook else probes.initial_status(container)
        )
        self.stopped_pid: int | None = None
        self.output = ContainerOutput(log)
        self._process: ContainerProcess | None = None
        self._exec_count = 0
        self._executions: set[ContainerProcess] = set()
        self._exited = asyncio.Event()
        self._deadline = _NO_LIMIT
        self._deadline_changed = asyncio.Event()
        self._stop_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process. Raises StartError."""
        try:
            self._process = await self._start_process(
                self._prepared,
                self.container_id,
                self.output.write,
                stdin=bool(self._container.get("stdin")),
                tty=bool(self._container.get("tty")),
            )
        except StartError:
            self._log.close()
            self.activity.end()
            raise

    @property
    def process(self) -> ContainerProcess:
        """Return the process of a container that was started."""
        assert self._process is not None
        return self._process

    @property
    def closes_stdin(self) -> bool:
        """Return whether the end of the first client's input is the end of the container's input."""
        return bool(self._container.get("stdinOnce"))

    @property
    def has_exited(self) -> bool:
        """Return whether the container has ended."""
        return self._exited.is_set()

    async def wait_exited(self) -> None:
        """Wait until the container has ended."""
        await self._exited.wait()

    async def wait(self, on_change: Callable[[ProbeStatus], None]) -> int:
        """Run hooks and probes until the container ends; return its exit code."""
        assert self._process is not None
        probing = asyncio.create_task(self._probe(on_change))
        checking = asyncio.create_task(self._check_stopped(on_change))
        try:
            return await self._process.wait()
        finally:
            self._exited.set()
            for process in self._executions:
                process.kill()
            tasks = [probing, checking, *([self._stop_task] if self._stop_task else [])]
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
            self._probed = status
            self._publish(on_change)

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
            self._context.node.pod_address,
            self.execute,
            set_status,
            lambda message: self._event(WARNING, "Unhealthy", message),
            self._network,
        )
        await prober.run()

    async def _check_stopped(self, on_change: Callable[[ProbeStatus], None]) -> None:
        """Report a program that a signal has stopped: it responds to nothing, and no probe may notice."""
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            before, self.stopped_pid = self.stopped_pid, self.process.stopped_pid
            if before == self.stopped_pid:
                continue
            if self.stopped_pid is not None:
                name = self._container["name"]
                self._event(
                    WARNING,
                    "ProcessStopped",
                    f"Container {name} is stopped by a signal and responds to nothing. Continue it:"
                    f" kill -CONT {self.stopped_pid}",
                )
            self._publish(on_change)

    def _publish(self, on_change: Callable[[ProbeStatus], None]) -> None:
        ready = self._probed.ready and self.stopped_pid is None
        self.probe_status = replace(self._probed, ready=ready)
        on_change(self.probe_status)

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
                await cancel_all(waits)
        if not self._exited.is_set():
            self._process.kill()

    async def _run_hook(self, hook: Mapping[str, Any]) -> str:
        """Run a lifecycle hook; return the failure message, or an empty string."""
        address = self._context.node.pod_address
        try:
            if action := hook.get("exec"):
                code, output = await self.execute(action.get("command") or [], _NO_LIMIT)
                return f"exit code {code}: {output}" if code else ""
            if action := hook.get("httpGet"):
                status = await probes.http_get_status(
                    self._container, address, action, self._network
                )
                return "" if status < 400 else f"HTTP status {status}"
            if action := hook.get("tcpSocket"):
                await probes.tcp_connect(self._container, address, action, self._network)
            if action := hook.get("sleep"):
                await asyncio.sleep(action.get("seconds") or 0)
        except (OSError, ValueError) as exc:
            return str(exc) or type(exc).__name__
        return ""

    async def execute(self, command: Sequence[str], seconds: float) -> tuple[int, str]:
        """Run a command of an `exec` probe or hook; return its exit code and output. Raises TimeoutError."""
        output = bytearray()

        async def keep(_stream: str, data: bytes) -> None:
            output.extend(data[: _MAX_OUTPUT - len(output)])

        try:
            async with self.executing(command, keep) as execution, asyncio.timeout(seconds):
                code = await asyncio.shield(execution.exit_code)
        except StartError as exc:
            return 126, exc.message
        return code, output.decode("utf-8", "replace").strip()

    @contextlib.asynccontextmanager
    async def executing(
        self, command: Sequence[str], sink: Sink, *, stdin: bool = False, tty: bool = False
    ) -> AsyncIterator[Execution]:
        """Run a command with the settings of the container until the context or the container ends.

        Raises StartError.
        """
        self._exec_count += 1
        mark = f"{self.container_id}-{self._exec_count}"
        prepared = self._prepared.with_command(command, mark)
        process = await self._start_process(prepared, mark, sink, stdin=stdin, tty=tty)
        exit_code = asyncio.create_task(process.wait())
        self._executions.add(process)
        if self._exited.is_set():
            process.kill()
        try:
            yield Execution(process, exit_code)
        finally:
            if not exit_code.done():
                process.kill()
                await asyncio.wait({exit_code})
            self._executions.discard(process)

    async def _start_process(
        self, prepared: PreparedContainer, mark: str, sink: Sink, *, stdin: bool, tty: bool
    ) -> ContainerProcess:
        """Start a program in the sandbox, on a terminal if requested. Raises StartError."""
        process, terminal = prepared.process, None
        if tty:
            terminal = _open_terminal()
            default_env = {"TERM": "xterm", **process.default_env}
            process = replace(process, argv=terminal.wrap(process.argv), default_env=default_env)
        wrapped = self._context.sandbox.wrap(process, prepared.mounts, prepared.workdir)
        if self._network is not None:
            wrapped = self._network.wrap(wrapped)
        return await ContainerProcess.start(
            wrapped, mark, self._context.reaper, sink, stdin=stdin, terminal=terminal
        )

    def _event(self, type_: str, reason: str, message: str) -> None:
        self._context.recorder.record(self._reference, type_, reason, message)


def _open_terminal() -> Terminal:
    try:
        return Terminal.open()
    except OSError as exc:
        raise StartError(f"cannot allocate a terminal: {exc.strerror}") from exc
