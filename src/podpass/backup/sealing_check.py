"""Whether a cluster's sealing key is the one that its signing keys lie sealed with."""

from pathlib import Path

from sqlalchemy import Connection

from podpass.backup.model import BackupRefused
from podpass.crypto.envelope import Sealer
from podpass.database import migrate
from podpass.exchange.schema import CHAIN
from podpass.exchange.signing import key_store


def check(connection: Connection, key: Path, whose: str) -> None:
    """Check that a sealing key opens something of what a database has sealed, if it has anything.

    A fingerprint alone would only say which key somebody named when the backup was taken.

    Errors:  BackupRefused, SealingKeyUnfit.
    """
    if not migrate.is_current(connection, CHAIN):
        return
    sealer, found = Sealer.from_file(key, make=False), key_store.read(connection)
    if not found.rows or key_store.open_all(found, sealer).keys:
        return
    if key_store.open_seal(found, sealer) is None:
        raise BackupRefused(
            f"{whose} keys are not sealed with {key}",
            hint="name the sealing key of then with --sealing-key-file F; nothing was changed",
        )
