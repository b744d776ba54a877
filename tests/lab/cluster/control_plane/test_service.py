"""The supervisor of a program, with a shell script as the program."""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from kubeling.kubelet.orphan_reaper import OrphanReaper

from podpass.lab.cluster.control_plane.service import ControlPlaneFailed, ManagedProcess

pytestmark = pytest.mark.processes

Make = Callable[..., ManagedProcess]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:
        guard = await stack.enter_async_context(OrphanReaper("PODPASS_TEST=service"))

        def new_process(
            *command: str, on_restart: Callable[[], None] = lambda: None
        ) -> ManagedProcess:
            service = ManagedProcess(
                "program",
                command,
                log=tmp_path / "program.log",
                guard=guard,
                environ={},
                on_restart=on_restart,
            )
            stack.push_async_callback(service.stop)
            return service

        yield new_process


async def _until(wanted: Callable[[], bool]) -> None:
    for _ in range(1500):
        if wanted():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to that")


async def test_exited_program_is_restarted_and_a_stopped_one_is_not(make: Make) -> None:
    service = make("/bin/sleep", "60")
    await service.start()
    first = service.pid
    service.send(signal.SIGKILL)
    await _until(lambda: service.pid not in (first, None))
    assert service.exits == 1
    last = service.pid
    await service.stop()
    assert service.pid is None
    assert last is not None
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)


async def test_program_that_ignores_sigterm_is_killed(make: Make, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    service = make("/bin/sh", "-c", f"trap '' TERM; touch {ready}; while :; do sleep 1; done")
    await service.start()
    await _until(ready.exists)
    await service.stop()
    assert service.pid is None


async def test_log_of_a_program_is_readable_by_its_owner_only(make: Make) -> None:
    program = "import os; print(sorted(os.environ), flush=True); import time; time.sleep(60)"
    service = make(sys.executable, "-I", "-c", program)
    await service.start()
    await _until(lambda: service.log.read_text().endswith("\n"))
    assert service.log.stat().st_mode & 0o777 == 0o600
    # A proxy variable of the caller would change the connections of the program.
    assert "PATH" not in service.log.read_text()


async def test_file_that_is_not_a_program_is_reported_with_its_path(
    make: Make, tmp_path: Path
) -> None:
    (tmp_path / "program").write_text("no program")
    with pytest.raises(ControlPlaneFailed) as failed:
        await make(str(tmp_path / "program")).start()
    assert str(tmp_path / "program") in failed.value.message


async def test_failed_restart_is_retried_until_it_succeeds(make: Make, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.symlink_to("/bin/sleep")
    service = make(str(program), "60")
    await service.start()
    program.unlink()
    service.send(signal.SIGKILL)
    await _until(lambda: service.exits == 1)
    await asyncio.sleep(1)
    program.symlink_to("/bin/sleep")
    await _until(lambda: service.pid is not None)


async def test_failing_restart_callback_does_not_stop_the_supervision(make: Make) -> None:
    """A full disk makes the callback fail at the moment at which etcd exits because of it."""

    def raise_disk_full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    service = make("/bin/sleep", "60", on_restart=raise_disk_full)
    await service.start()
    for exits in (1, 2):
        await _until(lambda: service.pid is not None)
        service.send(signal.SIGKILL)
        await _until(lambda exits=exits: service.exits == exits)  # type: ignore[misc]  # bound at once
    await _until(lambda: service.pid is not None)
