"""A folder that a web server publishes."""

import os
from pathlib import Path

from podpass import files
from podpass.assertion.publishing.documents import MAX_DOCUMENT_BYTES
from podpass.assertion.publishing.targets.target import TargetError

_PUBLIC_FILE, _PUBLIC_FOLDER = 0o644, 0o755


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
