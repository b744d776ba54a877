"""Signing keys as earlier versions kept them, one PEM file a key: taken over into the database once.

`active` named the number that signs, the next one was to come, the others were out of use.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from podpass import files
from podpass.crypto.envelope import KEY_BYTES
from podpass.crypto.jose import BadKey
from podpass.errors import Error
from podpass.exchange.signing import key as key_material
from podpass.exchange.signing.key import AuthorityKey
from podpass.exchange.signing.schedule import Schedule

_SUFFIX = ".pem"
_ACTIVE = "active"
_SEAL = "seal.key"


class KeyFilesUnfit(Error):
    """A file of an earlier version's keys cannot be read."""

    code = "authority_key_files"


@dataclass(frozen=True, slots=True, kw_only=True)
class OldKey:
    """One key of the folder, and its place in time."""

    path: Path
    key: AuthorityKey
    created: float
    activates: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OldKeys:
    """What a folder holds; `seal` is None where there is none."""

    keys: Sequence[OldKey]
    seal: bytes | None = field(repr=False)


def read(folder: Path, now: float, schedule: Schedule) -> OldKeys:
    """Read a folder; one that is not there holds nothing.

    Errors:  KeyFilesUnfit, naming the file.
    """
    numbered = dict(_read(path) for path in sorted(folder.glob("*" + _SUFFIX)))
    active = _read_active(folder) or min(numbered, default=1)
    if numbered and active not in numbered:
        raise KeyFilesUnfit(
            f"{folder / _ACTIVE} names a key that is not there",
            hint=f"put {active:06d}{_SUFFIX} back, or delete {_ACTIVE}",
        )
    keys = [
        OldKey(
            path=_path(folder, number),
            key=key,
            created=min(_path(folder, number).stat().st_mtime, now),
            activates=_turn(number - active, now, schedule),
        )
        for number, key in sorted(numbered.items())
    ]
    return OldKeys(keys=keys, seal=_read_seal(folder))


def remove(folder: Path, kept: Iterable[str]) -> Sequence[Path]:
    """Delete the files of keys that lie in the database now; give those that are left."""
    known = set(kept)
    left = []
    for path in sorted(folder.glob("*" + _SUFFIX)):
        if _kid(path) in known:
            files.remove(path)
        else:
            left.append(path)
    if not left and folder.is_dir():
        for name in (_ACTIVE, _SEAL):
            files.remove(folder / name)
        if not any(folder.iterdir()):
            folder.rmdir()
    return left


def _turn(distance: int, now: float, schedule: Schedule) -> float:
    """Place a key by how far it stands from the one that signs."""
    return now + distance * (schedule.rotation_seconds if distance > 0 else 1)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}{_SUFFIX}"


def _read(path: Path) -> tuple[int, AuthorityKey]:
    try:
        return int(path.stem), key_material.read(path.read_bytes())
    except (ValueError, BadKey) as exc:
        raise KeyFilesUnfit(
            f"{path} is not a numbered key with its certificate",
            hint="move the file out of the folder",
            path=str(path),
        ) from exc


def _kid(path: Path) -> str | None:
    try:
        return _read(path)[1].kid
    except KeyFilesUnfit:
        return None


def _read_active(folder: Path) -> int | None:
    try:
        return int((folder / _ACTIVE).read_text("ascii"))
    except FileNotFoundError:
        return None
    except ValueError as exc:
        raise KeyFilesUnfit(
            f"{folder / _ACTIVE} holds no number", hint="delete it, and the first key signs"
        ) from exc


def _read_seal(folder: Path) -> bytes | None:
    path = folder / _SEAL
    if not path.exists():
        return None
    if len(key := path.read_bytes()) != KEY_BYTES:
        raise KeyFilesUnfit(
            f"{path} is not a key of {KEY_BYTES} bytes",
            hint="delete it; whoever is signed in then has to sign in again",
        )
    return key
