"""Supervise one program of the control plane: start it, restart it when it exits, stop it."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kubeling.kubelet.orphan_reaper import OrphanReaper

from podpass.errors import Error
from podpass.files import open_private
from podpass.kubernetes.client import BackOff

_log = logging.getLogger(__name__)
_STOP_SECONDS = 4.0
_LAST_WAIT_SECONDS = 10.0


class ControlPlaneFailed(Error):
    """A program of the control plane did not start."""

    code = "control_plane_failed"


class ManagedProcess:
    """A supervised program; its output goes to `log`.

    It has its own session, so that Ctrl-C does not reach it: podpass stops the programs in order.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        guard: OrphanReaper,
        environ: Mapping[str, str],
        on_restart: Callable[[], None],
    ) -> None:
        self.name, self.log = name, log
        self._on_restart = on_restart
        self.exits = 0
        self._command, self._guard, self._environ = command, guard, environ
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Return the process id of the running program, None if it is not running."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    async def start(self) -> None:
        """Start the program, and restart it whenever it exits.

        Raises ControlPlaneFailed if it cannot be started.
        """
        self.log.unlink(missing_ok=True)
        try:
            process = await self._spawn()
        except OSError as exc:
            raise ControlPlaneFailed(
                f"cannot start {self._command[0]}: {exc.strerror}",
                hint="install a build of this program for this machine",
            ) from exc
        self._supervisor = asyncio.create_task(self._supervise(process), name=self.name)

    async def stop(self) -> None:
        """Stop the program with SIGTERM, then with SIGKILL if it does not exit in time."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        process = self._process
        if process is None:
            return
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            # Watch requests delay the exit of an API server; SIGKILL loses no acknowledged write.
            self.send(signal.SIGKILL)
            await process.wait()
        self._guard.remove(process.pid)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program, if it is running."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _spawn(self) -> asyncio.subprocess.Process:
        with open_private(self.log) as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self._environ),
                cwd=self.log.parent,
                start_new_session=True,
            )
        self._guard.add(self._process.pid)
        return self._process

    async def _supervise(self, process: asyncio.subprocess.Process) -> None:
        back_off = BackOff(last=_LAST_WAIT_SECONDS)
        while True:
            code = await process.wait()
            self.exits += 1
            self._guard.remove(process.pid)
            facts = {"program": self.name, "exit_code": code, "log": str(self.log)}
            _log.warning("control_plane_program_exited", extra=facts)
            await back_off.wait()
            process = await self._restart(back_off)
            try:
                self._on_restart()
            except Exception:  # noqa: BLE001 a failed callback must not stop the supervision
                _log.exception(
                    "control_plane_restart_callback_failed", extra={"program": self.name}
                )

    async def _restart(self, back_off: BackOff) -> asyncio.subprocess.Process:
        """Start the program; retry with backoff until the start succeeds."""
        while True:
            try:
                return await self._spawn()
            except OSError as exc:
                facts = {"program": self.name, "cause": exc.strerror or type(exc).__name__}
                _log.error("control_plane_program_start_failed", extra=facts)
            await back_off.wait()
