"""Namespaces for one cluster: all that runs in them ends with one process, and the machine is unchanged.

The folder of a sandbox is locked while it is in use. A start removes the folders and the cgroups of sandboxes
that were killed: their folders are not locked.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.node.network import IPV4, Family, Network
from tests.node.sandbox_init import create_cgroups, hierarchies, remove_cgroups
from tests.run_program import Done, run_text

# A folder of the disk: containers cannot be stored on every file system that /tmp may have.
_PARENT = Path("/var/tmp")
_PREFIX = "podpass-node-"
_END_SECONDS = 60
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.1
_INIT = Path(__file__).with_name("sandbox_init.py")
# The folders that the node's programs use by default are folders of the sandbox; /run is empty.
_PREPARE = """
set -e
mount --make-rshared /
# Where both versions of cgroups are mounted, runc and the kubelet would each take another one.
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
mkdir -p "$1/lib" "$1/log"
mount -t tmpfs tmpfs /run
mkdir /run/lock
mount --bind "$1/lib" /var/lib
mount --bind "$1/log" /var/log
ip link set lo up
ip link add node0 type bridge
ip link set node0 up
"""


class SandboxError(Exception):
    """The sandbox or a process in it failed; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class Service:
    """A process of the sandbox, and where its output is."""

    name: str
    pid: int
    log: Path


class Sandbox:
    """One set of mount, network and process namespaces, with a folder and a cgroup."""

    def __init__(
        self, folder: Path, network: Network, process: "subprocess.Popen[str]", pid: int
    ) -> None:
        self.folder, self.network = folder, network
        self.cgroup = f"/{folder.name}"
        self._process = process
        self._pid = pid

    def enter(self, command: Sequence[str | Path]) -> list[str]:
        """Return the command line that runs a command in the namespaces."""
        inside = ["nsenter", f"--target={self._pid}", "--mount", "--net", "--pid", "--wdns=/"]
        return [*inside, "--", *map(str, command)]

    def run(
        self, *command: str | Path, given: str = "", check: bool = True, seconds: float = 300
    ) -> Done:
        """Run a command to its end. Raises SandboxError, with its output, if it fails and `check` is set."""
        done = run_text(self.enter(command), input=given, timeout=seconds, env=environ())
        if check and done.returncode != 0:
            words = " ".join(map(str, command[:6]))
            raise SandboxError(f"{words}: {(done.stderr + done.stdout).strip()[-2000:]}")
        return done

    def start(
        self, name: str, command: Sequence[str | Path], variables: Mapping[str, str] | None = None
    ) -> Service:
        """Start a process that runs until it is stopped or the sandbox ends."""
        log = self.folder / f"{name}.log"
        answer = self._ask(
            "start",
            name,
            command=[*map(str, command)],
            environ=environ() | dict(variables or {}),
            log=str(log),
        )
        return Service(name, answer["pid"], log)

    def exit_code(self, service: Service) -> int | None:
        """Return the exit code of a process, None while it runs."""
        code: int | None = self._ask("poll", service.name)["code"]
        return code

    def stop(self, service: Service, number: int = signal.SIGTERM) -> None:
        """Send a signal to a process and wait until it has ended."""
        self._ask("signal", service.name, number=int(number))
        wait_until(lambda: self.exit_code(service) is not None, _STOP_SECONDS, service.name)

    def _ask(self, verb: str, name: str, **more: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"verb": verb, "name": name, **more}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SandboxError("the sandbox has ended")
        return json.loads(line)


def environ() -> dict[str, str]:
    """Return the environment of the sandbox's processes: nothing of the caller's changes their behaviour."""
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


def wait_until(condition: Any, seconds: float, what: str) -> None:
    """Poll a condition until it is true. Raises SandboxError after the given time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SandboxError(f"{what}: not reached within {seconds:.0f} seconds")
        time.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def sandbox(network: Network = IPV4) -> Iterator[Sandbox]:
    """Create a sandbox; at the end, end all its processes and remove what it left on the machine."""
    remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_PARENT))
    folder.chmod(0o755)
    with _locked(folder):
        create_cgroups(folder.name)
        process = _spawn(folder)
        try:
            pid = _first_process(process)
            created = Sandbox(folder, network, process, pid)
            created.run("sh", "-c", _PREPARE, "prepare", folder)
            for family in network.families:
                _add_addresses(created, family)
            yield created
        finally:
            _end(process)
            _remove(folder)


def _add_addresses(sandbox: Sandbox, family: Family) -> None:
    address = f"{family.node}/{family.node_prefix}"
    # On a bridge without a device, duplicate address detection would never end.
    options = ("nodad",) if ":" in address else ()
    sandbox.run("ip", "address", "add", address, "dev", "node0", *options)
    sandbox.run("ip", "route", "add", family.default_route, "dev", "node0")
    sandbox.run("sysctl", "-qw", *family.settings)


def _spawn(folder: Path) -> "subprocess.Popen[str]":
    namespaces = ["--mount", "--net", "--pid", "--mount-proc", "--propagation=private"]
    # Without the mark of the test run: its reaper must not kill the process that cleans up.
    return subprocess.Popen(
        ["unshare", *namespaces, "--fork", "--kill-child", sys.executable, "-IS", _INIT, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environ(),
        start_new_session=True,
    )


def _first_process(process: "subprocess.Popen[str]") -> int:
    """Return the process id, on the machine, of the first process of the sandbox."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_until(lambda: process.poll() is not None or children.read_text(), 30, "unshare")
    if process.poll() is not None:
        raise SandboxError("no namespaces can be created here")
    return int(children.read_text())


def _end(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def remove_leftovers() -> None:
    """Remove what sandboxes left that were killed together with the process that removes it."""
    for folder in _PARENT.glob(f"{_PREFIX}*"):
        with contextlib.suppress(BlockingIOError, FileNotFoundError), _locked(folder):
            _remove(folder)


def leftovers() -> list[str]:
    """Return the names of what sandboxes have left on the machine: folders, cgroups and mounts."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found = [path for root in hierarchies() for path in root.glob(f"{_PREFIX}*")]
    found += _PARENT.glob(f"{_PREFIX}*")
    return [*map(str, found), *(line for line in mounts if _PREFIX in line)]


def left_by(name: str) -> list[str]:
    """Return what the sandbox with this folder name has left: its files, cgroups, mounts and processes."""
    processes = [
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if _contains(path, name) or _contains(path.with_name("mounts"), name)
    ]
    return [*(each for each in leftovers() if name in each), *processes]


def _contains(path: Path, text: str) -> bool:
    try:
        return text.encode() in path.read_bytes()
    except OSError:
        return False  # the process has ended


def _remove(folder: Path) -> None:
    remove_cgroups(folder.name)
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
