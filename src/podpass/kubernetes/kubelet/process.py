"""One container as a process group: its output to a log, its end as an exit code.

Everything a container starts carries a mark in its environment, so that what outlives it is found.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from podpass.errors import Error
from podpass.kubernetes.kubelet.orphan_reaper import Guard
from podpass.kubernetes.kubelet.sandbox import Launch

_log = logging.getLogger(__name__)

# The mark; also how a container's processes are told from all others after a crash.
RUNTIME_VARIABLE = "PODPASS_RUNTIME"
CONTAINER_VARIABLE = "PODPASS_CONTAINER"

_PROC = Path("/proc")
_CHUNK = 64 * 1024
_DRAIN_SECONDS = 1.0
_SIGNAL_BASE = 128

Sink = Callable[[str, bytes], None]
"""Takes a stream's name (`stdout`, `stderr`) and what was read; empty at its end."""


class CannotStart(Error):
    """A program could not be started at all."""

    code = "cannot_start"


class Process:
    """A running container; make it with `start`."""

    def __init__(
        self, child: asyncio.subprocess.Process, mark: str, guard: Guard, *, monitored: bool
    ) -> None:
        self._child, self._mark, self._guard, self._monitored = child, mark, guard, monitored
        self._pumps: list[asyncio.Task[None]] = []

    @classmethod
    async def start(cls, launch: Launch, mark: str, guard: Guard, sink: Sink) -> Self:
        """Start a program as the head of a session of its own.

        Shapes:  `mark` must be the value of PODPASS_CONTAINER in the environment.
        Errors:  CannotStart.
        """
        # Pipes of our own: asyncio's `wait` would wait for them too, and a container's descendants may
        # hold them open long after it.
        ends = {"stdout": os.pipe(), "stderr": os.pipe()}
        try:
            child = await asyncio.create_subprocess_exec(
                *launch.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=ends["stdout"][1],
                stderr=ends["stderr"][1],
                env=dict(launch.env),
                cwd=launch.cwd,
                start_new_session=True,
            )
        except (OSError, ValueError) as exc:
            for end, _ in ends.values():
                os.close(end)
            why = exc.strerror if isinstance(exc, OSError) else "a NUL byte in its arguments"
            raise CannotStart(f"cannot start {launch.argv[0]}: {why}") from exc
        finally:
            for _, end in ends.values():
                os.close(end)
        guard.add(child.pid)
        process = cls(child, mark, guard, monitored=launch.monitored)
        process._pumps = [
            asyncio.create_task(_pump(name, end, sink)) for name, (end, _) in ends.items()
        ]
        return process

    @property
    def pid(self) -> int:
        return self._child.pid

    async def wait(self) -> int:
        """Wait for the end of the program, and end what it leaves behind.

        Shapes:  the exit code, or 128 and the signal's number.
        """
        code = await self._child.wait()
        # As with a container's first process, its end is the end of all.
        self.kill()
        _, late = await asyncio.wait(self._pumps, timeout=_DRAIN_SECONDS)
        for pump in late:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self._guard.remove(self.pid)
        return _SIGNAL_BASE - code if code < 0 else code

    def terminate(self) -> None:
        """Ask the whole group to end.

        bubblewrap would end at once, and the container with it, before that could say goodbye.
        """
        groups = _children(self.pid) if self._monitored else []
        for group in groups or [self.pid]:
            _signal(group, signal.SIGTERM)

    def kill(self) -> None:
        """End the group, and whatever left it."""
        _signal(self.pid, signal.SIGKILL)
        kill_marked(CONTAINER_VARIABLE, self._mark)


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in (_PROC / f"{pid}/task/{pid}/children").read_text().split()]
    return []


async def _pump(stream: str, end: int, sink: Sink) -> None:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(end, "rb", 0)
    )
    try:
        while chunk := await reader.read(_CHUNK):
            sink(stream, chunk)
    finally:
        transport.close()
        sink(stream, b"")


def marked(variable: str, value: str) -> Iterator[int]:
    """Find the processes whose environment carries a mark; none where there is no /proc."""
    wanted = f"{variable}={value}".encode()
    for folder in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)


def kill_marked(variable: str, value: str) -> int:
    """End every process that carries a mark; say how many there were."""
    count = 0
    # A second look finds what was forked during the first.
    for _ in range(2):
        for pid in marked(variable, value):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                count += 1
    return count
