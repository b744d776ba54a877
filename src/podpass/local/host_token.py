"""The token file of a program on the host, replaced before the token expires, while the program runs.

The program keeps the process that the user started, with its terminal, its signals and its exit code. So a
background process, which is not a child of the program, replaces the file.
"""

import asyncio
import os
import resource
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from podpass import files
from podpass.cloud.datadir import DataDir
from podpass.errors import Error
from podpass.kubernetes.kubelet.token_manager import IssuedToken
from podpass.local.process import has_exited

_FOLDER = "run"
_POLL_SECONDS = 1.0
_RETRY_SECONDS = 10.0

RequestToken = Callable[[], Awaitable[IssuedToken]]


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
    """Start the process that replaces the token file until this process has ended.

    It is started by two forks, so that the program has no child that it did not start.
    """
    pid = os.getpid()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    code = 1
    try:
        _close_streams()
        asyncio.run(refresh(issued, token_file, request, lambda: not has_exited(pid)))
        shutil.rmtree(folder, ignore_errors=True)
        code = 0
    finally:
        os._exit(code)


def _close_streams() -> None:
    """Release the terminal and the pipes of the program, and its working directory."""
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


async def refresh(
    issued: IssuedToken,
    token_file: Path,
    request: RequestToken,
    runs: Callable[[], bool],
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
            except (Error, OSError):
                due = clock() + _RETRY_SECONDS
        await wait(_POLL_SECONDS)
