"""Checks that a sealing key opens the signing keys of a database."""

import hashlib
from pathlib import Path

from sqlalchemy import Connection

from podpass.backup.model import BackupRefused
from podpass.crypto.envelope import Sealer, decode_sealing_key
from podpass.database import migrate
from podpass.exchange.schema import CHAIN
from podpass.exchange.signing import key_store


def check(connection: Connection, key: Path, whose: str) -> None:
    """Check that a sealing key opens at least one sealed value of a database, if there is one.

    A fingerprint alone only shows which key was passed when the backup was created.

    Raises BackupRefused, InvalidSealingKey.
    """
    if not migrate.is_current(connection, CHAIN):
        return
    sealer, found = Sealer.from_file(key, make=False), key_store.read_keys(connection)
    if not found.rows or key_store.unseal_keys(found, sealer).keys:
        return
    if key_store.unseal_token_seal(found, sealer) is None:
        raise BackupRefused(
            f"{whose} keys are not sealed with {key}",
            hint="pass the sealing key that was in use at that time with --sealing-key-file F;"
            " nothing was changed",
        )


def fingerprint(key: Path) -> str:
    """Return the fingerprint of a sealing key. It does not reveal the key.

    Raises BackupRefused, InvalidSealingKey.
    """
    try:
        data = decode_sealing_key(key.read_bytes(), str(key))
    except OSError as exc:
        raise BackupRefused(
            f"the sealing key {key} cannot be read: {exc.strerror}",
            hint="pass the file with --sealing-key-file F",
        ) from exc
    return hashlib.sha256(b"podpass sealing key\n" + data).hexdigest()[:16]
