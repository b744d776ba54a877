"""Processes: started as asked, heard to the end, and ended with all they started."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podpass.kubernetes.kubelet.orphan_reaper import Guard
from podpass.kubernetes.kubelet.process import CannotStart, Process, kill_marked, marked
from podpass.kubernetes.kubelet.sandbox import Bubblewrap, Launch
from tests.kubernetes.kubelet.lab import eventually

MARK = "process-test"


@pytest.fixture
async def guard() -> AsyncIterator[Guard]:
    async with Guard("PODPASS_RUNTIME=process-test") as made:
        yield made


def launch(tmp_path: Path, *argv: str, **env: str) -> Launch:
    path = os.environ["PATH"]
    return Launch(argv=argv, env={"PATH": path, "PODPASS_CONTAINER": MARK, **env}, cwd=tmp_path)


class Heard(dict[str, bytes]):
    def __call__(self, stream: str, data: bytes) -> None:
        self[stream] = self.get(stream, b"") + data


async def run(guard: Guard, made: Launch) -> tuple[int, Heard]:
    heard = Heard()
    process = await Process.start(made, MARK, guard, heard)
    return await asyncio.wait_for(process.wait(), 20), heard


async def test_output_and_exit_code_are_whole(tmp_path: Path, guard: Guard) -> None:
    script = "i=0; while [ $i -lt 2000 ]; do echo out; i=$((i+1)); done; echo err >&2; exit 4"
    code, heard = await run(guard, launch(tmp_path, "/bin/sh", "-c", script))
    assert code == 4
    assert heard == {"stdout": b"out\n" * 2000, "stderr": b"err\n"}


async def test_a_signal_gives_128_and_its_number(tmp_path: Path, guard: Guard) -> None:
    code, _ = await run(guard, launch(tmp_path, "/bin/sh", "-c", "kill -TERM $$"))
    assert code == 128 + signal.SIGTERM


async def test_only_the_given_environment_is_there(tmp_path: Path, guard: Guard) -> None:
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
async def test_what_cannot_start_says_so(tmp_path: Path, guard: Guard, argv: tuple[str]) -> None:
    with pytest.raises(CannotStart) as caught:
        await run(guard, launch(tmp_path, *argv))
    assert argv[0] in caught.value.message


async def test_a_descendant_that_holds_the_output_open_does_not_hold_up_the_end(
    tmp_path: Path, guard: Guard
) -> None:
    code, heard = await run(guard, launch(tmp_path, "/bin/sh", "-c", "sleep 600 & echo done"))
    assert code == 0
    assert heard["stdout"] == b"done\n"
    assert list(marked("PODPASS_CONTAINER", MARK)) == []


async def test_terminate_reaches_the_whole_group(tmp_path: Path, guard: Guard) -> None:
    heard = Heard()
    script = "trap 'echo bye; exit 3' TERM; echo up; sleep 600 & wait"
    process = await Process.start(launch(tmp_path, "/bin/sh", "-c", script), MARK, guard, heard)
    await eventually(lambda: heard.get("stdout"))
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 10) == 3
    assert heard["stdout"] == b"up\nbye\n"


async def _heard(heard: Heard) -> None:
    await eventually(lambda: heard.get("stdout"))


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
async def test_a_container_in_bubblewrap_can_say_goodbye_and_be_killed(
    tmp_path: Path, guard: Guard
) -> None:
    """Fails if bubblewrap itself gets the signal: it would end at once, and the container with it."""
    box = Bubblewrap(shutil.which("bwrap") or "")
    for deaf in (False, True):
        heard = Heard()
        on_term = "" if deaf else "sleep 0.3; echo bye; exit 3"
        script = f"trap '{on_term}' TERM; echo up; while :; do sleep 0.05; done"
        made = box.wrap(launch(tmp_path, "/bin/sh", "-c", script), [], "")
        process = await Process.start(made, MARK, guard, heard)
        await _heard(heard)
        process.terminate()
        if deaf:
            await asyncio.sleep(0.2)
            process.kill()
        assert await asyncio.wait_for(process.wait(), 10) == (137 if deaf else 3)
        assert deaf or b"bye" in heard["stdout"]
        await eventually(lambda: not list(marked("PODPASS_CONTAINER", MARK)))


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc")
async def test_marks_are_compared_whole() -> None:
    """Fails with a search for the beginning: one instance would end another's containers."""
    longer = await asyncio.create_subprocess_exec(
        "sleep", "600", env={**os.environ, "PODPASS_CONTAINER": MARK + "-2"}
    )
    try:
        assert kill_marked("PODPASS_CONTAINER", MARK) == 0
        assert longer.pid in marked("PODPASS_CONTAINER", MARK + "-2")
    finally:
        longer.kill()
        await longer.wait()


HOLDER = """
import asyncio, os, subprocess, sys
from podpass.kubernetes.kubelet.orphan_reaper import Guard
async def main():
    async with Guard("PODPASS_RUNTIME=" + sys.argv[1]) as guard:
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


async def test_the_guard_ends_groups_and_marked_processes_of_one_that_was_killed() -> None:
    process, pids = await holder("stay", "guard-test-1")
    assert all(alive(pid) for pid in pids)
    process.kill()
    await process.wait()
    await eventually(lambda: not any(alive(pid) for pid in pids))


async def test_the_guard_leaves_in_peace_what_was_left_in_order() -> None:
    process, pids = await holder("leave", "guard-test-2")
    await process.wait()
    await asyncio.sleep(0.3)
    assert all(alive(pid) for pid in pids)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
