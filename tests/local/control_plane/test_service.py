"""A program that is kept running, with the shell in its place."""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from podpass.kubernetes.kubelet.orphan_reaper import Guard
from podpass.local.control_plane.service import ControlPlaneFailed, Service

Make = Callable[..., Service]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:
        guard = await stack.enter_async_context(Guard("PODPASS_TEST=service"))

        def made(*command: str, started_again: Callable[[], None] = lambda: None) -> Service:
            service = Service(
                "program",
                command,
                log=tmp_path / "program.log",
                guard=guard,
                environ={},
                started_again=started_again,
            )
            stack.push_async_callback(service.stop)
            return service

        yield made


async def _until(wanted: Callable[[], bool]) -> None:
    for _ in range(1500):
        if wanted():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to that")


async def test_what_ends_is_started_again_and_what_is_stopped_is_not(make: Make) -> None:
    service = make("/bin/sleep", "60")
    await service.start()
    first = service.pid
    service.send(signal.SIGKILL)
    await _until(lambda: service.pid not in (first, None))
    assert service.ends == 1
    last = service.pid
    await service.stop()
    assert service.pid is None
    assert last is not None
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)


async def test_what_will_not_end_is_ended(make: Make, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    service = make("/bin/sh", "-c", f"trap '' TERM; touch {ready}; while :; do sleep 1; done")
    await service.start()
    await _until(ready.exists)
    await service.stop()
    assert service.pid is None


async def test_what_it_says_is_for_its_owners_eyes(make: Make) -> None:
    program = "import os; print(sorted(os.environ), flush=True); import time; time.sleep(60)"
    service = make(sys.executable, "-I", "-c", program)
    await service.start()
    await _until(lambda: service.log.read_text().endswith("\n"))
    assert service.log.stat().st_mode & 0o777 == 0o600
    # A proxy's address in the environment would change whom it calls.
    assert "PATH" not in service.log.read_text()


async def test_what_is_no_program_is_told_with_its_place(make: Make, tmp_path: Path) -> None:
    (tmp_path / "program").write_text("no program")
    with pytest.raises(ControlPlaneFailed) as failed:
        await make(str(tmp_path / "program")).start()
    assert str(tmp_path / "program") in failed.value.message


async def test_what_cannot_be_started_again_is_tried_until_it_can(
    make: Make, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.symlink_to("/bin/sleep")
    service = make(str(program), "60")
    await service.start()
    program.unlink()
    service.send(signal.SIGKILL)
    await _until(lambda: service.ends == 1)
    await asyncio.sleep(1)
    program.symlink_to("/bin/sleep")
    await _until(lambda: service.pid is not None)


async def test_who_cannot_note_a_start_does_not_keep_a_program_from_the_next(make: Make) -> None:
    """A full disk refuses the note of what runs, at the very moment at which etcd ends of it."""

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    service = make("/bin/sleep", "60", started_again=full)
    await service.start()
    for ends in (1, 2):
        await _until(lambda: service.pid is not None)
        service.send(signal.SIGKILL)
        await _until(lambda ends=ends: service.ends == ends)  # type: ignore[misc]  # bound at once
    await _until(lambda: service.pid is not None)
