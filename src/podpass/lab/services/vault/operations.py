"""The operations of a vault, one function each, and their routes.

`app` authenticates and authorizes the caller before it runs an operation.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podpass.directory import roles
from podpass.directory.model import Vault
from podpass.lab.services.vault import errors, wire
from podpass.lab.services.vault.model import (
    AuditContext,
    SecretVersion,
    backup_owner,
    recovery_policy,
    vault_key,
)
from podpass.lab.services.vault.store import SecretStore

VaultResponse = tuple[int, dict[str, Any] | None]

# Enough for a value of 25 KB with every byte escaped, and its attributes.
MAX_BODY_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRequest:
    """An authorized request: `name` and `version` may be empty, `base` is the origin in secret IDs."""

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
    def key(self) -> str:
        """Return the key of the vault in the store."""
        return vault_key(self.vault)

    @property
    def audit(self) -> AuditContext:
        """Return the context of the audit entry."""
        return AuditContext(action=self.action, base=self.base, now=self.now)

    @property
    def context(self) -> wire.VaultContext:
        """Return the values of the vault in responses."""
        return wire.VaultContext(base=self.base, recovery=recovery_policy(self.vault))


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation, with the data action or the access policy permission that it needs.

    `changes` is set for operations with an audit entry.
    """

    title: str
    action: str
    permission: str
    run: Callable[[SecretRequest], Awaitable[VaultResponse]]
    changes: bool = False
    max_body: int = MAX_BODY_BYTES


def _require_found(request: SecretRequest, secret: SecretVersion | None) -> SecretVersion:
    if secret is None:
        raise errors.not_found(
            f"{request.name}/{request.version}" if request.version else request.name
        )
    return secret


async def _get(request: SecretRequest) -> VaultResponse:
    secret = _require_found(
        request, await request.store.get(request.key, request.name, request.version)
    )
    # Only `enabled` is checked: `exp` and `nbf` are information for the reader. Azure returns 200 after `exp`
    # (Azure/AzureKeyVault issue 19), and its documentation says that `get` works outside of both.
    if not secret.enabled:
        raise errors.SecretDisabled("This version of the secret is disabled. Enable it to read it.")
    return 200, wire.bundle(request.context, secret)


async def _set(request: SecretRequest) -> VaultResponse:
    value, wanted = wire.parse_set(request.body)
    await request.store.purge_expired(request.now)
    secret = await request.store.set(
        request.key, request.name, value, wanted, request.now, request.audit
    )
    return 200, wire.bundle(request.context, secret)


async def _update(request: SecretRequest) -> VaultResponse:
    wanted = wire.parse_update(request.body)
    changed = await request.store.update(
        request.key, request.name, request.version, wanted, request.now, request.audit
    )
    return 200, wire.item(request.context, _require_found(request, changed))


async def _delete(request: SecretRequest) -> VaultResponse:
    recovery = recovery_policy(request.vault)
    deleted = await request.store.delete(
        request.key, request.name, request.now, recovery, request.audit
    )
    return 200, wire.deleted_item(request.context, _require_found(request, deleted))


async def _list(request: SecretRequest) -> VaultResponse:
    limit, after = wire.parse_page(request.query)
    found = await request.store.page(request.key, after=after, limit=limit + 1)
    items = [wire.item(request.context, secret, version=False) for secret in found[:limit]]
    last = found[limit - 1].name if len(found) > limit else None
    return 200, wire.page(items, f"{request.base}/secrets", request.query, last)


async def _list_deleted(request: SecretRequest) -> VaultResponse:
    limit, after = wire.parse_page(request.query)
    await request.store.purge_expired(request.now)
    found = await request.store.page(request.key, after=after, limit=limit + 1, deleted=True)
    items = [wire.deleted_item(request.context, secret, version=False) for secret in found[:limit]]
    last = found[limit - 1].name if len(found) > limit else None
    return 200, wire.page(items, f"{request.base}/deletedsecrets", request.query, last)


async def _versions(request: SecretRequest) -> VaultResponse:
    """List versions; the list is empty, and not an error, for a secret that does not exist."""
    limit, after = wire.parse_page(request.query)
    if after and not after.isdigit():
        raise errors.BadParameter("The $skiptoken is invalid.")
    ordinal = int(after[:18] or 0)
    found = await request.store.page_versions(
        request.key, request.name, after=ordinal, limit=limit + 1
    )
    items = [wire.item(request.context, secret) for secret in found[:limit]]
    last = str(found[limit - 1].ordinal) if len(found) > limit else None
    address = f"{request.base}/secrets/{found[0].name if found else request.name}/versions"
    return 200, wire.page(items, address, request.query, last)


async def _get_deleted(request: SecretRequest) -> VaultResponse:
    await request.store.purge_expired(request.now)
    deleted = _require_found(request, await request.store.get_deleted(request.key, request.name))
    return 200, wire.deleted_item(request.context, deleted)


async def _recover(request: SecretRequest) -> VaultResponse:
    await request.store.purge_expired(request.now)
    recovered = _require_found(
        request, await request.store.recover(request.key, request.name, request.audit)
    )
    return 200, wire.item(request.context, recovered)


async def _purge(request: SecretRequest) -> VaultResponse:
    await request.store.purge_expired(request.now)
    if request.vault.purge_protection:
        _require_found(request, await request.store.get_deleted(request.key, request.name))
        raise errors.purge_protected(request.vault)
    if not await request.store.purge(request.key, request.name, request.audit):
        raise errors.not_found(request.name)
    return 204, None


async def _backup(request: SecretRequest) -> VaultResponse:
    blob = await request.store.backup(request.key, request.name, backup_owner(request.vault))
    if blob is None:
        raise errors.not_found(request.name)
    return 200, wire.backup(blob)


async def _restore(request: SecretRequest) -> VaultResponse:
    blob = wire.parse_restore(request.body)
    await request.store.purge_expired(request.now)
    restored = await request.store.restore(
        request.key, blob, backup_owner(request.vault), request.audit
    )
    return 200, wire.item(request.context, restored)


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
# By path, in which `*` is a name and `+` a version, then by method.
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
_KEYWORDS = frozenset({"versions", "backup", "recover"})
_UNSUPPORTED = frozenset(
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
    """Return the operation of a request, with the secret's name and version if the path has them.

    `segments` are the decoded segments of the path, without empty ones at the end. Raises BadParameter for a
    name that no secret can have, NotSupported, PathNotFound, MethodNotAllowed.
    """
    head = segments[0].lower() if segments else ""
    if head in _UNSUPPORTED:
        raise errors.NotSupported(
            f"podpass's vaults contain only secrets; /{head} is not supported."
        )
    # A secret may have the name `restore`. Only a POST request is the restore operation, because no secret
    # supports POST.
    if (method, head, *segments[1:]) == ("POST", *_RESTORE):
        return PATHS[_RESTORE][method], "", ""
    name = wire.check_name(segments[1]) if len(segments) > 1 else ""
    third = segments[2] if len(segments) > 2 else ""
    version = third if third not in ("", *_KEYWORDS) else ""
    shape = (head, *("*" for _ in segments[1:2]), *("+" if version else s for s in segments[2:3]))
    methods = PATHS.get(shape) if len(segments) <= 3 else None
    if methods is None:
        raise errors.PathNotFound("Key Vault has no such path.")
    if method not in methods:
        raise errors.MethodNotAllowed(
            f"The path does not support {method}.", allowed=sorted(methods)
        )
    if version and not wire.is_version(version):
        raise errors.BadParameter("A secret's version must be 32 hexadecimal digits in lower case.")
    return methods[method], name, version
