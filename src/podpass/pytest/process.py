"""The process of an instance for tests: started once, ended when no test process uses it any more.

Each test process that uses the instance holds a shared lock on a file. The instance waits for the exclusive
lock of the same file and then stops. So it also ends when the test processes were killed.
"""

import contextlib
import fcntl
import os
import select
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from podpass.errors import Error

if TYPE_CHECKING:
    from podpass.lab.data.datadir import DataDir

_STOP_SECONDS = 20.0


class RunningInstance(Protocol):
    """An instance that runs, as a process or in a container; its files are in `data_dir`."""

    @property
    def data_dir(self) -> "DataDir": ...

    def leave(self) -> None: ...

    def stop(self) -> None: ...


class InstanceProcess:
    """An instance in a folder; `join` starts it, or uses the one that another test process has started."""

    def __init__(self, folder: Path) -> None:
        from podpass.lab.data.datadir import DataDir

        self._data_dir = DataDir(folder / "data")
        self._folder = folder
        self._users: int | None = None

    @property
    def data_dir(self) -> "DataDir":
        """Return the data directory."""
        return self._data_dir

    @property
    def users_file(self) -> Path:
        """Return the file that the users of the instance have locked."""
        return self._folder / "users.lock"

    def join(self, seed: str, environ: Mapping[str, str]) -> None:
        """Use the instance of the folder; start it with a seed if it does not run.

        Raises Error, with the cause of a failed start.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        starting = os.open(self._folder / "start.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(starting, fcntl.LOCK_EX)
            self._users = os.open(self.users_file, os.O_RDWR | os.O_CREAT, 0o600)
            # If the last user has just left, this waits until the instance has stopped.
            fcntl.flock(self._users, fcntl.LOCK_SH)
            if not self._is_ready():
                self._start(seed, environ)
        finally:
            os.close(starting)

    def leave(self) -> None:
        """Stop using the instance."""
        if self._users is not None:
            os.close(self._users)
            self._users = None

    def stop(self) -> None:
        """Stop the instance, and wait for its end. Raises Error, if it does not stop."""
        from podpass.lab.data.lock import lock_holder

        if pid := lock_holder(self.data_dir.lock_file):
            with contextlib.suppress(ProcessLookupError):
                _stop(pid)
        self.leave()

    def _is_ready(self) -> bool:
        from podpass.cli.client import read_status

        return self.data_dir.status_file.exists() and read_status(self.data_dir) is not None

    def _start(self, seed: str, environ: Mapping[str, str]) -> None:
        from podpass.lab.data import datadir
        from podpass.lab.host import daemon

        datadir.prepare(self.data_dir)
        datadir.write_version(self.data_dir)
        arguments = ["up", "--data-dir", str(self.data_dir.root), "--port-base", "0"]
        arguments += ["--for-tests", str(self.users_file), "--seed", "-"]
        arguments += ["--seed-name", "the seed of the tests"]
        errors = self._folder / "podpass.err"
        started = {name: value for name, value in environ.items() if name not in _NOT_INHERITED}
        daemon.start(
            arguments,
            errors=errors,
            environ=started,
            progress=lambda _part, _detail: None,
            stdin=seed,
        )


# Settings of the user's own instance, and of coverage tools, do not apply to the instance of the tests.
_NOT_INHERITED = (
    "PODPASS_ASSERTION_ALGORITHM",
    "PODPASS_DATA_DIR",
    "PODPASS_KUBERNETES",
    "PODPASS_PORT_BASE",
    "PODPASS_PROPAGATION_DELAY",
)


def _stop(pid: int) -> None:
    descriptor = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGTERM)
        ended, _, _ = select.select([descriptor], [], [], _STOP_SECONDS)
    finally:
        os.close(descriptor)
    if not ended:
        raise Error(f"the instance, process {pid}, did not stop within {_STOP_SECONDS:.0f} seconds")
    with contextlib.suppress(ChildProcessError):  # another test process has started it
        os.waitpid(pid, 0)
