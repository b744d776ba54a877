"""Whether a cluster's sealing key is the one that its signing keys lie sealed with."""

from pathlib import Path

from sqlalchemy import Connection

from podpass.database import migrate
from podpass.exchange import key_opening, key_rows
from podpass.exchange.schema import CHAIN
from podpass.sealing import Sealer
from podpass.tools.backup.model import BackupRefused


def check(connection: Connection, key: Path, whose: str) -> None:
    """Check that a sealing key opens something of what a database has sealed, if it has anything.

    A fingerprint alone would only say which key somebody named when the backup was taken.

    Errors:  BackupRefused, SealingKeyUnfit.
    """
    if not migrate.is_current(connection, CHAIN):
        return
    sealer, found = Sealer.from_file(key, make=False), key_rows.read(connection)
    if not found.rows or key_opening.open_all(found, sealer).keys:
        return
    if key_rows.open_seal(found, sealer) is None:
        raise BackupRefused(
            f"{whose} keys are not sealed with {key}",
            hint="name the sealing key of then with --sealing-key-file F; nothing was changed",
        )
