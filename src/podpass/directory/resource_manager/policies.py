"""Access policies of vaults read into our shapes, written from them, and changed one by one. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from podpass.directory.model import AccessPolicy
from podpass.directory.resource_manager import refusals, wire
from podpass.directory.resource_manager.model import Call
from podpass.guids import is_lower_guid

MAX_POLICIES = 1024
SECRETS = (
    "all",
    "get",
    "list",
    "set",
    "delete",
    "backup",
    "restore",
    "recover",
    "purge",
)
_OTHERS = ("keys", "certificates", "storage")


def write(policy: AccessPolicy) -> dict[str, Any]:
    """Write a policy as clients read it."""
    written: dict[str, Any] = {"tenantId": policy.tenant_id, "objectId": policy.object_id}
    if policy.application_id is not None:
        written["applicationId"] = policy.application_id
    permissions: dict[str, Any] = {name: policy.document.get(name, []) for name in _OTHERS}
    permissions["secrets"] = list(policy.secrets)
    return {**written, "permissions": permissions}


def read(call: Call, given: Sequence[Mapping[str, Any]]) -> tuple[AccessPolicy, ...]:
    """Read the policies of a vault.

    Errors:  ManagerRefusal.
    """
    if len(given) > MAX_POLICIES:
        raise refusals.bad("BadRequest", f"A vault has at most {MAX_POLICIES} access policies.")
    found = tuple(_read(call, one) for one in given)
    if len({_key(one) for one in found}) < len(found):
        raise refusals.bad("BadRequest", "Two access policies are for the same principal.")
    return found


def _read(call: Call, given: Mapping[str, Any]) -> AccessPolicy:
    tenant = (wire.text(given, "tenantId") or "").lower()
    if tenant != call.place.tenant_id:
        raise refusals.bad("BadRequest", "An access policy's 'tenantId' is not that of the vault.")
    permissions = wire.inner(given, "permissions")
    return AccessPolicy(
        object_id=_guid(given, "objectId"),
        tenant_id=tenant,
        application_id=_guid(given, "applicationId") if given.get("applicationId") else None,
        secrets=_permissions(permissions, "secrets", SECRETS),
        document={name: list(_permissions(permissions, name)) for name in _OTHERS},
    )


def _guid(given: Mapping[str, Any], name: str) -> str:
    found = (wire.text(given, name) or "").lower()
    if not is_lower_guid(found):
        raise refusals.bad("BadRequest", f"An access policy's '{name}' is not a GUID.")
    return found


def _permissions(
    given: Mapping[str, Any], name: str, known: Sequence[str] | None = None
) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(one.lower() for one in wire.texts(given, name) or ()))
    if len(found) > 32 or any(len(one) > 32 for one in found):
        raise refusals.bad("BadRequest", f"The permissions on {name} are too many or too long.")
    strange = [one for one in found if known is not None and one not in known]
    if strange:
        text = f"'{strange[0]}' is no permission on {name}; want {', '.join(known or ())}."
        raise refusals.bad("BadRequest", text)
    return found


def changed(
    old: Sequence[AccessPolicy], kind: str, given: Sequence[AccessPolicy]
) -> tuple[AccessPolicy, ...]:
    """Add permissions to policies, replace policies, or take permissions out of them."""
    kept = {_key(one): one for one in old}
    for one in given:
        was = kept.get(_key(one))
        if kind == "replace" or (kind == "add" and was is None):
            kept[_key(one)] = one
        elif kind == "add" and was is not None:
            kept[_key(one)] = _merged(was, one)
        elif was is not None:
            left = _reduced(was, one)
            kept[_key(one)] = left
            if not left.secrets and not any(left.document.values()):
                del kept[_key(one)]
    return tuple(kept.values())


def _key(policy: AccessPolicy) -> tuple[str, str]:
    return policy.object_id, policy.application_id or ""


def _merged(was: AccessPolicy, more: AccessPolicy) -> AccessPolicy:
    document = {
        name: list(dict.fromkeys([*was.document.get(name, []), *more.document.get(name, [])]))
        for name in _OTHERS
    }
    secrets = tuple(dict.fromkeys((*was.secrets, *more.secrets)))
    return replace(was, secrets=secrets, document=document)


def _reduced(was: AccessPolicy, less: AccessPolicy) -> AccessPolicy:
    document = {
        name: [one for one in was.document.get(name, []) if one not in less.document.get(name, [])]
        for name in _OTHERS
    }
    secrets = tuple(one for one in was.secrets if one not in less.secrets)
    return replace(was, secrets=secrets, document=document)
