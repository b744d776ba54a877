"""Run a container as a process group: write its output to a log, and return its exit code.

Every process of a container has a mark in its environment, so that the kubelet finds processes that survive
it.
"""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from kubeling.errors import Error
from kubeling.kubelet.descriptor import Descriptor
from kubeling.kubelet.orphan_reaper import OrphanReaper
from kubeling.kubelet.sandbox import ProcessSpec
from kubeling.tasks import cancel_all

# The first terminal that the leader of a session opens becomes its controlling terminal; so Ctrl-C and job
# control work. The shell runs inside the sandbox, whose own process would otherwise receive Ctrl-C too.
_SCRIPT = 'exec 0<>"$0" 1>&0 2>&0 && exec "$@"'


@dataclass(slots=True)
class Terminal:
    """Both sides of a pseudo-terminal; the program opens the other side by its path."""

    master: Descriptor
    path: str
    _slave: int

    @classmethod
    def open(cls) -> Self:
        """Allocate a terminal. Raises OSError if the machine has no free one."""
        master, slave = os.openpty()
        return cls(Descriptor(master), os.ttyname(slave), slave)

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that starts a program on this terminal."""
        return ["/bin/sh", "-c", _SCRIPT, self.path, *argv]

    def release(self) -> None:
        """Close this process's copy of the program's side, so that reading ends after its last byte."""
        if self._slave >= 0:
            os.close(self._slave)
            self._slave = -1

    def close(self) -> None:
        """Close both sides; the program receives SIGHUP."""
        self.release()
        self.master.close()


# The marks identify the processes of a kubelet and of a container, also after a crash.
RUNTIME_VARIABLE = "KUBELING_RUNTIME"
CONTAINER_VARIABLE = "KUBELING_CONTAINER"

_PROC = Path("/proc")
_DRAIN_SECONDS = 1.0
_SIGNAL_BASE = 128

Sink = Callable[[str, bytes], Awaitable[None]]
"""Receives the name of a stream (`stdout`, `stderr`) and its data; empty data is its end.

While it waits, the process that writes the data waits too.
"""


def handle_ignored_signals() -> None:
    """Give the ignored signals of this process a handler without effect, which containers do not inherit.

    A program that a shell script starts with `&` ignores SIGINT and SIGQUIT, and with nohup SIGHUP. In a
    container of it, Ctrl-C or such a stop signal would have no effect. Another thread than the main one
    cannot set handlers.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, lambda *_: None)


class StartError(Error):
    """A program could not be started."""

    code = "start_error"


class ContainerProcess:
    """A running container; create it with `start`.

    `stdin` is the terminal, the writing end of a pipe, or None if the input is empty.
    """

    def __init__(
        self, child: asyncio.subprocess.Process, mark: str, reaper: OrphanReaper, *, monitored: bool
    ) -> None:
        self._child, self._mark, self._reaper, self._monitored = child, mark, reaper, monitored
        self._outputs: list[_Output] = []
        self.stdin: Descriptor | None = None
        self.terminal: Terminal | None = None

    @classmethod
    async def start(
        cls,
        spec: ProcessSpec,
        mark: str,
        reaper: OrphanReaper,
        sink: Sink,
        *,
        stdin: bool = False,
        terminal: Terminal | None = None,
    ) -> Self:
        """Start a program as the leader of its own session.

        Args:
            mark: must be the value of KUBELING_CONTAINER in the environment.
            terminal: must have wrapped the arguments; the process owns it from now on.

        Raises:
            StartError
        """
        # Not the pipes of asyncio: its `wait` would also wait for their end, and descendants of the container
        # may keep them open for a long time.
        names = () if terminal else ("stdout", "stderr")
        outputs = {name: os.pipe() for name in names}
        source = os.pipe() if stdin and terminal is None else None
        given = [end for _, end in outputs.values()] + ([source[0]] if source else [])
        kept = [end for end, _ in outputs.values()] + ([source[1]] if source else [])
        try:
            child = await asyncio.create_subprocess_exec(
                *spec.argv,
                stdin=source[0] if source else asyncio.subprocess.DEVNULL,
                stdout=outputs["stdout"][1] if outputs else asyncio.subprocess.DEVNULL,
                stderr=outputs["stderr"][1] if outputs else asyncio.subprocess.DEVNULL,
                env=dict(spec.env),
                cwd=spec.cwd,
                start_new_session=True,
            )
        except (OSError, ValueError) as exc:
            for end in kept:
                os.close(end)
            if terminal is not None:
                terminal.close()
            why = exc.strerror if isinstance(exc, OSError) else "a NUL byte in its arguments"
            raise StartError(f"cannot start {spec.argv[0]}: {why}") from exc
        finally:
            for end in given:
                os.close(end)
        reaper.add(child.pid)
        process = cls(child, mark, reaper, monitored=spec.monitored)
        process.terminal = terminal
        process.stdin = Descriptor(source[1]) if source else None
        if terminal is not None:
            process.stdin = terminal.master if stdin else None
            process._outputs = [_Output("stdout", terminal.master, sink)]
        else:
            process._outputs = [
                _Output(name, Descriptor(end), sink) for name, (end, _) in outputs.items()
            ]
        return process

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def stopped_pid(self) -> int | None:
        """Return the process of the program that a signal such as SIGSTOP has stopped, if any."""
        children = _list_children(self.pid) if self._monitored else []
        return next((pid for pid in (self.pid, *children) if _is_stopped(pid)), None)

    async def wait(self) -> int:
        """Wait for the end of the program, kill the processes that it started, and return its exit code.

        The code is 128 and the signal number if a signal ended the program.
        """
        code = await self._child.wait()
        # As in a container, the end of the first process ends all others.
        self.kill()
        if self.terminal is not None:
            self.terminal.release()
        elif self.stdin is not None:
            self.stdin.close()
        # Wait for the rest of the output while output arrives or its receiver is busy.
        while pending := [output for output in self._outputs if not output.task.done()]:
            before = [output.chunks for output in pending]
            await asyncio.wait([output.task for output in pending], timeout=_DRAIN_SECONDS)
            is_busy = any(output.is_delivering for output in pending)
            if before == [output.chunks for output in pending] and not is_busy:
                break
        await cancel_all(output.task for output in self._outputs)
        if self.terminal is not None:
            self.terminal.close()
        self._reaper.remove(self.pid)
        return _SIGNAL_BASE - code if code < 0 else code

    def terminate(self) -> None:
        """Send SIGTERM to the program and its process group."""
        self._signal(signal.SIGTERM)

    def hang_up(self) -> None:
        """Send SIGHUP and SIGTERM to the program, because its client has disconnected."""
        self._signal(signal.SIGHUP)
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the program and its process group.

        With bubblewrap, its child gets the signal: bubblewrap itself would exit at once and kill the
        container. The child has no process group of its own before its mounts are complete. A program that
        has not started is killed: SIGTERM's exit code would be that of a program that has.
        """
        children = _list_children(self.pid) if self._monitored else []
        if self._monitored and not children:
            number = signal.SIGKILL
        for pid in children or [self.pid]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                try:
                    os.killpg(pid, number)
                except ProcessLookupError:
                    os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """Kill the group, and marked processes that left the group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        kill_marked(CONTAINER_VARIABLE, self._mark)


def _list_children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in (_PROC / f"{pid}/task/{pid}/children").read_text().split()]
    return []


def _is_stopped(pid: int) -> bool:
    with contextlib.suppress(OSError):
        # The name of the program, in parentheses, may contain any character.
        return (_PROC / f"{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"T"
    return False


class _Output:
    """Reads one output of a process, and passes it to the sink."""

    def __init__(self, name: str, source: Descriptor, sink: Sink) -> None:
        self._name, self._source, self._sink = name, source, sink
        self.chunks = 0
        self.is_delivering = False
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            while data := await self._source.read():
                self.chunks += 1
                await self._deliver(data)
                # A program that writes without a pause must not keep the event loop to itself.
                await asyncio.sleep(0)
        finally:
            self._source.close()
            await self._deliver(b"")

    async def _deliver(self, data: bytes) -> None:
        self.is_delivering = True
        try:
            await self._sink(self._name, data)
        finally:
            self.is_delivering = False


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
