"""Container processes: start, output, exit, and the end of their descendants."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kubeling.kubelet import process as process_module
from kubeling.kubelet.orphan_reaper import OrphanReaper
from kubeling.kubelet.process import (
    ContainerProcess,
    StartError,
    find_marked,
    kill_marked,
)
from kubeling.kubelet.sandbox import Bubblewrap, ProcessSpec
from tests.kubelet.cluster import eventually

MARK = "process-test"


@pytest.fixture
async def reaper() -> AsyncIterator[OrphanReaper]:
    async with OrphanReaper("KUBELING_RUNTIME=process-test") as made:
        yield made


def spec(tmp_path: Path, *argv: str, **env: str) -> ProcessSpec:
    path = os.environ["PATH"]
    return ProcessSpec(
        argv=argv, env={"PATH": path, "KUBELING_CONTAINER": MARK, **env}, cwd=tmp_path
    )


class Output(dict[str, bytes]):
    async def __call__(self, stream: str, data: bytes) -> None:
        self[stream] = self.get(stream, b"") + data


async def run(reaper: OrphanReaper, made: ProcessSpec) -> tuple[int, Output]:
    output = Output()
    process = await ContainerProcess.start(made, MARK, reaper, output)
    return await asyncio.wait_for(process.wait(), 20), output


async def test_output_and_exit_code_are_complete(tmp_path: Path, reaper: OrphanReaper) -> None:
    script = "i=0; while [ $i -lt 2000 ]; do echo out; i=$((i+1)); done; echo err >&2; exit 4"
    code, output = await run(reaper, spec(tmp_path, "/bin/sh", "-c", script))
    assert code == 4
    assert output == {"stdout": b"out\n" * 2000, "stderr": b"err\n"}


async def test_signal_gives_exit_code_128_plus_its_number(
    tmp_path: Path, reaper: OrphanReaper
) -> None:
    code, _ = await run(reaper, spec(tmp_path, "/bin/sh", "-c", "kill -TERM $$"))
    assert code == 128 + signal.SIGTERM


async def test_process_has_only_the_given_environment(tmp_path: Path, reaper: OrphanReaper) -> None:
    os.environ["PODPASS_TEST_LEAK"] = "hush"
    try:
        _, output = await run(reaper, spec(tmp_path, shutil.which("env") or "env", ONLY="this"))
    finally:
        del os.environ["PODPASS_TEST_LEAK"]
    assert {line.partition(b"=")[0] for line in output["stdout"].splitlines()} == {
        *{b"PATH", b"KUBELING_CONTAINER", b"ONLY"}
    }


@pytest.mark.parametrize(
    "argv", [("/no/such/program",), ("/bin/sh", "-c", "a\0b"), ("/etc/passwd",)]
)
async def test_start_error_names_the_program(
    tmp_path: Path, reaper: OrphanReaper, argv: tuple[str]
) -> None:
    with pytest.raises(StartError) as caught:
        await run(reaper, spec(tmp_path, *argv))
    assert argv[0] in caught.value.message


async def test_descendant_with_open_output_does_not_delay_the_exit(
    tmp_path: Path, reaper: OrphanReaper
) -> None:
    code, output = await run(reaper, spec(tmp_path, "/bin/sh", "-c", "sleep 600 & echo done"))
    assert code == 0
    assert output["stdout"] == b"done\n"
    assert list(find_marked("KUBELING_CONTAINER", MARK)) == []


async def test_output_is_complete_if_its_receiver_is_slow(
    tmp_path: Path, reaper: OrphanReaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if the wait for the rest of the output ends while the receiver is busy."""
    monkeypatch.setattr(process_module, "_DRAIN_SECONDS", 0.001)
    released, output = asyncio.Event(), Output()

    async def slow(stream: str, data: bytes) -> None:
        await released.wait()
        await output(stream, data)

    script = "i=0; while [ $i -lt 9000 ]; do echo out; i=$((i+1)); done"
    made = spec(tmp_path, "/bin/sh", "-c", script)
    process = await ContainerProcess.start(made, MARK, reaper, slow)
    ended = asyncio.create_task(process.wait())
    await eventually(lambda: not list(find_marked("KUBELING_CONTAINER", MARK)))
    await asyncio.wait({ended}, timeout=0.1)
    released.set()
    assert await asyncio.wait_for(ended, 20) == 0
    assert output["stdout"] == b"out\n" * 9000


async def test_terminate_reaches_the_whole_group(tmp_path: Path, reaper: OrphanReaper) -> None:
    output = Output()
    script = "trap 'echo bye; exit 3' TERM; echo up; sleep 600 & wait"
    process = await ContainerProcess.start(
        spec(tmp_path, "/bin/sh", "-c", script), MARK, reaper, output
    )
    await eventually(lambda: output.get("stdout"))
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 10) == 3
    assert output["stdout"] == b"up\nbye\n"


async def _wait_for_output(output: Output) -> None:
    await eventually(lambda: output.get("stdout"))


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
async def test_container_in_bubblewrap_gets_sigterm_and_sigkill(
    tmp_path: Path, reaper: OrphanReaper
) -> None:
    """Fails if bubblewrap itself gets the signal: it would exit at once and kill the container."""
    box = Bubblewrap(shutil.which("bwrap") or "")
    for ignores in (False, True):
        output = Output()
        on_term = "" if ignores else "sleep 0.3; echo bye; exit 3"
        script = f"trap '{on_term}' TERM; echo up; while :; do sleep 0.05; done"
        made = box.wrap(spec(tmp_path, "/bin/sh", "-c", script), [], "")
        process = await ContainerProcess.start(made, MARK, reaper, output)
        await _wait_for_output(output)
        process.terminate()
        if ignores:
            await asyncio.sleep(0.2)
            process.kill()
        assert await asyncio.wait_for(process.wait(), 10) == (137 if ignores else 3)
        assert ignores or b"bye" in output["stdout"]
        await eventually(lambda: not list(find_marked("KUBELING_CONTAINER", MARK)))


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
async def test_program_that_has_not_started_is_killed_by_sigterm(
    tmp_path: Path, reaper: OrphanReaper
) -> None:
    """Fails if only a process group gets the signal: bubblewrap's child has its own after the mounts."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # Open for both directions: without a reader, an open for writing would wait without an end.
    opened = os.open(fifo, os.O_RDWR)
    blocked = 'exec bwrap --block-fd 3 "$@" 3<>"$0"'
    box = Bubblewrap("/bin/sh", "-c", blocked, str(fifo))
    made = box.wrap(spec(tmp_path, "/bin/sleep", "600"), [], "")
    process = await ContainerProcess.start(made, MARK, reaper, Output())
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    await eventually(lambda: children.read_text().split())
    process.terminate()
    os.write(opened, b"mount")
    try:
        # With 143, an Init container that only can fail would have ended in another way.
        assert await asyncio.wait_for(process.wait(), 20) == 128 + signal.SIGKILL
    finally:
        process.kill()
        os.close(opened)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc")
async def test_process_whose_mark_only_begins_with_the_mark_is_not_killed() -> None:
    """Fails with a search for a prefix: one instance would kill the containers of another."""
    longer = await asyncio.create_subprocess_exec(
        "sleep", "600", env={**os.environ, "KUBELING_CONTAINER": MARK + "-2"}
    )
    try:
        assert kill_marked("KUBELING_CONTAINER", MARK) == 0
        assert longer.pid in find_marked("KUBELING_CONTAINER", MARK + "-2")
    finally:
        longer.kill()
        await longer.wait()


HOLDER = """
import asyncio, os, subprocess, sys
from kubeling.kubelet import process as process_module
from kubeling.kubelet.orphan_reaper import OrphanReaper
async def main():
    async with OrphanReaper("KUBELING_RUNTIME=" + sys.argv[1]) as reaper:
        group = subprocess.Popen(["sleep", "600"], start_new_session=True, env={}, stdout=subprocess.DEVNULL)
        gone = subprocess.Popen(["true"], start_new_session=True)
        gone.wait()
        reaper.add(group.pid); reaper.add(gone.pid); reaper.remove(gone.pid)
        marked = subprocess.Popen(["sleep", "600"], start_new_session=True,
            env={"KUBELING_RUNTIME": sys.argv[1]}, stdout=subprocess.DEVNULL)
        print(group.pid, marked.pid, flush=True)
        if sys.argv[2] == "exit":
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
    process, pids = await holder("stay", "reaper-test-1")
    assert all(alive(pid) for pid in pids)
    process.kill()
    await process.wait()
    await eventually(lambda: not any(alive(pid) for pid in pids))


async def test_reaper_kills_nothing_after_an_orderly_stop() -> None:
    process, pids = await holder("exit", "reaper-test-2")
    await process.wait()
    await asyncio.sleep(0.3)
    assert all(alive(pid) for pid in pids)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
