"""Places where the documents of an issuer are published, behind one protocol.

A target is written `folder:PATH`, `azure:https://ACCOUNT.blob.core.windows.net/$web`, `s3://BUCKET/PREFIX` or
`command:PROGRAM ARGUMENTS`. The SDK of a target is imported when the target is used.
"""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from podpass import files
from podpass.assertion.publishing.documents import MAX_DOCUMENT_BYTES
from podpass.assertion.publishing.model import PRIVATE_KEYS, IssuerError
from podpass.assertion.publishing.targets.target import TIMEOUT_SECONDS, PublishTarget, TargetError

__all__ = ["PublishTarget", "TargetError", "open_target", "target_problem"]

_FORMS = (
    "folder:PATH, azure:https://ACCOUNT.blob.core.windows.net/$web, s3://BUCKET/PREFIX or"
    " command:PROGRAM"
)
_PUBLIC_FILE, _PUBLIC_FOLDER = 0o644, 0o755
NOT_FOUND = 3


def target_problem(text: str) -> str | None:
    """Return why a text is not a target; None if it is one."""
    kind, _, rest = text.partition(":")
    match kind:
        case "folder":
            is_target = bool(rest)
        case "azure":
            is_target = rest.startswith("https://")
        case "s3":
            is_target = bool(rest.removeprefix("//"))
        case "command":
            return _command_problem(rest)
        case _:
            is_target = False
    return None if is_target else f"{text!r} is not a target: write {_FORMS}"


def _command_problem(text: str) -> str | None:
    try:
        return (
            None if shlex.split(text) else f"the target 'command:' has no program: write {_FORMS}"
        )
    except ValueError as exc:
        return f"the target 'command:' cannot be split into words: {exc}"


def open_target(
    text: str, folder: Path, environ: Mapping[str, str], s3_endpoint: str = ""
) -> PublishTarget:
    """Return the target of a text; a relative path is below the key folder.

    Raises IssuerError for another text, TargetError if the SDK of the target is not installed.
    """
    if problem := target_problem(text):
        raise IssuerError(problem, hint="correct `target` in issuer.yaml")
    kind, _, rest = text.partition(":")
    if kind == "folder":
        root = folder / Path(rest)
        _require_outside_of_keys(root, folder)
        return FolderTarget(root)
    if kind == "azure":
        from podpass.assertion.publishing.targets.azure_storage import AzureStorageTarget

        return AzureStorageTarget(rest, environ)
    if kind == "s3":
        from podpass.assertion.publishing.targets.s3 import S3Target

        return S3Target(rest.removeprefix("//"), s3_endpoint)

    return CommandTarget(shlex.split(rest))


def _require_outside_of_keys(root: Path, folder: Path) -> None:
    """Refuse a folder whose web server would also publish private keys: the key folder or one above it."""
    published, keys = root.resolve(), folder.resolve()
    if keys.is_relative_to(published) or published.is_relative_to(keys / PRIVATE_KEYS):
        raise IssuerError(
            f"the target {root} contains private keys: the key folder is {folder}",
            hint="use a folder of its own, such as folder:published",
        )


class FolderTarget:
    """Files in a folder, readable by every user of the machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def name(self) -> str:
        return str(self._root)

    def read(self, path: str) -> bytes | None:
        """Return a file; None if it does not exist. Raises TargetError."""
        try:
            return files.read_regular(self._root / path, MAX_DOCUMENT_BYTES)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise self._failed("read", path, exc) from exc

    def write(self, path: str, body: bytes) -> float | None:
        """Replace a file atomically; it is on the disk when this returns.

        Raises TargetError; the old file is then unchanged.
        """
        place = self._root / path
        part = place.with_name(f".{place.name}.part")
        try:
            place.parent.mkdir(mode=_PUBLIC_FOLDER, parents=True, exist_ok=True)
            part.unlink(missing_ok=True)
            with part.open("xb") as stream:
                os.fchmod(stream.fileno(), _PUBLIC_FILE)
                stream.write(body)
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(place)
            files.sync_folder(place.parent)
        except OSError as exc:
            raise self._failed("write", path, exc) from exc
        return None

    def _failed(self, what: str, path: str, exc: OSError) -> TargetError:
        return TargetError(
            f"cannot {what} {self._root / path}: {exc.strerror}",
            hint="check that the folder exists and that you can write to it",
        )


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
