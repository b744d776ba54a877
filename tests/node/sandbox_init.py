"""The first process of a sandbox: it starts the other processes, and the sandbox ends with it.

It runs in new mount, network and process namespaces, and reads one JSON request per line. It ends at the end
of its input, so that even a test run that is killed leaves nothing: with the first process of a process
namespace the kernel kills all others, and the mounts and the network end with the last process.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CGROUPS = Path("/sys/fs/cgroup")
_MNT_DETACH = 2
_POLL_SECONDS = 0.1
_REMOVE_SECONDS = 20.0


def hierarchies() -> list[Path]:
    """Return the root of each cgroup hierarchy that a node uses: one of version 2, or those of version 1."""
    version_2 = "cgroup.controllers"
    if (CGROUPS / version_2).exists():
        return [CGROUPS]
    found = (path for path in CGROUPS.iterdir() if (path / "cgroup.procs").exists())
    return sorted(path for path in found if not (path / version_2).exists())


def create_cgroups(name: str) -> None:
    """Create a cgroup in each hierarchy; children of an empty cpuset could run no process."""
    for root in hierarchies():
        folder = root / name
        folder.mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (root / file).exists():
                (folder / file).write_text((root / file).read_text())


def remove_cgroups(name: str) -> None:
    """Remove a cgroup and all below it, once their processes have ended."""
    deadline = time.monotonic() + _REMOVE_SECONDS
    folders = [root / name for root in hierarchies()]
    while any(folder.exists() for folder in folders):
        for folder in folders:
            for path, _, _ in os.walk(folder, topdown=False):
                with contextlib.suppress(OSError):
                    Path(path).rmdir()
        if time.monotonic() > deadline:
            return
        time.sleep(_POLL_SECONDS)


class Init:
    """Starts processes, keeps their exit codes, and reaps every orphan of the namespace."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[int, str] = {}
        self._codes: dict[str, int | None] = {}

    def run(self) -> None:
        """Serve requests until the input ends."""
        pending = b""
        while True:
            self._reap()
            if not select.select([0], [], [], _POLL_SECONDS)[0]:
                continue
            data = os.read(0, 65536)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                answer = json.dumps(self._serve(json.loads(line))) + "\n"
                os.write(1, answer.encode())

    def _serve(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["name"]
        match request["verb"]:
            case "start":
                with Path(request["log"]).open("ab") as log:
                    process = subprocess.Popen(
                        request["command"],
                        env=request["environ"],
                        cwd=self._folder,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                self._names[process.pid], self._codes[name] = name, None
                process.returncode = 0  # its end is noticed below, not by `Popen`
                return {"pid": process.pid}
            case "signal":
                pid = next((pid for pid, each in self._names.items() if each == name), None)
                if pid is not None:
                    os.kill(pid, request["number"])
                return {}
            case _:
                return {"code": self._codes[name]}

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if (name := self._names.pop(ended[0], None)) is not None:
                    self._codes[name] = os.waitstatus_to_exitcode(ended[1])


def end_all(folder: Path) -> None:
    """Kill all other processes of the namespace, detach the mounts, and remove the cgroups and the folder."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    libc = ctypes.CDLL(None)
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed(mounts):
        if mount.startswith((f"{folder}/", "/var/lib", "/run/")):
            libc.umount2(mount.encode(), _MNT_DETACH)
    remove_cgroups(folder.name)
    shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Run the first process; its argument is the folder of the sandbox."""
    folder = Path(sys.argv[1])
    # Only the end of the input ends it: Ctrl-C must not end the cluster before the tests have stopped it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(
            number, lambda *_: None
        )  # unlike SIG_IGN, processes that it starts do not inherit it
    try:
        Init(folder).run()
    finally:
        end_all(folder)


if __name__ == "__main__":
    main()
