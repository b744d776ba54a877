"""Between rows of the tables and the shapes of the model: the statements that read, and what is written."""

import json
from typing import Any

from sqlalchemy import Row, Select, func, select

from podpass.crypto.secret import Secret
from podpass.database import check_types, shaping
from podpass.resource.model import SecretVersion, Wanted
from podpass.resource.schema import secrets, versions

_BOTH = secrets.join(versions)
SELECT = select(secrets.c.name, secrets.c.deleted, secrets.c.purge_on, versions).select_from(_BOTH)


def one(vault: str, name: str, version: str = "") -> Select[Any]:
    """Select one version, or the latest, of a secret, deleted or not."""
    query = SELECT.where(secrets.c.vault == vault, secrets.c.key == name.lower())
    if version:
        query = query.where(versions.c.version == version)
    return query.order_by(versions.c.ordinal.desc()).limit(1)


def newest(limit: int) -> Select[Any]:
    """Select the versions that were written last, in whatever vault."""
    return SELECT.order_by(versions.c.ordinal.desc()).limit(limit)


def latest(vault: str, *, after: str, deleted: bool) -> Select[Any]:
    """Select the latest version of each secret whose name comes after `after`, deleted ones or the others."""
    last = select(func.max(versions.c.ordinal)).where(versions.c.vault == vault)
    state = secrets.c.deleted.is_not(None) if deleted else secrets.c.deleted.is_(None)
    return (
        SELECT.where(secrets.c.vault == vault, secrets.c.key > after.lower(), state)
        .where(versions.c.ordinal.in_(last.group_by(versions.c.key)))
        .order_by(secrets.c.key)
    )


def of_secret(vault: str, name: str, *, after: int = 0) -> Select[Any]:
    """Select the versions of a secret that is not deleted, oldest first."""
    return SELECT.where(
        secrets.c.vault == vault,
        secrets.c.key == name.lower(),
        secrets.c.deleted.is_(None),
        versions.c.ordinal > after,
    ).order_by(versions.c.ordinal)


def place(row: Row[Any]) -> str:
    """Name the place that a row's value is sealed for."""
    return sealed_for(row.vault, row.key, row.version)


def sealed_for(vault: str, key: str, version: str) -> str:
    """Name the place of a value; no value opens at another one."""
    return f"{vault}/{key}/{version}"


def to_version(row: Row[Any], value: Secret) -> SecretVersion:
    """Read a row whose value has been opened."""
    with shaping("secret_versions", place(row)):
        check_types(row, SELECT)
        return SecretVersion(
            vault=row.vault,
            name=row.name,
            version=row.version,
            ordinal=row.ordinal,
            value=value,
            content_type=row.content_type,
            tags=dict(json.loads(row.tags)),
            enabled=row.enabled,
            not_before=row.not_before,
            expires=row.expires,
            created=row.created,
            updated=row.updated,
            deleted=row.deleted,
            purge_on=row.purge_on,
        )


def columns(wanted: Wanted | SecretVersion) -> dict[str, Any]:
    """Write what describes a version."""
    return {
        "content_type": wanted.content_type,
        "tags": json.dumps(dict(wanted.tags)),
        "enabled": wanted.enabled,
        "not_before": wanted.not_before,
        "expires": wanted.expires,
    }
