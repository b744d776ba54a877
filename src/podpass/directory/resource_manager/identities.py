"""User-assigned managed identities.

Source:  https://learn.microsoft.com/rest/api/managedidentity/user-assigned-identities
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from podpass.directory import resource_ids, rules
from podpass.directory.model import Identity, IdentityKind
from podpass.directory.resource_manager import errors, paging, resources, wire
from podpass.directory.resource_manager.model import (
    ManagerOperation,
    ManagerResponse,
    OperationContext,
    Route,
    build_route,
    crud_routes,
)

TYPE = "Microsoft.ManagedIdentity/userAssignedIdentities"
_NOUN = "managed identity"
_ISOLATION = ("None", "Regional")
_MAX_ASSOCIATED = 1000


def to_json(identity: Identity) -> dict[str, Any]:
    """Return an identity as a response body."""
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


async def find(context: OperationContext, name: str) -> Identity | None:
    """Find an identity by name in the resource group of the path.

    Raises ManagerError, ResourceGroupNotFound.
    """
    group = await resources.parent_group(context)
    resource_id = resource_ids.identity_id(context.subscription_id, group, name)
    return await context.directory.identities.find(
        context.subscription.tenant_id, resource_id=resource_id
    )


async def require(context: OperationContext, name: str) -> Identity:
    """Return an identity; it must exist. Raises ManagerError, ResourceGroupNotFound or ResourceNotFound."""
    identity = await find(context, name)
    if identity is None:
        raise errors.resource_not_found(TYPE, name, context.group)
    return identity


def _parse_document(context: OperationContext) -> dict[str, str]:
    scope = wire.text(wire.object_member(context.body, "properties"), "isolationScope")
    if scope is None:
        return {}
    if scope not in _ISOLATION:
        raise errors.bad_request(
            "BadRequest", f"'isolationScope' must be one of {', '.join(_ISOLATION)}."
        )
    return {"isolationScope": scope}


async def _put(context: OperationContext) -> ManagerResponse:
    old = await find(context, context.name)
    if (fault := rules.name_fault(context.name, IdentityKind.MANAGED_IDENTITY)) is not None:
        raise errors.bad_request("InvalidResourceName", f"The {_NOUN}'s {fault.message}.")
    location, document = wire.location(context.body, TYPE), _parse_document(context)
    tags = wire.tags(context.body) or {}
    if old is not None:
        wire.require_same_location(_NOUN, old.name, old.location or location, location)

        def step(was: Identity) -> Identity:
            return replace(was, location=location, tags=tags, document={**was.document, **document})

        return await _update(context, old, step)
    new = Identity(
        tenant_id=context.subscription.tenant_id,
        client_id=str(uuid.uuid4()),
        object_id=str(uuid.uuid4()),
        name=context.name,
        resource_id=resource_ids.identity_id(
            context.subscription_id, await resources.parent_group(context), context.name
        ),
        location=location,
        tags=tags,
        document=document,
    )
    await context.directory.identities.put(new, grouped=True)
    return ManagerResponse(status=201, body=to_json(new))


async def _patch(context: OperationContext) -> ManagerResponse:
    old = await require(context, context.name)
    tags, document = wire.tags(context.body), _parse_document(context)

    def step(was: Identity) -> Identity:
        new_tags = was.tags if tags is None else tags
        return replace(was, tags=new_tags, document={**was.document, **document})

    return await _update(context, old, step)


async def _update(
    context: OperationContext, old: Identity, step: Callable[[Identity], Identity]
) -> ManagerResponse:
    new = await context.directory.identities.change(old.tenant_id, old.client_id, step)
    return ManagerResponse(body=to_json(new))


async def _get(context: OperationContext) -> ManagerResponse:
    return ManagerResponse(body=to_json(await require(context, context.name)))


async def _delete(context: OperationContext) -> ManagerResponse:
    old = await find(context, context.name)
    if old is None:
        return ManagerResponse(status=204)
    await context.directory.identities.delete(old.tenant_id, old.client_id)
    return ManagerResponse(status=200)


async def _list_associated(context: OperationContext) -> ManagerResponse:
    """List the resources to which an identity is assigned: the cluster, and stored resources."""
    identity = await require(context, context.name)
    kinds = (*(each.name for each in context.types.with_tables), resources.OTHER)
    pages = [
        await resources.fetch_type(each, context, None, None, _MAX_ASSOCIATED) for each in kinds
    ]
    holders = [each for page in pages for each in page]
    found = [
        {
            "id": each.id,
            "name": each.name,
            "type": each.type,
            "resourceGroup": each.id.split("/")[4],
            "subscriptionId": context.subscription_id,
            "subscriptionDisplayName": context.subscription.subscription_name,
        }
        for each in holders
        if (identity.resource_id or "").lower() in _assigned_identities(each.document)
    ]
    return ManagerResponse(body={"value": found, "totalCount": len(found)})


def _assigned_identities(document: Mapping[str, Any]) -> set[str]:
    """Return the IDs in the `identity` of a resource, in lower case."""
    assigned = (document.get("identity") or {}).get("userAssignedIdentities")
    return {name.lower() for name in assigned} if isinstance(assigned, dict) else set()


async def _list(context: OperationContext) -> ManagerResponse:
    context.query.filter.require_known(frozenset())
    sub = context.subscription_id
    scope = (
        resource_ids.group_id(sub, await resources.parent_group(context))
        if context.group
        else f"/subscriptions/{sub}"
    )
    fetch = partial(
        context.directory.identities.page,
        context.subscription.tenant_id,
        kind=IdentityKind.MANAGED_IDENTITY,
        group=scope,
    )
    return wire.page_response(context, await paging.collect_page(context, fetch), to_json)


_SUB = "/subscriptions/{subscription}"
_ALL = f"{_SUB}/resourceGroups/{{group}}/providers/{TYPE}"
_ONE = f"{_ALL}/{{name}}"
_LIST = ManagerOperation(title="list identities", action=f"{TYPE}/read", run=_list)

ROUTES = (
    Route(method="GET", path=f"{_SUB}/providers/{TYPE}", operation=_LIST),
    Route(method="GET", path=_ALL, operation=_LIST),
    *crud_routes(_ONE, TYPE, "identity", get=_get, put=_put, patch=_patch, delete=_delete),
    build_route(
        "POST",
        f"{_ONE}/listAssociatedResources",
        "list resources of identity",
        f"{TYPE}/listAssociatedResources/action",
        _list_associated,
    ),
)
