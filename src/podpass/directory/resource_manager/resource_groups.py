"""Resource groups."""

from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from podpass.directory import naming, resource_ids
from podpass.directory.model import ResourceGroup, WriteResult
from podpass.directory.resource_manager import errors, operations, paging, wire
from podpass.directory.resource_manager.model import (
    ManagerResponse,
    OperationContext,
    build_route,
)

_TYPE = "Microsoft.Resources/subscriptions/resourceGroups"
_NOUN = "resource group"
_FILTERS = frozenset({"tagname", "tagvalue"})


def to_json(group: ResourceGroup) -> dict[str, Any]:
    """Return a group as a response body."""
    return {
        "id": resource_ids.group_id(group.subscription_id, group.name),
        "name": group.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": group.location,
        "tags": dict(group.tags),
        "properties": {"provisioningState": "Succeeded"},
    }


def _matches(context: OperationContext, group: ResourceGroup) -> bool:
    name, value = (context.query.filter.equal.get(one) for one in ("tagname", "tagvalue"))
    tags = {tag.lower(): text for tag, text in group.tags.items()}
    if name is not None and name.lower() not in tags:
        return False
    return value is None or (tags.get(name.lower()) == value if name else value in tags.values())


async def _list(context: OperationContext) -> ManagerResponse:
    context.query.filter.require_known(_FILTERS)
    may = await paging.read_check(context, f"{_TYPE}/read")
    fetch = partial(context.directory.groups.page, context.subscription_id)

    async def keep(group: ResourceGroup) -> bool:
        scope = resource_ids.group_id(group.subscription_id, group.name)
        return _matches(context, group) and (may is None or await may(scope))

    found = await paging.collect_page(context, fetch, lambda group: group.name, keep)
    return wire.page_response(context, found, to_json)


async def _put(context: OperationContext) -> ManagerResponse:
    if (fault := naming.group_name_fault(context.group)) is not None:
        raise errors.bad_request("InvalidResourceGroup", f"The {_NOUN}'s {fault.message}.")
    location = wire.location(context.body, _NOUN)
    old = await context.directory.groups.get(context.subscription_id, context.group)
    if old is not None and old.location != location:
        raise errors.conflict(
            "InvalidResourceGroupLocation",
            f"The {_NOUN} '{old.name}' is in location '{old.location}' and cannot be moved to '{location}'.",
        )
    new = ResourceGroup(
        subscription_id=context.subscription_id,
        name=old.name if old else context.group,
        location=location,
        tags=wire.tags(context.body) or {},
    )
    change = await context.directory.groups.put(new)
    return ManagerResponse(status=201 if change is WriteResult.CREATED else 200, body=to_json(new))


async def _patch(context: OperationContext) -> ManagerResponse:
    old = await _require_group(context)
    tags = wire.tags(context.body)
    new = old if tags is None else replace(old, tags=tags)
    await context.directory.groups.put(new)
    return ManagerResponse(body=to_json(new))


async def _get(context: OperationContext) -> ManagerResponse:
    return ManagerResponse(body=to_json(await _require_group(context)))


async def _head(context: OperationContext) -> ManagerResponse:
    there = await context.directory.groups.get(context.subscription_id, context.group)
    return ManagerResponse(status=404 if there is None else 204)


async def _delete(context: OperationContext) -> ManagerResponse:
    found = await _require_group(context)
    async with AsyncExitStack() as stack:
        for service in context.services:
            if service.deleting_group is not None:
                await stack.enter_async_context(service.deleting_group(context, found.name))
        await context.directory.groups.delete(context.subscription_id, found.name)
    headers = operations.location_headers(context, f"/subscriptions/{context.subscription_id}")
    return ManagerResponse(status=202, headers=headers)


async def _require_group(context: OperationContext) -> ResourceGroup:
    found = await context.directory.groups.get(context.subscription_id, context.group)
    if found is None:
        raise errors.group_not_found(context.group)
    return found


_ALL = "/subscriptions/{subscription}/resourceGroups"
_ONE = f"{_ALL}/{{group}}"
_READ, _WRITE = f"{_TYPE}/read", f"{_TYPE}/write"

ROUTES = (
    build_route("GET", _ALL, "list groups", _READ, _list, filtered=True),
    build_route("GET", _ONE, "show group", _READ, _get),
    build_route("HEAD", _ONE, "check group", _READ, _head),
    build_route("PUT", _ONE, "create group", _WRITE, _put, reads_body=True),
    build_route("PATCH", _ONE, "update group", _WRITE, _patch, reads_body=True),
    build_route("DELETE", _ONE, "delete group", f"{_TYPE}/delete", _delete),
)
