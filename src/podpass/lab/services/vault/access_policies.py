"""Parse, show and change the access policies of vaults. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from podpass.directory.model import AccessPolicy
from podpass.directory.resource_manager import errors, wire
from podpass.directory.resource_manager.model import OperationContext
from podpass.guids import is_lower_guid

MAX_POLICIES = 1024
_COMMON = ("all", "get", "list", "delete", "backup", "restore", "recover", "purge")
# Source: https://learn.microsoft.com/rest/api/keyvault/keyvault/vaults/create-or-update, Permissions
PERMISSIONS: Mapping[str, tuple[str, ...]] = {
    "secrets": (*_COMMON, "set"),
    "keys": (
        *_COMMON,
        *("create", "import", "update", "release", "rotate"),
        *("getrotationpolicy", "setrotationpolicy"),
        *("encrypt", "decrypt", "sign", "verify", "wrapkey", "unwrapkey"),
    ),
    "certificates": (
        *_COMMON,
        *("create", "import", "update", "managecontacts", "manageissuers"),
        *("getissuers", "listissuers", "setissuers", "deleteissuers"),
    ),
    "storage": (
        *_COMMON,
        *("set", "update", "regeneratekey", "getsas", "listsas", "setsas", "deletesas"),
    ),
}
_OTHER_TYPES = ("keys", "certificates", "storage")


def to_json(policy: AccessPolicy) -> dict[str, Any]:
    """Return a policy as a response body."""
    written: dict[str, Any] = {"tenantId": policy.tenant_id, "objectId": policy.object_id}
    if policy.application_id is not None:
        written["applicationId"] = policy.application_id
    permissions: dict[str, Any] = {name: policy.document.get(name, []) for name in _OTHER_TYPES}
    permissions["secrets"] = list(policy.secrets)
    return {**written, "permissions": permissions}


def parse(
    context: OperationContext, given: Sequence[Mapping[str, Any]]
) -> tuple[AccessPolicy, ...]:
    """Parse the policies of a vault. Raises ManagerError."""
    if len(given) > MAX_POLICIES:
        raise errors.bad_request(
            "BadRequest", f"A vault has at most {MAX_POLICIES} access policies."
        )
    found = tuple(_parse_policy(context, one) for one in given)
    if len({_key(one) for one in found}) < len(found):
        raise errors.bad_request("BadRequest", "Two access policies have the same principal.")
    return found


def _parse_policy(context: OperationContext, given: Mapping[str, Any]) -> AccessPolicy:
    tenant = (wire.text(given, "tenantId") or "").lower()
    if tenant != context.subscription.tenant_id:
        raise errors.bad_request(
            "BadRequest", "The 'tenantId' of an access policy must be the tenant of the vault."
        )
    permissions = wire.object_member(given, "permissions")
    return AccessPolicy(
        object_id=_parse_guid(given, "objectId"),
        tenant_id=tenant,
        application_id=_parse_guid(given, "applicationId") if given.get("applicationId") else None,
        secrets=_parse_permissions(permissions, "secrets"),
        document={name: list(_parse_permissions(permissions, name)) for name in _OTHER_TYPES},
    )


def _parse_guid(given: Mapping[str, Any], name: str) -> str:
    found = (wire.text(given, name) or "").lower()
    if not is_lower_guid(found):
        raise errors.bad_request("BadRequest", f"An access policy's '{name}' is not a GUID.")
    return found


def _parse_permissions(given: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(one.lower() for one in wire.text_list(given, name) or ()))
    known = PERMISSIONS[name]
    if unknown := [one for one in found if one not in known]:
        text = f"'{unknown[0][:32]}' is not a permission for {name}; use {', '.join(known)}."
        raise errors.bad_request("BadRequest", text)
    return found


def apply_change(
    old: Sequence[AccessPolicy], kind: str, given: Sequence[AccessPolicy]
) -> tuple[AccessPolicy, ...]:
    """Add permissions to policies, replace policies, or remove permissions from them."""
    policies = {_key(one): one for one in old}
    for one in given:
        was = policies.get(_key(one))
        if kind == "replace" or (kind == "add" and was is None):
            policies[_key(one)] = one
        elif kind == "add" and was is not None:
            policies[_key(one)] = _merge(was, one)
        elif was is not None:
            left = _subtract(was, one)
            policies[_key(one)] = left
            if not left.secrets and not any(left.document.values()):
                del policies[_key(one)]
    return tuple(policies.values())


def _key(policy: AccessPolicy) -> tuple[str, str]:
    return policy.object_id, policy.application_id or ""


def _merge(was: AccessPolicy, more: AccessPolicy) -> AccessPolicy:
    document = {
        name: list(dict.fromkeys([*was.document.get(name, []), *more.document.get(name, [])]))
        for name in _OTHER_TYPES
    }
    secrets = tuple(dict.fromkeys((*was.secrets, *more.secrets)))
    return replace(was, secrets=secrets, document=document)


def _subtract(was: AccessPolicy, less: AccessPolicy) -> AccessPolicy:
    document = {
        name: [one for one in was.document.get(name, []) if one not in less.document.get(name, [])]
        for name in _OTHER_TYPES
    }
    secrets = tuple(one for one in was.secrets if one not in less.secrets)
    return replace(was, secrets=secrets, document=document)
