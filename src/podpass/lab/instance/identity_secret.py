"""Keep what makes a cloud the same cloud in a Secret: tenant, CA, sealing keys, and sealed signing keys.

The Secret exists before the pod starts and is empty at first, so that the pod needs no right to create one.
The pod fills it. A later pod with an empty folder reads it, and has the same tenant, CA and keys. So tokens
that clients have cached stay valid. The copied signing keys are sealed: without the sealing key they cannot
be used.
"""

import base64
import binascii
import json
import logging
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, Table, insert, select

from podpass import files
from podpass.database import Database
from podpass.errors import Error
from podpass.exchange.schema import seals, signing_keys
from podpass.exchange.signing.key_set import prepare_tables
from podpass.files import create_private_folder
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.lab.data.datadir import DataDir

_log = logging.getLogger(__name__)

_NOT_FOUND, _FORBIDDEN = 404, 403
SIGNING_KEYS = "signing-keys.json"
# Key of the Secret, and the file in the data directory.
_FILES = {
    "instance.json": ("instance.json",),
    "ca.crt": ("ca", "ca.pem"),
    "ca.key": ("ca", "ca.key"),
    "authority.key": ("keys", "authority.key"),
    "vault.key": ("keys", "vault.key"),
}
_TABLES = (signing_keys, seals)


class IdentitySecretError(Error):
    """The Secret with the identity of the cloud cannot be used."""

    code = "identity_secret"


class DamagedCopy(Error):
    """The copy of the signing keys cannot be read."""

    code = "signing_keys_copy_damaged"


class IdentitySecret:
    """The Secret of one cloud."""

    def __init__(self, client: KubeClient, namespace: str, name: str) -> None:
        self._client = client
        self._name = f"{namespace}/{name}"
        self._path = f"/api/v1/namespaces/{namespace}/secrets/{name}"

    async def restore(self, data_dir: DataDir) -> bytes:
        """Write the files of the Secret into the data directory; return the copy of the signing keys.

        Raises IdentitySecretError, also if the directory has the data of another cloud.
        """
        found = await self._read()
        if not found:
            return b""
        if missing := sorted(_FILES.keys() - found.keys()):
            raise IdentitySecretError(
                f"Secret {self._name} has no {', '.join(missing)}",
                hint="restore it from a backup, or remove its data: the next pod is a new cloud",
            )
        _check_same(data_dir, found["instance.json"], self._name)
        for key, parts in _FILES.items():
            path = data_dir.path(*parts)
            create_private_folder(path.parent)
            _write(path, found[key])
        _log.info("identity_restored", extra={"secret": self._name})
        return found.get(SIGNING_KEYS, b"")

    async def store(self, data_dir: DataDir, keys: bytes) -> bool:
        """Write the identity of the cloud into the Secret; return whether that changed it.

        Raises IdentitySecretError.
        """
        wanted = {key: data_dir.path(*parts).read_bytes() for key, parts in _FILES.items()}
        wanted[SIGNING_KEYS] = keys
        secret = await self._get()
        if _decode(secret.get("data"), self._name) == wanted:
            return False
        secret["data"] = {key: base64.b64encode(value).decode() for key, value in wanted.items()}
        try:
            # The resource version in it makes a second pod fail, instead of mixing two clouds.
            await self._client.replace(self._path, secret)
        except KubeError as exc:
            raise self._failed("write", exc) from exc
        _log.info("identity_stored", extra={"secret": self._name})
        return True

    async def _read(self) -> dict[str, bytes]:
        return _decode((await self._get()).get("data"), self._name)

    async def _get(self) -> dict[str, object]:
        try:
            return await self._client.get(self._path)
        except KubeError as exc:
            raise self._failed("read", exc) from exc

    def _failed(self, verb: str, exc: KubeError) -> IdentitySecretError:
        hints = {
            _NOT_FOUND: "run `podpass cloud install` again, which creates it",
            _FORBIDDEN: "give the ServiceAccount `get` and `update` on this Secret",
        }
        message = f"cannot {verb} Secret {self._name}: {exc.message}"
        return IdentitySecretError(message, hint=hints.get(exc.status))


def _decode(data: object, name: str) -> dict[str, bytes]:
    try:
        entries = dict(data) if isinstance(data, dict) else {}
        return {key: base64.b64decode(value, validate=True) for key, value in entries.items()}
    except (TypeError, binascii.Error) as exc:
        raise IdentitySecretError(f"Secret {name} is not base64") from exc


def _check_same(data_dir: DataDir, instance: bytes, name: str) -> None:
    """Check that a directory with a database belongs to the same tenant. Raises IdentitySecretError."""
    path = data_dir.path("instance.json")
    if not path.exists() or not data_dir.path("directory.db").exists():
        return
    try:
        own, stored = (json.loads(text)["tenant_id"] for text in (path.read_bytes(), instance))
    except (ValueError, KeyError, TypeError) as exc:
        raise IdentitySecretError(f"instance.json in {data_dir.root} or {name} is damaged") from exc
    if own != stored:
        raise IdentitySecretError(
            f"the volume has the data of tenant {own}, and Secret {name} is that of tenant {stored}",
            hint="use an empty volume, or restore the Secret that belongs to this volume",
        )


def _write(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        files.write_private(path, content)


async def copy_out(database: Database) -> bytes:
    """Return the rows of the signing keys as JSON."""

    def read(connection: Connection) -> dict[str, list[dict[str, Any]]]:
        return {str(table.name): _read_rows(connection, table) for table in _TABLES}

    return orjson.dumps(await database.read(read), default=_encode, option=orjson.OPT_SORT_KEYS)


async def copy_in(database: Database, copy: bytes) -> bool:
    """Write the rows of a copy into a database without keys; return whether it had none.

    Raises DamagedCopy.
    """
    try:
        tables = orjson.loads(copy)
        rows = {
            table: [
                {**row, "sealed": base64.b64decode(row["sealed"])} for row in tables[table.name]
            ]
            for table in _TABLES
        }
    except (ValueError, KeyError, TypeError) as exc:
        raise DamagedCopy("the copy of the signing keys is damaged") from exc
    await prepare_tables(database)

    def write(connection: Connection) -> bool:
        if connection.execute(select(signing_keys.c.kid)).first() is not None:
            return False
        for table, found in rows.items():
            if found:
                connection.execute(insert(table), found)
        return True

    return await database.write(write)


def _read_rows(connection: Connection, table: Table) -> list[dict[str, Any]]:
    names = [str(name) for name in table.c.keys()]  # noqa: SIM118 columns are no mapping; plain keys for JSON
    rows = connection.execute(select(table).order_by(*table.primary_key))
    return [dict(zip(names, row, strict=True)) for row in rows]


def _encode(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError
