"""Which object a request names, and whether its caller may touch it."""

import re
from collections.abc import Mapping
from typing import Any

from podpass.directory import builtin_principals
from podpass.directory.access import Caller
from podpass.directory.graph.calls import Call
from podpass.directory.graph.paths import Key
from podpass.directory.graph.permissions import OWNED_BY, Grant
from podpass.directory.graph.refusals import Denied, Malformed, missing
from podpass.directory.model import Identity, IdentityKind

_REFERENCE = re.compile(
    r"(?:https://[^/?#]+)?/(?:v1\.0|beta)/[A-Za-z]+(?:/|\(')([0-9a-fA-F-]{36})(?:'\))?"
)


async def application(call: Call) -> Identity:
    """Find the application a request names, if its caller may have to do with it.

    Errors:  Missing, Denied.
    """
    key = call.keys[0]
    found = await find_application(call, key)
    if found is None:
        raise missing(key.value)
    _check(call, owners(found.document), found.client_id)
    return found


async def find_application(call: Call, key: Key) -> Identity | None:
    """Find an application by object id, appId or unique name."""
    identities, tenant_id = call.directory.identities, call.place.tenant_id
    match key.name:
        case "id":
            found = await identities.find(tenant_id, application_id=key.value)
        case "appId":
            found = await identities.get(tenant_id, key.value)
        case "uniqueName":
            found = await identities.find(tenant_id, unique_name=key.value)
        case _:
            raise Malformed(f"'{key.name}' is no key of applications.")
    return found if found and found.kind is IdentityKind.APPLICATION else None


async def principal(call: Call) -> Identity:
    """Find the service principal a request names, one that podpass keeps.

    Errors:  Missing, Denied; for a built-in one too, since nobody can change it.
    """
    found = await find_principal(call, call.keys[0])
    if found is None:
        raise missing(call.keys[0].value)
    if not isinstance(found, Identity):
        raise Denied(
            "Insufficient privileges: this service principal is built in, and nobody changes it."
        )
    _check(call, owners(found.principal), found.client_id)
    return found


async def find_principal(call: Call, key: Key) -> Identity | Mapping[str, Any] | None:
    """Find a service principal by object id or appId; a built-in one as Graph's members of it."""
    tenant_id = call.place.tenant_id
    for each in builtin_principals.principals(tenant_id):
        if key.name in ("id", "appId") and each[key.name] == key.value.lower():
            return each
    match key.name:
        case "id":
            found = await call.directory.identities.find(tenant_id, object_id=key.value)
        case "appId":
            found = await call.directory.identities.get(tenant_id, key.value)
        case _:
            raise Malformed(f"'{key.name}' is no key of servicePrincipals.")
    return found if found and found.has_principal else None


def check_readable(call: Call, found: Identity | Mapping[str, Any]) -> None:
    """Refuse to show a service principal to who may only see what is its own; built-in ones are no secret."""
    if isinstance(found, Identity):
        _check(call, owners(found.principal), found.client_id)


def owners(document: Mapping[str, Any]) -> list[str]:
    """List the object ids of an object's owners."""
    found = document.get("owners")
    return list(found) if isinstance(found, list | tuple) else []


def owner_of_new(caller: Caller) -> list[str]:
    """Say who owns what a caller creates: the caller, user or application."""
    return [caller.object_id]


def reference(value: object) -> str:
    """Read the object id out of an `@odata.id`.

    Errors:  Malformed.
    """
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise Malformed("Want '@odata.id' with the address of a directory object.")
    return found[1].lower()


def _check(call: Call, owned_by: list[str], client_id: str) -> None:
    match call.grant:
        case Grant.ALL:
            return
        case Grant.OWNED if call.caller.object_id in owned_by:
            return
        case Grant.ITSELF if call.caller.app_id == client_id:
            return
    raise _not_owner()


def _not_owner() -> Denied:
    return Denied(f"Insufficient privileges: {OWNED_BY} reaches what the caller owns only.")
