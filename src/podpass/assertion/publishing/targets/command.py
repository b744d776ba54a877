"""A command of the operator that reads and writes the published files."""

import subprocess
from collections.abc import Sequence

from podpass.assertion.publishing.documents import MAX_DOCUMENT_BYTES
from podpass.assertion.publishing.targets.target import TIMEOUT_SECONDS, TargetError

NOT_FOUND = 3


class CommandTarget:
    """Runs `PROGRAM put PATH` with the file on stdin, and `PROGRAM get PATH`, which prints it.

    `get` exits with status 3 if the file does not exist.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)

    @property
    def name(self) -> str:
        # Only the program: an argument may be a secret.
        return self._command[0]

    def read(self, path: str) -> bytes | None:
        """Return a file; None if it does not exist. Raises TargetError."""
        done = self._run("get", path, b"")
        if done.returncode == NOT_FOUND:
            return None
        self._check(done, "get", path)
        if len(done.stdout) > MAX_DOCUMENT_BYTES:
            raise TargetError(
                f"`{self.name} get {path}` printed more than {MAX_DOCUMENT_BYTES} bytes",
                hint="check the command",
            )
        return done.stdout

    def write(self, path: str, body: bytes) -> float | None:
        """Replace a file; the command must do so atomically. Raises TargetError."""
        self._check(self._run("put", path, body), "put", path)
        return None

    def _run(self, verb: str, path: str, body: bytes) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(  # noqa: S603 the operator's own command
                [*self._command, verb, path],
                input=body,
                stdout=subprocess.PIPE,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise TargetError(
                f"`{self.name} {verb} {path}` took more than {TIMEOUT_SECONDS} seconds",
                hint="check the command",
            ) from exc
        except OSError as exc:
            raise TargetError(
                f"{self.name} cannot be started: {exc.strerror}", hint="check the target"
            ) from exc

    def _check(self, done: subprocess.CompletedProcess[bytes], verb: str, path: str) -> None:
        if done.returncode != 0:
            raise TargetError(
                f"`{self.name} {verb} {path}` failed with status {done.returncode}",
                hint="its messages are above",
            )
