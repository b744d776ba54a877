"""What a vault does with secrets, one function an operation, and the table that finds it.

Whoever calls has been admitted already; roles are checked by `app` before an operation runs.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podpass.directory import roles
from podpass.directory.model import Vault
from podpass.resource import errors, wire
from podpass.resource.model import SecretVersion, Told, owner_of, recovery_of, shelf_of
from podpass.resource.store import SecretStore

Answer = tuple[int, dict[str, Any] | None]

# A value of 25 KB, every byte of it escaped, and what describes it.
MAX_BODY_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One admitted request: `name` and `version` may be empty, `base` begins the ids of secrets."""

    store: SecretStore
    vault: Vault
    base: str
    name: str
    version: str
    query: Mapping[str, str]
    body: bytes
    now: float
    action: str

    @property
    def shelf(self) -> str:
        return shelf_of(self.vault)

    @property
    def told(self) -> Told:
        return Told(action=self.action, base=self.base, now=self.now)

    @property
    def site(self) -> wire.Site:
        return wire.Site(base=self.base, recovery=recovery_of(self.vault))


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation: the data action it needs, or the permission in an access policy, and what it does.

    Shapes:  `changes` for one that the audit tells of.
    """

    title: str
    action: str
    permission: str
    run: Callable[[Call], Awaitable[Answer]]
    changes: bool = False
    max_body: int = MAX_BODY_BYTES


def _found(call: Call, secret: SecretVersion | None) -> SecretVersion:
    if secret is None:
        raise errors.not_found(f"{call.name}/{call.version}" if call.version else call.name)
    return secret


async def _get(call: Call) -> Answer:
    secret = _found(call, await call.store.get(call.shelf, call.name, call.version))
    # Only that: `exp` and `nbf` are for whoever reads. Users report 200 past `exp` (Azure/AzureKeyVault
    # issue 19), and the documentation says that `get` works outside of both.
    if not secret.enabled:
        raise errors.SecretDisabled(
            "This version of the secret is switched off: enable it to read it."
        )
    return 200, wire.bundle(call.site, secret)


async def _set(call: Call) -> Answer:
    value, wanted = wire.read_set(call.body)
    await call.store.expire(call.now)
    secret = await call.store.set(call.shelf, call.name, value, wanted, call.now, call.told)
    return 200, wire.bundle(call.site, secret)


async def _update(call: Call) -> Answer:
    wanted = wire.read_update(call.body)
    changed = await call.store.update(
        call.shelf, call.name, call.version, wanted, call.now, call.told
    )
    return 200, wire.item(call.site, _found(call, changed))


async def _delete(call: Call) -> Answer:
    recovery = recovery_of(call.vault)
    gone = await call.store.delete(call.shelf, call.name, call.now, recovery, call.told)
    return 200, wire.deleted_item(call.site, _found(call, gone))


async def _list(call: Call) -> Answer:
    limit, after = wire.read_page(call.query)
    found = await call.store.page(call.shelf, after=after, limit=limit + 1)
    items = [wire.item(call.site, secret, version=False) for secret in found[:limit]]
    last = found[limit - 1].name if len(found) > limit else None
    return 200, wire.page(items, f"{call.base}/secrets", call.query, last)


async def _list_deleted(call: Call) -> Answer:
    limit, after = wire.read_page(call.query)
    await call.store.expire(call.now)
    found = await call.store.page(call.shelf, after=after, limit=limit + 1, deleted=True)
    items = [wire.deleted_item(call.site, secret, version=False) for secret in found[:limit]]
    last = found[limit - 1].name if len(found) > limit else None
    return 200, wire.page(items, f"{call.base}/deletedsecrets", call.query, last)


async def _versions(call: Call) -> Answer:
    limit, after = wire.read_page(call.query)
    if after and not after.isdigit():
        raise errors.BadParameter("The $skiptoken is not one of ours.")
    begin = int(after[:18] or 0)
    found = await call.store.page_versions(call.shelf, call.name, after=begin, limit=limit + 1)
    if not found and not after:
        raise errors.not_found(call.name)
    items = [wire.item(call.site, secret) for secret in found[:limit]]
    last = str(found[limit - 1].ordinal) if len(found) > limit else None
    address = f"{call.base}/secrets/{found[0].name if found else call.name}/versions"
    return 200, wire.page(items, address, call.query, last)


async def _get_deleted(call: Call) -> Answer:
    await call.store.expire(call.now)
    gone = _found(call, await call.store.get_deleted(call.shelf, call.name))
    return 200, wire.deleted_item(call.site, gone)


async def _recover(call: Call) -> Answer:
    await call.store.expire(call.now)
    back = _found(call, await call.store.recover(call.shelf, call.name, call.told))
    return 200, wire.item(call.site, back)


async def _purge(call: Call) -> Answer:
    await call.store.expire(call.now)
    if call.vault.purge_protection:
        _found(call, await call.store.get_deleted(call.shelf, call.name))
        raise errors.purge_protected(call.vault)
    if not await call.store.purge(call.shelf, call.name, call.told):
        raise errors.not_found(call.name)
    return 204, None


async def _backup(call: Call) -> Answer:
    blob = await call.store.backup(call.shelf, call.name, owner_of(call.vault))
    if blob is None:
        raise errors.not_found(call.name)
    return 200, wire.backup(blob)


async def _restore(call: Call) -> Answer:
    blob = wire.read_restore(call.body)
    await call.store.expire(call.now)
    back = await call.store.restore(call.shelf, blob, owner_of(call.vault), call.told)
    return 200, wire.item(call.site, back)


GET = Operation(title="get secret", action=roles.GET_SECRET, permission="get", run=_get)
SET = Operation(
    title="set secret", action=roles.SET_SECRET, permission="set", run=_set, changes=True
)
UPDATE = Operation(
    title="update secret", action=roles.UPDATE_SECRET, permission="set", run=_update, changes=True
)
DELETE = Operation(
    title="delete secret",
    action=roles.DELETE_SECRET,
    permission="delete",
    run=_delete,
    changes=True,
)
LIST = Operation(title="list secrets", action=roles.READ_METADATA, permission="list", run=_list)
VERSIONS = Operation(
    title="list versions of secret", action=roles.READ_METADATA, permission="list", run=_versions
)
LIST_DELETED = Operation(
    title="list deleted secrets", action=roles.READ_METADATA, permission="list", run=_list_deleted
)
GET_DELETED = Operation(
    title="get deleted secret", action=roles.READ_METADATA, permission="get", run=_get_deleted
)
RECOVER = Operation(
    title="recover secret",
    action=roles.RECOVER_SECRET,
    permission="recover",
    run=_recover,
    changes=True,
)
PURGE = Operation(
    title="purge secret", action=roles.PURGE_SECRET, permission="purge", run=_purge, changes=True
)
BACKUP = Operation(
    title="back up secret", action=roles.BACKUP_SECRET, permission="backup", run=_backup
)
RESTORE = Operation(
    title="restore secret",
    action=roles.RESTORE_SECRET,
    permission="restore",
    run=_restore,
    changes=True,
    max_body=wire.MAX_BACKUP_BODY,
)

_RESTORE = ("secrets", "restore")
# By path, where `*` is a name and `+` a version; then by method.
PATHS: dict[tuple[str, ...], dict[str, Operation]] = {
    ("secrets",): {"GET": LIST},
    ("secrets", "*"): {"GET": GET, "PUT": SET, "PATCH": UPDATE, "DELETE": DELETE},
    _RESTORE: {"POST": RESTORE},
    ("secrets", "*", "versions"): {"GET": VERSIONS},
    ("secrets", "*", "backup"): {"POST": BACKUP},
    ("secrets", "*", "+"): {"GET": GET, "PATCH": UPDATE},
    ("deletedsecrets",): {"GET": LIST_DELETED},
    ("deletedsecrets", "*"): {"GET": GET_DELETED, "DELETE": PURGE},
    ("deletedsecrets", "*", "recover"): {"POST": RECOVER},
}
_WORDS = frozenset({"versions", "backup", "recover"})
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
    if head in _NOT_HERE:
        raise errors.NotThere(f"podpass's vaults hold secrets only: /{head} is not in podpass.")
    # A secret may be called `restore`; only a POST, which no secret takes, means the other thing.
    if (method, head, *segments[1:]) == ("POST", *_RESTORE):
        return PATHS[_RESTORE][method], "", ""
    name = wire.check_name(segments[1]) if len(segments) > 1 else ""
    third = segments[2] if len(segments) > 2 else ""
    version = third if third not in ("", *_WORDS) else ""
    shape = (head, *("*" for _ in segments[1:2]), *("+" if version else s for s in segments[2:3]))
    methods = PATHS.get(shape) if len(segments) <= 3 else None
    if methods is None:
        raise errors.PathNotFound("There is nothing at this path of a key vault.")
    if method not in methods:
        raise errors.MethodNotAllowed(f"{method} is not allowed here.", allowed=sorted(methods))
    if version and not wire.is_version(version):
        raise errors.BadParameter("A secret's version is 32 hexadecimal digits in lower case.")
    return methods[method], name, version
