"""Files of a volume, put in place all at once: a reader sees the old set or the new one.

As the kubelet does it: the files lie in a hidden folder, `..data` points there and is swapped by one
rename, and each visible name is a link through `..data`.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from podpass.errors import Error

_DATA = "..data"
_NEXT = "..data_tmp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """One file: its bytes, which may be secret, and its mode."""

    data: bytes = field(repr=False)
    mode: int


Payload = Mapping[str, Content]
"""Files by their path relative to the volume."""


class UnsafePath(Error):
    """A file's path would leave its volume."""

    code = "unsafe_path"


def write(folder: Path, payload: Payload) -> bool:
    """Make a volume hold exactly these files; say whether anything changed.

    Errors:  UnsafePath, OSError; the old set is kept then.
    """
    for path in payload:
        _check(path)
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / _DATA
    if data.is_symlink() and _same(data, payload):
        return False
    fresh = Path(tempfile.mkdtemp(prefix="..", dir=folder))
    fresh.chmod(0o755)
    for path, content in payload.items():
        _write_file(fresh / path, content)
    old = data.resolve() if data.is_symlink() else None
    (folder / _NEXT).unlink(missing_ok=True)
    (folder / _NEXT).symlink_to(fresh.name)
    (folder / _NEXT).rename(data)
    _link(folder, payload)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
    return True


def _check(path: str) -> None:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise UnsafePath(f"{path!r} is no path inside a volume", path=path)


def _same(data: Path, payload: Payload) -> bool:
    present = {
        str(path.relative_to(data)): path for path in sorted(data.rglob("*")) if not path.is_dir()
    }
    return present.keys() == {str(PurePosixPath(path)) for path in payload} and all(
        (data / path).read_bytes() == content.data
        and (data / path).stat().st_mode & 0o777 == content.mode
        for path, content in payload.items()
    )


def _write_file(path: Path, content: Content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content.data)
        os.fchmod(stream.fileno(), content.mode)  # open() alone is subject to the umask


def _link(folder: Path, payload: Payload) -> None:
    wanted = {PurePosixPath(path).parts[0] for path in payload}
    for name in wanted:
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(Path(_DATA, name))
    for path in folder.iterdir():
        if path.is_symlink() and not path.name.startswith("..") and path.name not in wanted:
            path.unlink()
