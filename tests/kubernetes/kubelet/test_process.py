"""Processes: started as asked, heard to the end, and ended with all they started."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podpass.kubernetes.kubelet.orphan_reaper import OrphanReaper
from podpass.kubernetes.kubelet.process import StartError, ContainerProcess, kill_marked, find_marked
from podpass.kubernetes.kubelet.sandbox import Bubblewrap, ProcessSpec
from tests.kubernetes.kubelet.cluster import eventually

MARK = "process-test"


@pytest.fixture
async def guard() -> AsyncIterator[OrphanReaper]:
    async with OrphanReaper("PODPASS_RUNTIME=process-test") as made:
        yield made


def launch(tmp_path: Path, *argv: str, **env: str) -> ProcessSpec:
    path = os.environ["PATH"]
    return ProcessSpec(argv=argv, env={"PATH": path, "PODPASS_CONTAINER": MARK, **env}, cwd=tmp_path)


class Heard(dict[str, bytes]):
    def __call__(self, stream: str, data: bytes) -> None:
        self[stream] = self.get(stream, b"") + data


async def run(guard: OrphanReaper, made: ProcessSpec) -> tuple[int, Heard]:
    heard = Heard()
    process = await ContainerProcess.start(made, MARK, guard, heard)
    return await asyncio.wait_for(process.wait(), 20), heard


async def test_output_and_exit_code_are_complete(tmp_path: Path, guard: OrphanReaper) -> None:
    script = "i=0; while [ $i -lt 2000 ]; do echo out; i=$((i+1)); done; echo err >&2; exit 4"
    code, heard = await run(guard, launch(tmp_path, "/bin/sh", "-c", script))
    assert code == 4
    assert heard == {"stdout": b"out\n" * 2000, "stderr": b"err\n"}


async def test_signal_gives_exit_code_128_and_its_number(tmp_path: Path, guard: OrphanReaper) -> None:
    code, _ = await run(guard, launch(tmp_path, "/bin/sh", "-c", "kill -TERM $$"))
    assert code == 128 + signal.SIGTERM


async def test_process_has_only_the_given_environment(tmp_path: Path, guard: OrphanReaper) -> None:
    os.environ["PODPASS_TEST_LEAK"] = "hush"
    try:
        _, heard = await run(guard, launch(tmp_path, shutil.which("env") or "env", ONLY="this"))
    finally:
        del os.environ["PODPASS_TEST_LEAK"]
    assert {line.partition(b"=")[0] for line in heard["stdout"].splitlines()} == {
        *{b"PATH", b"PODPASS_CONTAINER", b"ONLY"}
    }


@pytest.mark.parametrize(
    "argv", [("/no/such/program",), ("/bin/sh", "-c", "a\0b"), ("/etc/passwd",)]
)
async def test_start_error_names_the_program(tmp_path: Path, guard: OrphanReaper, argv: tuple[str]) -> None:
    with pytest.raises(StartError) as caught:
        await run(guard, launch(tmp_path, *argv))
    assert argv[0] in caught.value.message


async def test_descendant_with_open_output_does_not_delay_the_exit(
    tmp_path: Path, guard: OrphanReaper
) -> None:
    code, heard = await run(guard, launch(tmp_path, "/bin/sh", "-c", "sleep 600 & echo done"))
    assert code == 0
    assert heard["stdout"] == b"done\n"
    assert list(find_marked("PODPASS_CONTAINER", MARK)) == []


async def test_terminate_reaches_the_whole_group(tmp_path: Path, guard: OrphanReaper) -> None:
    heard = Heard()
    script = "trap 'echo bye; exit 3' TERM; echo up; sleep 600 & wait"
    process = await ContainerProcess.start(launch(tmp_path, "/bin/sh", "-c", script), MARK, guard, heard)
    await eventually(lambda: heard.get("stdout"))
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 10) == 3
    assert heard["stdout"] == b"up\nbye\n"


async def _heard(heard: Heard) -> None:
    await eventually(lambda: heard.get("stdout"))


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
async def test_container_in_bubblewrap_gets_sigterm_and_sigkill(
    tmp_path: Path, guard: OrphanReaper
) -> None:
    """Fails if bubblewrap itself gets the signal: it would end at once, and the container with it."""
    box = Bubblewrap(shutil.which("bwrap") or "")
    for deaf in (False, True):
        heard = Heard()
        on_term = "" if deaf else "sleep 0.3; echo bye; exit 3"
        script = f"trap '{on_term}' TERM; echo up; while :; do sleep 0.05; done"
        made = box.wrap(launch(tmp_path, "/bin/sh", "-c", script), [], "")
        process = await ContainerProcess.start(made, MARK, guard, heard)
        await _heard(heard)
        process.terminate()
        if deaf:
            await asyncio.sleep(0.2)
            process.kill()
        assert await asyncio.wait_for(process.wait(), 10) == (137 if deaf else 3)
        assert deaf or b"bye" in heard["stdout"]
        await eventually(lambda: not list(find_marked("PODPASS_CONTAINER", MARK)))


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc")
async def test_mark_with_the_same_prefix_is_not_killed() -> None:
    """Fails with a search for the beginning: one instance would end another's containers."""
    longer = await asyncio.create_subprocess_exec(
        "sleep", "600", env={**os.environ, "PODPASS_CONTAINER": MARK + "-2"}
    )
    try:
        assert kill_marked("PODPASS_CONTAINER", MARK) == 0
        assert longer.pid in find_marked("PODPASS_CONTAINER", MARK + "-2")
    finally:
        longer.kill()
        await longer.wait()


HOLDER = """
import asyncio, os, subprocess, sys
from podpass.kubernetes.kubelet.orphan_reaper import OrphanReaper
async def main():
    async with OrphanReaper("PODPASS_RUNTIME=" + sys.argv[1]) as guard:
        group = subprocess.Popen(["sleep", "600"], start_new_session=True, env={}, stdout=subprocess.DEVNULL)
        gone = subprocess.Popen(["true"], start_new_session=True)
        gone.wait()
        guard.add(group.pid); guard.add(gone.pid); guard.remove(gone.pid)
        marked = subprocess.Popen(["sleep", "600"], start_new_session=True,
            env={"PODPASS_RUNTIME": sys.argv[1]}, stdout=subprocess.DEVNULL)
        print(group.pid, marked.pid, flush=True)
        if sys.argv[2] == "leave":
            return
        await asyncio.sleep(600)
asyncio.run(main())
"""


async def holder(how: str, mark: str) -> tuple[asyncio.subprocess.Process, list[int]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, mark, how), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    return process, [int(word) for word in (await process.stdout.readline()).split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_reaper_kills_groups_and_marked_processes_of_a_killed_kubelet() -> None:
    process, pids = await holder("stay", "guard-test-1")
    assert all(alive(pid) for pid in pids)
    process.kill()
    await process.wait()
    await eventually(lambda: not any(alive(pid) for pid in pids))


async def test_reaper_kills_nothing_after_an_orderly_stop() -> None:
    process, pids = await holder("leave", "guard-test-2")
    await process.wait()
    await asyncio.sleep(0.3)
    assert all(alive(pid) for pid in pids)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
