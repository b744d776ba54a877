"""Resource groups."""

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from podpass.directory import naming, resource_ids
from podpass.directory.model import Change, ResourceGroup
from podpass.directory.resource_manager import clusters, lists, operations, refusals, wire
from podpass.directory.resource_manager.model import Answer, Call, Operation, Route

_TYPE = "Microsoft.Resources/subscriptions/resourceGroups"
_KIND = "resource group"
_FILTERS = frozenset({"tagname", "tagvalue"})


def write(group: ResourceGroup) -> dict[str, Any]:
    """Write a group as clients read it."""
    return {
        "id": resource_ids.group_id(group.subscription_id, group.name),
        "name": group.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": group.location,
        "tags": dict(group.tags),
        "properties": {"provisioningState": "Succeeded"},
    }


def _fits(call: Call, group: ResourceGroup) -> bool:
    name, value = (call.query.filter.equal.get(one) for one in ("tagname", "tagvalue"))
    tags = {tag.lower(): text for tag, text in group.tags.items()}
    if name is not None and name.lower() not in tags:
        return False
    return value is None or (tags.get(name.lower()) == value if name else value in tags.values())


async def _list(call: Call) -> Answer:
    call.query.filter.known(_FILTERS)
    may = await lists.readable(call, f"{_TYPE}/read")

    async def fetch(after: str | None, limit: int) -> list[ResourceGroup]:
        return await call.directory.groups.page(call.subscription, after=after, limit=limit)

    async def keep(group: ResourceGroup) -> bool:
        scope = resource_ids.group_id(group.subscription_id, group.name)
        return _fits(call, group) and (may is None or await may(scope))

    found = await lists.gather(call, fetch, _name, keep)
    return wire.page(call, found, write)


def _name(group: ResourceGroup) -> str:
    return group.name


async def _put(call: Call) -> Answer:
    if (fault := naming.group_name_fault(call.group)) is not None:
        raise refusals.bad("InvalidResourceGroup", f"The {_KIND}'s {fault.message}.")
    location = wire.location(call.body, _KIND)
    old = await call.directory.groups.get(call.subscription, call.group)
    if old is not None and old.location != location:
        raise refusals.conflict(
            "InvalidResourceGroupLocation",
            f"The {_KIND} '{old.name}' is in location '{old.location}' and cannot be moved to '{location}'.",
        )
    new = ResourceGroup(
        subscription_id=call.subscription,
        name=old.name if old else call.group,
        location=location,
        tags=wire.tags(call.body) or {},
    )
    change = await call.directory.groups.put(new)
    return Answer(status=201 if change is Change.CREATED else 200, body=write(new))


async def _patch(call: Call) -> Answer:
    old = await _found(call)
    tags = wire.tags(call.body)
    new = old if tags is None else replace(old, tags=tags)
    await call.directory.groups.put(new)
    return Answer(body=write(new))


async def _get(call: Call) -> Answer:
    return Answer(body=write(await _found(call)))


async def _head(call: Call) -> Answer:
    there = await call.directory.groups.get(call.subscription, call.group)
    return Answer(status=404 if there is None else 204)


async def _delete(call: Call) -> Answer:
    found = await _found(call)
    with_cluster = await call.directory.clusters.page(call.subscription, group=found.name, limit=1)
    async with clusters.switched_on(call) if with_cluster else nullcontext():
        await call.directory.groups.delete(call.subscription, found.name)
    headers = operations.by_location(call, f"/subscriptions/{call.subscription}")
    return Answer(status=202, headers=headers)


async def _found(call: Call) -> ResourceGroup:
    found = await call.directory.groups.get(call.subscription, call.group)
    if found is None:
        raise refusals.group_not_found(call.group)
    return found


_ALL = "/subscriptions/{subscription}/resourceGroups"
_ONE = f"{_ALL}/{{group}}"
_READ, _WRITE = f"{_TYPE}/read", f"{_TYPE}/write"

ROUTES = (
    Route(
        method="GET",
        path=_ALL,
        operation=Operation(title="list groups", action=_READ, run=_list, filtered=True),
    ),
    Route(method="GET", path=_ONE, operation=Operation(title="show group", action=_READ, run=_get)),
    Route(
        method="HEAD",
        path=_ONE,
        operation=Operation(title="look for group", action=_READ, run=_head),
    ),
    Route(
        method="PUT",
        path=_ONE,
        operation=Operation(title="create group", action=_WRITE, run=_put, reads_body=True),
    ),
    Route(
        method="PATCH",
        path=_ONE,
        operation=Operation(title="update group", action=_WRITE, run=_patch, reads_body=True),
    ),
    Route(
        method="DELETE",
        path=_ONE,
        operation=Operation(title="delete group", action=f"{_TYPE}/delete", run=_delete),
    ),
)
