"""What makes a local instance whole beside its database: who it is, and the files that go with it.

The key of its certificate authority never leaves the data dir. Keys, and the cluster's objects, whose Secrets
lie open, are in a backup only when they are asked for.
"""

import hashlib
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from podpass.backup.archive import PART_BYTES, Writer
from podpass.backup.model import BackupRefused, BackupUnfit, Manifest
from podpass.crypto.envelope import read_key
from podpass.directory import naming
from podpass.guids import is_lower_guid
from podpass.local.datadir import DataDir, Facts, check_version, load_facts

DATABASE, CLUSTER, INSTANCE = "directory.db", "kubernetes.db", "instance.json"
_IMAGES = "images.json"
_SEALING = ("keys/authority.key", "keys/vault.key")
# Nothing else is taken from a backup, whatever it calls its files.
_KNOWN = re.compile(rf"keys/(?:[a-z]+/)?[a-z0-9.]+|{CLUSTER}|{INSTANCE}|{_IMAGES}")


def url(data_dir: DataDir) -> str:
    """Name the instance's database."""
    return f"sqlite:///{data_dir.path(DATABASE)}"


def check_there(data_dir: DataDir) -> None:
    """Check that there is an instance.

    Errors:  BackupRefused, WrongVersion.
    """
    check_version(data_dir)
    if not data_dir.path(DATABASE).exists():
        raise BackupRefused(
            f"{data_dir.root} holds no instance", hint="name its folder with --data-dir D"
        )


def facts(data_dir: DataDir) -> dict[str, str]:
    """Tell what an instance is told apart by; none of it is secret."""
    return _open_facts(load_facts(data_dir))


def is_same(data_dir: DataDir, manifest: Manifest) -> bool:
    """Tell whether a data dir holds the instance of which the backup is."""
    return data_dir.path(INSTANCE).exists() and facts(data_dir) == dict(manifest.instance or {})


def sealing(data_dir: DataDir) -> dict[str, str]:
    """Give the fingerprints of the keys that values are sealed with."""
    return {
        name: fingerprint(data_dir.path(name)) for name in _SEALING if data_dir.path(name).exists()
    }


def fingerprint(key: Path) -> str:
    """Tell one sealing key from another; it says nothing of the key.

    Errors:  BackupRefused, SealingKeyUnfit.
    """
    try:
        data = read_key(key.read_bytes(), str(key))
    except OSError as exc:
        raise BackupRefused(
            f"the sealing key {key} cannot be read: {exc.strerror}",
            hint="name the file with --sealing-key-file F",
        ) from exc
    return hashlib.sha256(b"podpass sealing key\n" + data).hexdigest()[:16]


def check_sealing(data_dir: DataDir, manifest: Manifest) -> None:
    """Check that what is sealed in a backup will open here.

    Errors:  BackupRefused.
    """
    here = sealing(data_dir)
    for name, wanted in manifest.sealing.items():
        if name not in manifest.files and here.get(name) != wanted:
            found = "another one" if name in here else "missing"
            raise BackupRefused(
                f"what the backup holds is sealed with a key that is not in it, and {name} here is {found}",
                hint=f"put the {name} of then into {data_dir.root}, or restore a backup --with-keys",
            )


def check_told(manifest: Manifest) -> None:
    """Check that a backup's instance is one, and that it brings no file that it has no business with.

    Errors:  BackupRefused, where it is of a database by itself too; BackupUnfit.
    """
    told = manifest.instance
    if told is None:
        raise BackupRefused(
            "the backup is of a database by itself, not of a local instance",
            hint="restore it with --database URL",
        )
    # Folders and addresses are made of them.
    ids = [told.get(name, "") for name in ("tenant_id", "subscription_id", "issuer_id")]
    person = naming.user_name_fault(told.get("admin_username", ""))
    if person is not None or not all(map(is_lower_guid, ids)):
        raise BackupUnfit("the backup's instance has ids or an administrator that none can have")
    odd = [name for name in manifest.files if not _KNOWN.fullmatch(name)]
    if odd:
        raise BackupRefused(
            f"the backup holds a file that no instance has: {odd[0]}", hint="take another"
        )


def add_files(archive: Writer, data_dir: DataDir, *, with_keys: bool) -> None:
    """Write the files that belong to an instance into a backup."""
    names = [_IMAGES]
    if with_keys:
        names += [INSTANCE, *_keys(data_dir)]
        _add(archive, CLUSTER, _cluster(data_dir.path(CLUSTER)))
    for name in names:
        path = data_dir.path(name)
        if path.exists():
            _add(archive, name, path.read_bytes())


def _keys(data_dir: DataDir) -> Iterator[str]:
    folder = data_dir.path("keys")
    for path in sorted(folder.rglob("*")):
        name = f"keys/{path.relative_to(folder)}"
        if path.is_file() and _KNOWN.fullmatch(name):
            yield name


def _add(archive: Writer, name: str, data: bytes) -> None:
    for number, begin in enumerate(range(0, len(data), PART_BYTES), start=1):
        archive.add(f"files/{name}/{number:06d}", data[begin : begin + PART_BYTES])


def _cluster(path: Path) -> bytes:
    """Copy the cluster's objects as they are at one moment, whoever writes them."""
    if not path.exists():
        return b""
    with closing(sqlite3.connect(path)) as theirs, closing(sqlite3.connect(":memory:")) as copy:
        theirs.backup(copy)
        return copy.serialize()


def renamed(mine: Facts | None, manifest: Manifest) -> Facts:
    """Give the facts of an instance that a backup without its secrets becomes: those stay, or are made."""
    told = manifest.instance or {}
    return replace(
        mine or Facts.new(),
        tenant_id=told["tenant_id"],
        subscription_id=told["subscription_id"],
        issuer_id=told["issuer_id"],
        admin_username=told["admin_username"],
    )


def _open_facts(one: Facts) -> dict[str, str]:
    return {
        "tenant_id": one.tenant_id,
        "subscription_id": one.subscription_id,
        "issuer_id": one.issuer_id,
        "admin_username": one.admin_username,
    }
