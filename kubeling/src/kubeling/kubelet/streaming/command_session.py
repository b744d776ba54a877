"""Connect a client with a program of a container: a new one (exec), or the container's own (attach)."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from kubeling.kubelet.container_run import ContainerRun
from kubeling.kubelet.descriptor import Descriptor
from kubeling.kubelet.process import ContainerProcess, StartError
from kubeling.kubelet.streaming.command_client import (
    CommandClient,
    StreamOptions,
    exit_status,
    start_error_status,
)
from kubeling.tasks import cancel_all

# The kubelet's defaults for streaming connections without data.
IDLE_SECONDS = 4 * 3600.0
_PING_SECONDS = 30.0
_HANG_UP_SECONDS = 2.0


class _Session:
    """The tasks between one client and one program."""

    def __init__(self, client: CommandClient, options: StreamOptions) -> None:
        self._client, self._options = client, options
        self._active_at = time.monotonic()
        self.is_gone = False

    async def send(self, stream: str, data: bytes) -> None:
        """Send output that the client requested; drop it after the client is gone."""
        wanted = self._options.stdout if stream == "stdout" else self._options.stderr
        if self.is_gone or not wanted:
            return
        self._active_at = time.monotonic()
        try:
            await self._client.write(stream, data)
        except OSError:
            self.is_gone = True

    @contextlib.asynccontextmanager
    async def running(
        self, process: ContainerProcess, on_end_of_input: Callable[[], None]
    ) -> "AsyncIterator[asyncio.Task[None]]":
        """Pass on input and sizes; yield a task that ends when the client is gone or idle."""
        work: list[Coroutine[Any, Any, None]] = [self._watch()]
        if process.terminal is not None:
            work.append(self._resize(process.terminal.master))
        if self._options.stdin:
            work.append(self._pump_input(process.stdin, on_end_of_input))
        tasks = [asyncio.create_task(each) for each in work]
        try:
            yield tasks[0]
        finally:
            await cancel_all(tasks)

    async def _watch(self) -> None:
        """Return when the client is gone, or nothing was sent and received for hours."""
        receiving = asyncio.create_task(self._client.run())
        try:
            while not receiving.done() and not self.is_gone:
                if time.monotonic() - self._active_at >= IDLE_SECONDS:
                    break
                await asyncio.wait({receiving}, timeout=_PING_SECONDS)
                if not receiving.done():
                    await self._client.ping()
        except OSError:
            pass
        finally:
            self.is_gone = True
            await cancel_all([receiving])

    async def _pump_input(
        self, target: Descriptor | None, on_end_of_input: Callable[[], None]
    ) -> None:
        try:
            while data := await self._client.stdin.read():
                self._active_at = time.monotonic()
                if target is not None:
                    await target.write(data)
            on_end_of_input()
        except OSError:
            # The program has closed its input; the client may still send some.
            await self._client.stdin.discard()

    async def _resize(self, master: Descriptor) -> None:
        while True:
            width, height = await self._client.size.next()
            master.set_size(width, height)


async def execute(
    client: CommandClient, run: ContainerRun, command: Sequence[str], options: StreamOptions
) -> None:
    """Run a command in a container, and send its result.

    The command is stopped when the client is gone, and killed when the container ends. Raises OSError if the
    client is gone.
    """
    session = _Session(client, options)
    try:
        async with run.executing(
            command, session.send, stdin=options.stdin, tty=options.tty
        ) as execution:
            process, exit_code = execution.process, execution.exit_code
            async with session.running(process, lambda: _end_input(process)) as gone:
                await asyncio.wait({exit_code, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not exit_code.done():
                process.hang_up()
                await asyncio.wait({exit_code}, timeout=_HANG_UP_SECONDS)
                return
            status = exit_status(exit_code.result())
    except StartError as exc:
        status = start_error_status(exc)
    await client.finish(status)


async def attach(client: CommandClient, run: ContainerRun, options: StreamOptions) -> None:
    """Connect a client with the program of a container until the container ends.

    Input for a container without `stdin: true` is dropped, as container runtimes do. Raises OSError if the
    client is gone.
    """
    process, session = run.process, _Session(client, options)
    end_input = (lambda: _end_input(process)) if run.closes_stdin else (lambda: None)
    exited = asyncio.create_task(run.wait_exited())
    try:
        with run.output.attached(session.send):
            async with session.running(process, end_input) as gone:
                await asyncio.wait({exited, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        exited.cancel()
    if run.has_exited:
        await client.finish(exit_status(0))


def _end_input(process: ContainerProcess) -> None:
    """Close the input of a program; a terminal stays open, because its output has the same end."""
    if process.terminal is None and process.stdin is not None:
        process.stdin.close()
