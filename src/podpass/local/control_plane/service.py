"""One program of the control plane, kept running: started, started again when it ends, stopped."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from podpass.errors import Error
from podpass.files import open_private
from podpass.kubernetes.client import BackOff
from podpass.kubernetes.kubelet.orphan_reaper import Guard

_log = logging.getLogger(__name__)
_STOP_SECONDS = 4.0
_LAST_WAIT_SECONDS = 10.0


class ControlPlaneFailed(Error):
    """A program of the control plane did not come up."""

    code = "control_plane_failed"


class Service:
    """A program that runs until it is stopped; what it says goes to `log`.

    It has a session of its own, so that Ctrl-C at the keyboard reaches it through us alone, in its order.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        guard: Guard,
        environ: Mapping[str, str],
        started_again: Callable[[], None],
    ) -> None:
        self.name, self.log = name, log
        self._started_again = started_again
        self.ends = 0
        self._command, self._guard, self._environ = command, guard, environ
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process that runs now, if one does."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    async def start(self) -> None:
        """Start the program, and again whenever it ends.

        Errors:  ControlPlaneFailed when it cannot be started at all.
        """
        self.log.unlink(missing_ok=True)
        try:
            process = await self._spawn()
        except OSError as exc:
            raise ControlPlaneFailed(
                f"cannot start {self._command[0]}: {exc.strerror}",
                hint="put a program for this machine in its place",
            ) from exc
        self._keeping = asyncio.create_task(self._keep(process), name=self.name)

    async def stop(self) -> None:
        """Ask the program to end, and end it when it takes too long."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        process = self._process
        if process is None:
            return
        self.send(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            # Requests that wait hold an API server up; nothing acknowledged is lost by ending it.
            self.send(signal.SIGKILL)
            await process.wait()
        self._guard.remove(process.pid)

    def send(self, number: signal.Signals) -> None:
        """Send the program a signal; one that has ended does not mind."""
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

    async def _keep(self, process: asyncio.subprocess.Process) -> None:
        back_off = BackOff(last=_LAST_WAIT_SECONDS)
        while True:
            code = await process.wait()
            self.ends += 1
            self._guard.remove(process.pid)
            facts = {"program": self.name, "exit_code": code, "log": str(self.log)}
            _log.warning("control_plane_program_ended", extra=facts)
            await back_off.wait()
            process = await self._again(back_off)
            try:
                self._started_again()
            except Exception:  # noqa: BLE001 who cannot hear of it does not keep it from running
                _log.exception("control_plane_start_not_told", extra={"program": self.name})

    async def _again(self, back_off: BackOff) -> asyncio.subprocess.Process:
        """Start the program, for as long as the disk or whatever else does not let it."""
        while True:
            try:
                return await self._spawn()
            except OSError as exc:
                facts = {"program": self.name, "cause": exc.strerror or type(exc).__name__}
                _log.error("control_plane_program_not_started", extra=facts)
            await back_off.wait()
