"""The token file of a program on the host, replaced before the token expires, while the program runs.

The program keeps the process that the user started, with its terminal, its signals and its exit code. So a
background process, which is not a child of the program, replaces the file.
"""

import asyncio
import os
import resource
import shutil
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from kubeling.kubelet.token_manager import IssuedToken

from podpass import files
from podpass.lab.data.datadir import DataDir
from podpass.lab.data.process import has_exited

_FOLDER = "run"
_POLL_SECONDS = 1.0
_RETRY_SECONDS = 10.0
_STREAMS, _MAX_DESCRIPTORS = 3, 1024

RequestToken = Callable[[], Awaitable[IssuedToken]]
Runs = Callable[[], bool]
Work = Callable[[Runs], Coroutine[Any, Any, object]]
"""Work that is repeated while its argument, a predicate, returns True."""


def create_folder(data_dir: DataDir, pid: int) -> Path:
    """Create the private folder of a program; delete the folders of programs that have ended."""
    root = data_dir.path(_FOLDER)
    files.create_private_folder(root)
    for folder in root.iterdir():
        if folder.name == str(pid) or not folder.name.isdecimal() or has_exited(int(folder.name)):
            shutil.rmtree(folder, ignore_errors=True)
    folder = root / str(pid)
    files.create_private_folder(folder)
    return folder


def start_refresher(
    folder: Path, issued: IssuedToken, token_file: Path, request: RequestToken
) -> None:
    """Start the process that replaces the token file until this process has ended."""
    start_companion(folder, lambda runs: refresh(issued, token_file, request, runs))


def start_companion(folder: Path, work: Work, keep: Sequence[int] = ()) -> None:
    """Start a process that works until this process has ended, and deletes the folder then.

    `keep` are the descriptors that it uses.
    """
    pid = os.getpid()

    def run() -> None:
        try:
            asyncio.run(work(lambda: not has_exited(pid)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    start_process(run, keep)


def start_process(run: Callable[[], None], keep: Sequence[int] = ()) -> None:
    """Run a function in a background process.

    It is started by two forks, so that the program has no child that it did not start.
    """
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    code = 1
    try:
        _close_streams(keep)
        run()
        code = 0
    finally:
        os._exit(code)


def _close_streams(keep: Sequence[int]) -> None:
    """Release the terminal, the pipes and the connections of the program, and its working directory.

    Objects of the program still exist here, such as the transports of a closed event loop, and close their
    descriptors when they are deleted. So each number stays in use: a new socket with such a number would be
    closed with the old object.
    """
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in {*range(_STREAMS), *_open_descriptors()} - {null, *keep}:
        os.dup2(null, descriptor, inheritable=descriptor < _STREAMS)


def _open_descriptors() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 names, not paths
    except OSError:  # another operating system
        return list(
            range(_STREAMS, min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], _MAX_DESCRIPTORS))
        )


async def refresh(
    issued: IssuedToken,
    token_file: Path,
    request: RequestToken,
    runs: Runs,
    *,
    clock: Callable[[], float] = time.time,
    wait: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Replace the token when it must be renewed, as long as the program runs.

    A failed request is retried: the instance may be restarted while the program runs.
    """
    due = issued.renew_at
    while runs():
        if clock() >= due:
            try:
                issued = await request()
                files.write_private(token_file, issued.token.reveal().encode())
                due = issued.renew_at
            except Exception:  # noqa: BLE001 an end of this process would leave an expired token
                due = clock() + _RETRY_SECONDS
        await wait(_POLL_SECONDS)
