"""Run a container as a process group: write its output to a log, and return its exit code.

Every process of a container has a mark in its environment, so that the kubelet finds processes that survive
it.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from podpass.errors import Error
from podpass.kubernetes.kubelet.orphan_reaper import OrphanReaper
from podpass.kubernetes.kubelet.sandbox import ProcessSpec

# The marks identify the processes of a kubelet and of a container, also after a crash.
RUNTIME_VARIABLE = "PODPASS_RUNTIME"
CONTAINER_VARIABLE = "PODPASS_CONTAINER"

_PROC = Path("/proc")
_CHUNK = 64 * 1024
_DRAIN_SECONDS = 1.0
_SIGNAL_BASE = 128

Sink = Callable[[str, bytes], None]
"""Receives the name of a stream (`stdout`, `stderr`) and its data; empty data is its end."""


class StartError(Error):
    """A program could not be started."""

    code = "start_error"


class ContainerProcess:
    """A running container; create it with `start`."""

    def __init__(
        self, child: asyncio.subprocess.Process, mark: str, reaper: OrphanReaper, *, monitored: bool
    ) -> None:
        self._child, self._mark, self._reaper, self._monitored = child, mark, reaper, monitored
        self._readers: list[asyncio.Task[None]] = []

    @classmethod
    async def start(cls, spec: ProcessSpec, mark: str, reaper: OrphanReaper, sink: Sink) -> Self:
        """Start a program as the leader of its own session.

        Shapes:  `mark` must be the value of PODPASS_CONTAINER in the environment.
        Errors:  StartError.
        """
        # Not the pipes of asyncio: its `wait` would also wait for their end, and descendants of the container
        # may keep them open for a long time.
        ends = {"stdout": os.pipe(), "stderr": os.pipe()}
        try:
            child = await asyncio.create_subprocess_exec(
                *spec.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=ends["stdout"][1],
                stderr=ends["stderr"][1],
                env=dict(spec.env),
                cwd=spec.cwd,
                start_new_session=True,
            )
        except (OSError, ValueError) as exc:
            for end, _ in ends.values():
                os.close(end)
            why = exc.strerror if isinstance(exc, OSError) else "a NUL byte in its arguments"
            raise StartError(f"cannot start {spec.argv[0]}: {why}") from exc
        finally:
            for _, end in ends.values():
                os.close(end)
        reaper.add(child.pid)
        process = cls(child, mark, reaper, monitored=spec.monitored)
        process._readers = [
            asyncio.create_task(_read_output(name, end, sink)) for name, (end, _) in ends.items()
        ]
        return process

    @property
    def pid(self) -> int:
        return self._child.pid

    async def wait(self) -> int:
        """Wait until the program has exited, and kill the processes that it started.

        Shapes:  the exit code, or 128 and the signal number.
        """
        code = await self._child.wait()
        # As in a container, the end of the first process ends all others.
        self.kill()
        _, pending = await asyncio.wait(self._readers, timeout=_DRAIN_SECONDS)
        for reader in pending:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        self._reaper.remove(self.pid)
        return _SIGNAL_BASE - code if code < 0 else code

    def terminate(self) -> None:
        """Send SIGTERM to the whole group.

        With bubblewrap, SIGTERM goes to its child: bubblewrap itself would exit at once and kill the
        container.
        """
        groups = _list_children(self.pid) if self._monitored else []
        for group in groups or [self.pid]:
            _send_signal(group, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the group, and marked processes that left the group."""
        _send_signal(self.pid, signal.SIGKILL)
        kill_marked(CONTAINER_VARIABLE, self._mark)


def _send_signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _list_children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in (_PROC / f"{pid}/task/{pid}/children").read_text().split()]
    return []


async def _read_output(stream: str, end: int, sink: Sink) -> None:
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


def find_marked(variable: str, value: str) -> Iterator[int]:
    """Yield the ids of the processes with a mark in their environment; nothing without /proc."""
    wanted = f"{variable}={value}".encode()
    for folder in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)


def kill_marked(variable: str, value: str) -> int:
    """Kill every process with a mark; return their number."""
    count = 0
    # The second pass finds processes that were forked during the first.
    for _ in range(2):
        for pid in find_marked(variable, value):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                count += 1
    return count
