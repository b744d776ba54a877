"""Write the files of a volume atomically: a reader sees all old files or all new files.

As in the kubelet, the files are in a hidden folder. The link `..data` points to it and is replaced by one
rename, and each visible name is a link through `..data`.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from kubeling.errors import Error

_DATA = "..data"
_NEXT = "..data_tmp"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProjection:
    """The content and the mode of one file."""

    data: bytes = field(repr=False)
    mode: int


Payload = Mapping[str, FileProjection]
"""Files by path relative to the volume."""


class UnsafePath(Error):
    """The path of a file is outside of its volume."""

    code = "unsafe_path"


def write(folder: Path, payload: Payload) -> bool:
    """Replace the files of a volume; return whether anything changed.

    Raises UnsafePath, OSError; the old files stay.
    """
    for path in payload:
        _check(path)
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / _DATA
    if data.is_symlink() and _is_current(data, payload):
        return False
    new = Path(tempfile.mkdtemp(prefix="..", dir=folder))
    new.chmod(0o755)
    for path, content in payload.items():
        _write_file(new / path, content)
    old = data.resolve() if data.is_symlink() else None
    (folder / _NEXT).unlink(missing_ok=True)
    (folder / _NEXT).symlink_to(new.name)
    (folder / _NEXT).rename(data)
    _update_links(folder, payload)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
    return True


def _check(path: str) -> None:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise UnsafePath(f"{path!r} is not a path inside the volume", path=path)


def _is_current(data: Path, payload: Payload) -> bool:
    present = {
        str(path.relative_to(data)): path for path in sorted(data.rglob("*")) if not path.is_dir()
    }
    return present.keys() == {str(PurePosixPath(path)) for path in payload} and all(
        (data / path).read_bytes() == content.data
        and (data / path).stat().st_mode & 0o777 == content.mode
        for path, content in payload.items()
    )


def _write_file(path: Path, content: FileProjection) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content.data)
        os.fchmod(stream.fileno(), content.mode)  # the umask reduces the mode of open()


def _update_links(folder: Path, payload: Payload) -> None:
    names = {PurePosixPath(path).parts[0] for path in payload}
    for name in names:
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(Path(_DATA, name))
    for path in folder.iterdir():
        if path.is_symlink() and not path.name.startswith("..") and path.name not in names:
            path.unlink()
