"""What a vault does with secrets, one function an operation, and the table that finds it.

Whoever calls has been admitted already; roles are checked by `app` before an operation runs.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podpass.directory import roles
from podpass.resource import refusals, wire
from podpass.resource.model import SecretVersion
from podpass.resource.store import SecretStore

Answer = tuple[int, dict[str, Any] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One admitted request: `name` and `version` may be empty, `base` begins the ids of secrets."""

    store: SecretStore
    vault: str
    base: str
    name: str
    version: str
    query: Mapping[str, str]
    body: bytes
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation: the data action it needs, and what it does."""

    title: str
    action: str
    run: Callable[[Call], Awaitable[Answer]]


def _found(call: Call, secret: SecretVersion | None) -> SecretVersion:
    if secret is None:
        raise refusals.not_found(f"{call.name}/{call.version}" if call.version else call.name)
    return secret


async def _get(call: Call) -> Answer:
    secret = _found(call, await call.store.get(call.vault, call.name, call.version))
    if not secret.enabled:
        raise refusals.SecretDisabled("Operation get is not allowed on a disabled secret.")
    return 200, wire.bundle(call.base, secret)


async def _set(call: Call) -> Answer:
    value, wanted = wire.read_set(call.body)
    secret = await call.store.set(call.vault, call.name, value, wanted, call.now)
    return 200, wire.bundle(call.base, secret)


async def _update(call: Call) -> Answer:
    wanted = wire.read_update(call.body)
    changed = await call.store.update(call.vault, call.name, call.version, wanted, call.now)
    return 200, wire.item(call.base, _found(call, changed))


async def _delete(call: Call) -> Answer:
    gone = _found(call, await call.store.delete(call.vault, call.name, call.now))
    return 200, wire.deleted_bundle(call.base, gone)


async def _list(call: Call) -> Answer:
    limit, after = wire.read_page(call.query)
    found = await call.store.page(call.vault, after=after, limit=limit + 1)
    items = [wire.item(call.base, secret, version=False) for secret in found[:limit]]
    last = found[limit - 1].name if len(found) > limit else None
    return 200, wire.page(items, f"{call.base}/secrets", call.query, last)


async def _versions(call: Call) -> Answer:
    limit, after = wire.read_page(call.query)
    if after and not after.isdigit():
        raise refusals.BadParameter("The $skiptoken is not one of ours.")
    begin = int(after[:18] or 0)
    found = await call.store.page_versions(call.vault, call.name, after=begin, limit=limit + 1)
    if not found and not after:
        raise refusals.not_found(call.name)
    items = [wire.item(call.base, secret) for secret in found[:limit]]
    last = str(found[limit - 1].ordinal) if len(found) > limit else None
    address = f"{call.base}/secrets/{found[0].name if found else call.name}/versions"
    return 200, wire.page(items, address, call.query, last)


async def _get_deleted(call: Call) -> Answer:
    gone = _found(call, await call.store.get_deleted(call.vault, call.name))
    return 200, wire.deleted_bundle(call.base, gone)


async def _recover(call: Call) -> Answer:
    back = _found(call, await call.store.recover(call.vault, call.name))
    return 200, wire.item(call.base, back)


async def _purge(call: Call) -> Answer:
    if not await call.store.purge(call.vault, call.name):
        raise refusals.not_found(call.name)
    return 204, None


GET = Operation(title="get secret", action=roles.GET_SECRET, run=_get)
SET = Operation(title="set secret", action=roles.SET_SECRET, run=_set)
UPDATE = Operation(title="update secret", action=roles.UPDATE_SECRET, run=_update)
DELETE = Operation(title="delete secret", action=roles.DELETE_SECRET, run=_delete)
LIST = Operation(title="list secrets", action=roles.READ_METADATA, run=_list)
VERSIONS = Operation(title="list versions of secret", action=roles.READ_METADATA, run=_versions)
GET_DELETED = Operation(title="get deleted secret", action=roles.READ_METADATA, run=_get_deleted)
RECOVER = Operation(title="recover secret", action=roles.RECOVER_SECRET, run=_recover)
PURGE = Operation(title="purge secret", action=roles.PURGE_SECRET, run=_purge)

# By path, where `*` is a name and `+` a version; then by method.
_PATHS: dict[tuple[str, ...], dict[str, Operation]] = {
    ("secrets",): {"GET": LIST},
    ("secrets", "*"): {"GET": GET, "PUT": SET, "PATCH": UPDATE, "DELETE": DELETE},
    ("secrets", "*", "versions"): {"GET": VERSIONS},
    ("secrets", "*", "+"): {"GET": GET, "PATCH": UPDATE},
    ("deletedsecrets", "*"): {"GET": GET_DELETED, "DELETE": PURGE},
    ("deletedsecrets", "*", "recover"): {"POST": RECOVER},
}
_NOT_HERE = frozenset(
    {
        "keys",
        "deletedkeys",
        "certificates",
        "deletedcertificates",
        "storage",
        "deletedstorage",
        "security",
        "backup",
        "restore",
        "rng",
    }
)


def route(method: str, segments: Sequence[str]) -> tuple[Operation, str, str]:
    """Find the operation of a request, with the secret's name and version if the path has them.

    Shapes:  `segments` are those of the path, decoded, without empty ones at the end.
    Errors:  BadParameter for a name no secret can have, NotThere, PathNotFound, MethodNotAllowed.
    """
    head = segments[0].lower() if segments else ""
    if head in _NOT_HERE or tuple(segments[1:]) == ("backup",) or segments[2:] == ["backup"]:
        raise refusals.NotThere(f"podpass's vaults hold secrets only: /{head} is not in podpass.")
    if tuple(segments) in (("deletedsecrets",), ("secrets", "restore")):
        raise refusals.NotThere(
            "Listing deleted secrets and restoring backups is not in podpass yet."
        )
    name = wire.check_name(segments[1]) if len(segments) > 1 else ""
    third = segments[2] if len(segments) > 2 else ""
    version = third if third not in ("", "versions", "recover") else ""
    shape = (head, *("*" for _ in segments[1:2]), *("+" if version else s for s in segments[2:3]))
    methods = _PATHS.get(shape) if len(segments) <= 3 else None
    if methods is None:
        raise refusals.PathNotFound("There is nothing at this path of a key vault.")
    if method not in methods:
        raise refusals.MethodNotAllowed(f"{method} is not allowed here.", allowed=sorted(methods))
    if version and not wire.is_version(version):
        raise refusals.BadParameter("The request URI contains an invalid version.")
    return methods[method], name, version
