"""The shutdown signal: the first one requests the stop, also during the start, and a later one is handled."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from podpass.servers.shutdown_signal import ShutdownSignal

# Blocks its event loop after the first signal.
_BLOCKED = """
import asyncio, time
from podpass.servers.shutdown_signal import ShutdownSignal

async def run():
    with ShutdownSignal() as shutdown:
        print("started", flush=True)
        await shutdown.requested.wait()
        print("requested", flush=True)
        time.sleep(60)

asyncio.run(run())
"""


def _ignore(_number: signal.Signals) -> None: ...


async def _start() -> None: ...


async def test_signal_after_start_ends_wait_and_is_reported() -> None:
    with ShutdownSignal([signal.SIGUSR1], on_repeat=_ignore) as shutdown:
        waiting = asyncio.create_task(shutdown.wait_after(_start()))
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGUSR1)
        async with asyncio.timeout(10):
            assert await waiting
        assert shutdown.number is signal.SIGUSR1


async def test_signal_during_start_cancels_start_and_waits_for_its_cleanup() -> None:
    events: list[str] = []

    async def start() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            events.append("cleaned up")

    with ShutdownSignal([signal.SIGUSR1], on_repeat=_ignore) as shutdown:
        waiting = asyncio.create_task(shutdown.wait_after(start()))
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGUSR1)
        async with asyncio.timeout(10):
            assert not await waiting
    assert events == ["cleaned up"]


async def test_error_of_start_is_raised() -> None:
    async def start() -> None:
        raise ZeroDivisionError

    with ShutdownSignal([signal.SIGUSR1], on_repeat=_ignore) as shutdown:
        with pytest.raises(ZeroDivisionError):
            await shutdown.wait_after(start())
        assert shutdown.number is None


async def test_request_by_program_ends_wait_without_a_signal() -> None:
    with ShutdownSignal([signal.SIGUSR1], on_repeat=_ignore) as shutdown:
        shutdown.requested.set()
        async with asyncio.timeout(10):
            await shutdown.wait_after(_start())
        assert shutdown.number is None


async def test_later_signal_is_passed_to_callback() -> None:
    repeated: asyncio.Queue[signal.Signals] = asyncio.Queue()
    with ShutdownSignal([signal.SIGUSR1], on_repeat=repeated.put_nowait) as shutdown:
        os.kill(os.getpid(), signal.SIGUSR1)
        async with asyncio.timeout(10):
            await shutdown.requested.wait()
            assert repeated.empty()
            os.kill(os.getpid(), signal.SIGUSR1)
            assert await repeated.get() is signal.SIGUSR1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_process_with_blocked_event_loop(number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", _BLOCKED], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    process.send_signal(number)
    assert process.stdout.readline() == "requested\n"
    process.send_signal(number)
    assert process.wait(30) == -number
    process.stdout.close()
