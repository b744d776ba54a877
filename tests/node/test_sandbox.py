"""The sandbox of a node leaves nothing on the machine, however the process that created it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.node import programs
from tests.node.sandbox import SandboxError, left_by, leftovers, sandbox, wait_until

ROOT = Path(__file__).parents[2]
# It prints the folder and the process id, on the machine, of a process in the sandbox that ignores SIGTERM.
OWNER = """
import sys, time
from tests.node.sandbox import sandbox
with sandbox() as box:
    box.run("mount", "-t", "tmpfs", "tmpfs", box.folder / "lib")
    box.run("mkdir", "/sys/fs/cgroup/memory" + box.cgroup + "/below")
    box.start("stubborn", ["sh", "-c", "trap '' TERM; sleep 3600 & wait"])
    print(box.folder, flush=True)
    time.sleep(3600)
"""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(programs.find, ("unshare", "nsenter", "ip", "sysctl"))),
    reason="namespaces need root, and the commands unshare, nsenter, ip and sysctl",
)


def _owner() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def _folder(owner: "subprocess.Popen[str]") -> str:
    assert owner.stdout is not None
    return Path(owner.stdout.readline().strip()).name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_nothing_is_left_when_the_owner_ends(number: signal.Signals) -> None:
    with _owner() as owner:
        folder = _folder(owner)
        assert folder
        assert left_by(folder)
        owner.send_signal(number)
        owner.wait()
        wait_until(lambda: not left_by(folder), 60, f"nothing of {folder} is left")


def test_next_start_removes_what_is_left_when_the_first_process_was_killed_too() -> None:
    with _owner() as owner:
        folder = _folder(owner)
        owner.send_signal(signal.SIGSTOP)  # it must not clean up
        try:
            (first,) = _children(_children([owner.pid]))
            os.kill(first, signal.SIGKILL)
        finally:
            owner.send_signal(signal.SIGKILL)
        owner.wait()
    assert left_by(folder)
    with sandbox():
        assert not left_by(folder)
    assert not left_by(folder)


def _children(pids: list[int]) -> list[int]:
    found: list[int] = []
    for pid in pids:
        found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return found


def test_failed_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = leftovers()
    monkeypatch.setattr("tests.node.sandbox._PREPARE", "mount -t tmpfs tmpfs /run; exit 3")
    with pytest.raises(SandboxError), sandbox():
        pass
    assert leftovers() == before


def test_sandbox_in_use_is_not_removed_by_another_start() -> None:
    with sandbox() as first:
        with sandbox():
            pass
        assert first.folder.exists()
        assert first.run("true").returncode == 0


def test_network_of_a_sandbox_has_no_way_out() -> None:
    with sandbox() as box:
        links = box.run("ip", "-brief", "link").stdout.split("\n")
        assert {line.split()[0] for line in links if line} == {"lo", "node0"}
