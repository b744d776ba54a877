"""User-assigned managed identities.

Source:  https://learn.microsoft.com/rest/api/managedidentity/user-assigned-identities
"""

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from podpass.directory import resource_ids, rules
from podpass.directory.model import Identity, IdentityKind
from podpass.directory.resource_manager import enclosing, lists, refusals, wire
from podpass.directory.resource_manager.model import Answer, Call, Operation, Route, crud

TYPE = "Microsoft.ManagedIdentity/userAssignedIdentities"
_KIND = "managed identity"
_ISOLATION = ("None", "Regional")


def write(identity: Identity) -> dict[str, Any]:
    """Write an identity as clients read it."""
    return {
        "id": identity.resource_id,
        "name": identity.name,
        "type": TYPE,
        "location": identity.location,
        "tags": dict(identity.tags),
        "properties": {
            **identity.document,
            "tenantId": identity.tenant_id,
            "principalId": identity.object_id,
            "clientId": identity.client_id,
        },
    }


async def find(call: Call, name: str) -> Identity | None:
    """Find the identity of a name in the path's group.

    Errors:  ManagerRefusal, ResourceGroupNotFound.
    """
    group = await enclosing.group(call)
    resource_id = resource_ids.identity_id(call.subscription, group, name)
    return await call.directory.identities.find(call.place.tenant_id, resource_id=resource_id)


async def found(call: Call, name: str) -> Identity:
    """Find an identity that has to be there.

    Errors:  ManagerRefusal, ResourceGroupNotFound or ResourceNotFound.
    """
    identity = await find(call, name)
    if identity is None:
        raise refusals.resource_not_found(TYPE, name, call.group)
    return identity


def _document(call: Call) -> dict[str, str]:
    scope = wire.text(wire.inner(call.body, "properties"), "isolationScope")
    if scope is None:
        return {}
    if scope not in _ISOLATION:
        raise refusals.bad("BadRequest", f"isolationScope is one of {', '.join(_ISOLATION)}.")
    return {"isolationScope": scope}


async def _put(call: Call) -> Answer:
    old = await find(call, call.name)
    if (fault := rules.name_fault(call.name, IdentityKind.MANAGED_IDENTITY)) is not None:
        raise refusals.bad("InvalidResourceName", f"The {_KIND}'s {fault.message}.")
    location, document = wire.location(call.body, TYPE), _document(call)
    tags = wire.tags(call.body) or {}
    if old is not None:
        wire.stays(_KIND, old.name, old.location or location, location)

        def step(was: Identity) -> Identity:
            return replace(was, location=location, tags=tags, document={**was.document, **document})

        return await _changed(call, old, step)
    new = Identity(
        tenant_id=call.place.tenant_id,
        client_id=str(uuid.uuid4()),
        object_id=str(uuid.uuid4()),
        name=call.name,
        resource_id=resource_ids.identity_id(
            call.subscription, await enclosing.group(call), call.name
        ),
        location=location,
        tags=tags,
        document=document,
    )
    await call.directory.identities.put(new, grouped=True)
    return Answer(status=201, body=write(new))


async def _patch(call: Call) -> Answer:
    old = await found(call, call.name)
    tags, document = wire.tags(call.body), _document(call)

    def step(was: Identity) -> Identity:
        kept = was.tags if tags is None else tags
        return replace(was, tags=kept, document={**was.document, **document})

    return await _changed(call, old, step)


async def _changed(call: Call, old: Identity, step: Callable[[Identity], Identity]) -> Answer:
    new = await call.directory.identities.change(old.tenant_id, old.client_id, step)
    return Answer(body=write(new))


async def _get(call: Call) -> Answer:
    return Answer(body=write(await found(call, call.name)))


async def _delete(call: Call) -> Answer:
    old = await find(call, call.name)
    if old is None:
        return Answer(status=204)
    await call.directory.identities.delete(old.tenant_id, old.client_id)
    return Answer(status=200)


async def _list(call: Call) -> Answer:
    call.query.filter.known(frozenset())
    sub = call.subscription
    scope = (
        resource_ids.group_id(sub, await enclosing.group(call))
        if call.group
        else f"/subscriptions/{sub}"
    )

    async def fetch(after: str | None, limit: int) -> list[Identity]:
        return await call.directory.identities.page(
            call.place.tenant_id,
            kind=IdentityKind.MANAGED_IDENTITY,
            group=scope,
            after=after,
            limit=limit,
        )

    return wire.page(call, await lists.gather(call, fetch, _key), write)


def _key(identity: Identity) -> str:
    return identity.resource_id or ""


_SUB = "/subscriptions/{subscription}"
_ALL = f"{_SUB}/resourceGroups/{{group}}/providers/{TYPE}"
_ONE = f"{_ALL}/{{name}}"
_LIST = Operation(title="list identities", action=f"{TYPE}/read", run=_list)

ROUTES = (
    Route(method="GET", path=f"{_SUB}/providers/{TYPE}", operation=_LIST),
    Route(method="GET", path=_ALL, operation=_LIST),
    *crud(_ONE, TYPE, "identity", get=_get, put=_put, patch=_patch, delete=_delete),
)
