"""The parts of a local instance outside its database: its identity and its files.

The key of its certificate authority never leaves the data directory. Other keys, and the cluster's objects
with their unencrypted Secrets, are in a backup only on request.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from podpass.backup import sealing_check
from podpass.backup.archive import PART_BYTES, Writer
from podpass.backup.model import BackupRefused, InvalidBackupFile, Manifest
from podpass.directory import naming
from podpass.guids import is_lower_guid
from podpass.lab.data.datadir import DataDir, InstanceConfig, check_version, load_config

DATABASE, CLUSTER, INSTANCE = "directory.db", "kubernetes.db", "instance.json"
_IMAGES = "images.json"
_SEALING = ("keys/authority.key", "keys/vault.key")
_MAX_KEY_BYTES = PART_BYTES
# A restore accepts no other files.
_KNOWN = re.compile(rf"keys/(?:[a-z]+/)?[a-z0-9.]+|{CLUSTER}|{INSTANCE}|{_IMAGES}")


def database_url(data_dir: DataDir) -> str:
    """Return the URL of the instance's database."""
    return f"sqlite:///{data_dir.path(DATABASE)}"


def check_exists(data_dir: DataDir) -> None:
    """Check that the data directory holds an instance. Raises BackupRefused, WrongVersion."""
    check_version(data_dir)
    if not data_dir.path(DATABASE).exists():
        raise BackupRefused(
            f"there is no instance in {data_dir.root}", hint="pass its directory with --data-dir D"
        )


def public_config(data_dir: DataDir) -> dict[str, str]:
    """Return the values that identify an instance. None of them is secret."""
    config = load_config(data_dir)
    return {
        "tenant_id": config.tenant_id,
        "subscription_id": config.subscription_id,
        "issuer_id": config.issuer_id,
        "admin_username": config.admin_username,
    }


def is_same(data_dir: DataDir, manifest: Manifest) -> bool:
    """Return whether a data directory holds the instance of the backup."""
    return data_dir.path(INSTANCE).exists() and public_config(data_dir) == dict(
        manifest.instance or {}
    )


def sealing_fingerprints(data_dir: DataDir) -> dict[str, str]:
    """Return the fingerprints of the sealing keys, by file."""
    return {
        name: sealing_check.fingerprint(data_dir.path(name))
        for name in _SEALING
        if data_dir.path(name).exists()
    }


def check_sealing(data_dir: DataDir, manifest: Manifest) -> None:
    """Check that the keys in the data directory open the sealed values of a backup. Raises BackupRefused."""
    here = sealing_fingerprints(data_dir)
    for name, wanted in manifest.sealing.items():
        if name not in manifest.files and here.get(name) != wanted:
            found = "another key" if name in here else "missing"
            raise BackupRefused(
                f"the backup is sealed with a key that it does not contain, and {name} here is {found}",
                hint=f"copy the {name} that was in use at the time of the backup to {data_dir.root},"
                " or restore a backup that was created with --with-keys",
            )


def check_instance(manifest: Manifest) -> None:
    """Check that a backup is of a valid instance and contains only known files.

    Raises BackupRefused, also for a backup of a database without an instance; InvalidBackupFile.
    """
    found = manifest.instance
    if found is None:
        raise BackupRefused(
            "the backup is of a database, not of a local instance",
            hint="restore it with --database URL",
        )
    # These values become parts of paths and URLs.
    ids = [found.get(name, "") for name in ("tenant_id", "subscription_id", "issuer_id")]
    fault = naming.user_name_fault(found.get("admin_username", ""))
    if fault is not None or not all(map(is_lower_guid, ids)):
        raise InvalidBackupFile(
            "the backup's instance has invalid ids or an invalid administrator name"
        )
    check_key_sizes(manifest)
    unknown = [name for name in manifest.files if not _KNOWN.fullmatch(name)]
    if unknown:
        raise BackupRefused(
            f"the backup has an unknown file: {unknown[0]}", hint="use another backup"
        )


def parts_of_trust(manifest: Manifest, *, with_files: bool) -> list[str]:
    """Return the parts of a backup by which its author could run programs on the restored instance.

    Images and objects name programs. The administrator's password, a signing key or the role of an owner let
    their holder create pods, and every backup contains role assignments.
    `with_files` is false for a running instance, whose files are not restored.
    """
    files = manifest.files if with_files else ()
    found = [name for name in (_IMAGES, CLUSTER, INSTANCE) if name in files]
    keys = ["keys"] if any(name.startswith("keys/") for name in files) else []
    return [*found, *keys, "role assignments"]


def check_key_sizes(manifest: Manifest) -> None:
    """Check that the keys of a backup are small: they are read into memory. Raises InvalidBackupFile."""
    sizes = [part.size for part in manifest.parts if part.name.startswith("files/keys/")]
    if sum(sizes) > _MAX_KEY_BYTES:
        raise InvalidBackupFile("the backup's keys are too large")


def add_files(archive: Writer, data_dir: DataDir, *, with_keys: bool) -> None:
    """Write the files of an instance into a backup."""
    names = [_IMAGES]
    if with_keys:
        names += [INSTANCE, *_list_keys(data_dir)]
        _add(archive, CLUSTER, _copy_cluster_database(data_dir.path(CLUSTER)))
    for name in names:
        path = data_dir.path(name)
        if path.exists():
            _add(archive, name, path.read_bytes())


def _list_keys(data_dir: DataDir) -> Iterator[str]:
    folder = data_dir.path("keys")
    for path in sorted(folder.rglob("*")):
        name = f"keys/{path.relative_to(folder)}"
        if path.is_file() and _KNOWN.fullmatch(name):
            yield name


def _add(archive: Writer, name: str, data: bytes) -> None:
    for number, begin in enumerate(range(0, len(data), PART_BYTES), start=1):
        archive.add(f"files/{name}/{number:06d}", data[begin : begin + PART_BYTES])


def _copy_cluster_database(path: Path) -> bytes:
    """Return a consistent copy of the cluster's database."""
    if not path.exists():
        return b""
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(":memory:")) as copy:
        source.backup(copy)
        return copy.serialize()


def restored_config(current: InstanceConfig | None, manifest: Manifest) -> InstanceConfig:
    """Return the configuration for a backup without keys: the backup's ids, and existing or new secrets."""
    found = manifest.instance or {}
    return replace(
        current or InstanceConfig.new(),
        tenant_id=found["tenant_id"],
        subscription_id=found["subscription_id"],
        issuer_id=found["issuer_id"],
        admin_username=found["admin_username"],
    )
