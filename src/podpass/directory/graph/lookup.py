"""Find the object that a request names, and check that its caller may access it."""

import re
from collections.abc import Mapping
from typing import Any

from podpass.directory import builtin_principals
from podpass.directory.access import Caller
from podpass.directory.graph.errors import AccessDenied, MalformedRequest, not_found
from podpass.directory.graph.model import GraphRequest
from podpass.directory.graph.paths import ObjectKey
from podpass.directory.graph.permissions import OWNED_BY, AccessLevel
from podpass.directory.model import Identity, IdentityKind

_REFERENCE = re.compile(
    r"(?:https://[^/?#]+)?/(?:v1\.0|beta)/[A-Za-z]+(?:/|\(')([0-9a-fA-F-]{36})(?:'\))?"
)


async def require_application(request: GraphRequest) -> Identity:
    """Return the application that a request names, if its caller may access it.

    Raises ResourceNotFound, AccessDenied.
    """
    key = request.keys[0]
    found = await find_application(request, key)
    if found is None:
        raise not_found(key.value)
    _check_access(request, owner_ids(found.document), found.client_id)
    return found


async def find_application(request: GraphRequest, key: ObjectKey) -> Identity | None:
    """Find an application by object id, appId or unique name."""
    identities, tenant_id = request.directory.identities, request.context.tenant_id
    match key.name:
        case "id":
            found = await identities.find(tenant_id, application_id=key.value)
        case "appId":
            found = await identities.get(tenant_id, key.value)
        case "uniqueName":
            found = await identities.find(tenant_id, unique_name=key.value)
        case _:
            raise MalformedRequest(f"'{key.name}' is not a key of applications.")
    return found if found and found.kind is IdentityKind.APPLICATION else None


async def require_principal(request: GraphRequest) -> Identity:
    """Return the service principal that a request names, if its caller may access it.

    Raises ResourceNotFound; AccessDenied, also for a built-in service principal, which is read-only.
    """
    found = await find_principal(request, request.keys[0])
    if found is None:
        raise not_found(request.keys[0].value)
    if not isinstance(found, Identity):
        raise AccessDenied(
            "Insufficient privileges: this service principal is built in and read-only."
        )
    _check_access(request, owner_ids(found.principal), found.client_id)
    return found


async def find_principal(
    request: GraphRequest, key: ObjectKey
) -> Identity | Mapping[str, Any] | None:
    """Find a service principal by object id or appId; a built-in one is returned as its properties."""
    tenant_id = request.context.tenant_id
    for each in builtin_principals.list_principals(tenant_id):
        if key.name in ("id", "appId") and each[key.name] == key.value.lower():
            return each
    match key.name:
        case "id":
            found = await request.directory.identities.find(tenant_id, object_id=key.value)
        case "appId":
            found = await request.directory.identities.get(tenant_id, key.value)
        case _:
            raise MalformedRequest(f"'{key.name}' is not a key of servicePrincipals.")
    return found if found and found.has_principal else None


def require_readable(request: GraphRequest, found: Identity | Mapping[str, Any]) -> None:
    """Reject a read outside the caller's access; every caller may read built-in service principals."""
    if isinstance(found, Identity):
        _check_access(request, owner_ids(found.principal), found.client_id)


def require_full_access(request: GraphRequest) -> None:
    """Reject a caller whose permission covers only its own objects or the objects that it owns."""
    _check_access(request, [], "")


def owner_ids(document: Mapping[str, Any]) -> list[str]:
    """Return the object ids of the owners of an object."""
    found = document.get("owners")
    return list(found) if isinstance(found, list | tuple) else []


def initial_owners(caller: Caller) -> list[str]:
    """Return the owners of an object that the caller creates: the caller."""
    return [caller.object_id]


def parse_reference(value: object) -> str:
    """Return the object id in an `@odata.id`. Raises MalformedRequest."""
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise MalformedRequest("'@odata.id' must be the URL of a directory object.")
    return found[1].lower()


def _check_access(request: GraphRequest, owned_by: list[str], client_id: str) -> None:
    match request.access:
        case AccessLevel.ALL:
            return
        case AccessLevel.OWNED if request.caller.object_id in owned_by:
            return
        case AccessLevel.ITSELF if request.caller.app_id == client_id:
            return
    raise AccessDenied(
        f"Insufficient privileges: {OWNED_BY} gives access only to objects that the caller owns."
    )
