"""Statements that read objects and versions, and the conversion between rows and model objects."""

import json
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, Select, bindparam, func, select

from podpass.crypto.secret import Secret
from podpass.database import PreparedStatement, decoding_row, row_decoder
from podpass.lab.services.vault.model import (
    ObjectAttributes,
    ObjectState,
    ObjectVersion,
    kind_of,
)
from podpass.lab.services.vault.schema import secrets, versions

_SELECT = select(
    secrets.c.name, secrets.c.deleted, secrets.c.purge_on, secrets.c.settings, versions
).select_from(secrets.join(versions))
_CURRENT = (
    _SELECT.where(
        secrets.c.vault == bindparam("vault"),
        secrets.c.key == bindparam("key"),
        secrets.c.deleted.is_(None),
    )
    .order_by(versions.c.ordinal.desc())
    .limit(1)
)
# The queries of most requests: one object that is not deleted, its latest version or a given one.
LATEST = PreparedStatement(_CURRENT)
ONE_VERSION = PreparedStatement(_CURRENT.where(versions.c.version == bindparam("version")))
_PreparedRow = namedtuple(  # type: ignore[misc]
    "_PreparedRow", [str(each.name) for each in _SELECT.selected_columns]
)


def name_columns(row: Sequence[Any]) -> Any:
    """Return a row of a prepared statement with the names of its columns, for `to_version`."""
    return _PreparedRow._make(row)


def select_version(vault: str, name: str, version: str = "") -> Select[Any]:
    """Return the query for one version, or the latest, of a secret, deleted or not."""
    query = _SELECT.where(secrets.c.vault == vault, secrets.c.key == name.lower())
    if version:
        query = query.where(versions.c.version == version)
    return query.order_by(versions.c.ordinal.desc()).limit(1)


def select_newest(limit: int) -> Select[Any]:
    """Return the query for the most recently written versions of all vaults."""
    return _SELECT.order_by(versions.c.ordinal.desc()).limit(limit)


def select_latest(vault: str, *, after: str, deleted: bool) -> Select[Any]:
    """Return the query for the latest version of each secret, or deleted secret, after the name `after`."""
    last = select(func.max(versions.c.ordinal)).where(versions.c.vault == vault)
    state = secrets.c.deleted.is_not(None) if deleted else secrets.c.deleted.is_(None)
    return (
        _SELECT.where(secrets.c.vault == vault, secrets.c.key > after.lower(), state)
        .where(versions.c.ordinal.in_(last.group_by(versions.c.key)))
        .order_by(secrets.c.key)
    )


def select_versions(vault: str, name: str, *, after: int = 0) -> Select[Any]:
    """Return the query for the versions of a secret that is not deleted, oldest first."""
    return _SELECT.where(
        secrets.c.vault == vault,
        secrets.c.key == name.lower(),
        secrets.c.deleted.is_(None),
        versions.c.ordinal > after,
    ).order_by(versions.c.ordinal)


def row_context(row: Row[Any]) -> str:
    """Return the context that a row's value is sealed with."""
    return value_context(row.vault, row.key, row.version)


def value_context(vault: str, key: str, version: str) -> str:
    """Return the context that a value is sealed with. A value opens with its own context only."""
    return f"{vault}/{key}/{version}"


@row_decoder(_SELECT, key=row_context, table="secret_versions")
def to_version(row: Row[Any], unseal: Callable[[bytes, str], Secret]) -> ObjectVersion:
    """Decode a row. `unseal` opens its value. Raises CorruptRowError."""
    return ObjectVersion(
        collection=row.vault,
        name=row.name,
        version=row.version,
        ordinal=row.ordinal,
        value=unseal(row.sealed, row_context(row)),
        content_type=row.content_type,
        tags=dict(json.loads(row.tags)),
        enabled=bool(row.enabled),  # a prepared statement returns 0 or 1 from SQLite
        not_before=row.not_before,
        expires=row.expires,
        created=row.created,
        updated=row.updated,
        document=_load(row.document, kind_of(row.vault).document),
        settings=_load_settings(row),
        deleted=row.deleted,
        purge_on=row.purge_on,
    )


@row_decoder(secrets, key=lambda row: f"{row.vault}/{row.key}")
def to_state(row: Row[Any]) -> ObjectState:
    """Decode the row of an object. Raises CorruptRowError."""
    return ObjectState(
        collection=row.vault,
        name=row.name,
        settings=_load_settings(row),
        next_action=row.next_action,
        deleted=row.deleted,
        purge_on=row.purge_on,
    )


def _load_settings(row: Row[Any]) -> dict[str, Any]:
    """Return the settings of an object; also a row of a version has them from the row of the object."""
    members = kind_of(row.vault).settings
    if row.settings is None and not members:
        return {}
    with decoding_row(secrets.name, f"{row.vault}/{row.key}"):
        return _load(row.settings, members)


def _load(text: str | None, members: Sequence[tuple[str, type]]) -> dict[str, Any]:
    found = {} if text is None else dict(json.loads(text))
    for name, kind in members:
        if not isinstance(found[name], kind):
            raise TypeError(f"{name}: want {kind.__name__}")
    return found


def dump(document: Mapping[str, Any]) -> str | None:
    """Return the column of a document. The same document has the same text."""
    return json.dumps(dict(document), sort_keys=True) if document else None


def columns(attributes: ObjectAttributes | ObjectVersion) -> dict[str, Any]:
    """Return the columns of a version's attributes."""
    return {
        "content_type": attributes.content_type,
        "tags": json.dumps(dict(attributes.tags)),
        "enabled": attributes.enabled,
        "not_before": attributes.not_before,
        "expires": attributes.expires,
        "document": dump(attributes.document),
    }
