"""Resources of any type: the resource group of a path, and the list of all resources.

Clients of the list are `az resource list` and `az keyvault show`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from podpass.directory import resource_ids
from podpass.directory.model import IdentityKind, OtherResource
from podpass.directory.resource_manager import errors, paging, wire
from podpass.directory.resource_manager.model import (
    ManagerOperation,
    ManagerResponse,
    OperationContext,
    Resource,
    Route,
)
from podpass.directory.store.identity_queries import Condition

IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
OTHER = "other"  # resources of the services that podpass does not serve
_FILTERS = frozenset({"resourcetype", "name", "resourcegroup", "location", "tagname", "tagvalue"})
_READ = "Microsoft.Resources/subscriptions/resources/read"


async def parent_group(context: OperationContext) -> str:
    """Return the name of the resource group in the path, in its stored spelling.

    Raises ManagerError, ResourceGroupNotFound.
    """
    group = await context.directory.groups.get(context.subscription_id, context.group)
    if group is None:
        raise errors.group_not_found(context.group)
    return group.name


def to_json(found: Resource) -> dict[str, Any]:
    """Return the members that every resource has."""
    return {
        "id": found.id,
        "name": found.name,
        "type": found.type,
        "location": found.location,
        "tags": dict(found.tags),
    }


def plain_to_json(found: OtherResource) -> dict[str, Any]:
    """Return the members that every resource has, of a stored resource."""
    return to_json(_resource(found.type, found.resource_id, found.location, found.tags))


def _list_types(context: OperationContext) -> list[str]:
    """Return the order of the list. A page ends at an entry of one of these types."""
    return [IDENTITY, *(each.name for each in context.types.with_tables), OTHER]


def _page_key(context: OperationContext, found: Resource) -> str:
    types = _list_types(context)
    return f"{types.index(found.type if found.type in types else OTHER)} {found.id}"


async def fetch_page(
    context: OperationContext, group: str | None, after: str | None, limit: int
) -> list[Resource]:
    """Return resources of all types that follow an entry of the list."""
    begin, _, position = (after or "0 ").partition(" ")
    types, found = _list_types(context), list[Resource]()
    served = {each.lower() for each in types[:-1]}
    for kind in types[int(begin) if begin.isdigit() else 0 :]:
        wanted = context.query.filter.equal.get("resourcetype", kind).lower()
        if kind.lower() == wanted or (kind == OTHER and wanted not in served):
            found += await fetch_type(kind, context, group, position or None, limit - len(found))
        if len(found) >= limit:
            break
        position = ""
    return found


async def fetch_type(
    kind: str, context: OperationContext, group: str | None, after: str | None, limit: int
) -> Sequence[Resource]:
    """Return resources of one type, or of those that have no table of their own."""
    directory, sub = context.directory, context.subscription_id
    for each in context.types.with_tables:
        if each.page is not None and each.name == kind:
            return await each.page(context, group, after, limit)
    if kind == OTHER:
        others = await directory.other_resources.page(sub, group=group, after=after, limit=limit)
        return [
            replace(
                _resource(one.type, one.resource_id, one.location, one.tags), document=one.document
            )
            for one in others
        ]
    name = context.query.filter.equal.get("name")
    identities = await directory.identities.page(
        context.subscription.tenant_id,
        kind=IdentityKind.MANAGED_IDENTITY,
        where=() if name is None else (Condition(field="name", op="eq", value=name),),
        group=resource_ids.group_id(sub, group) if group else f"/subscriptions/{sub}",
        after=after,
        limit=limit,
    )
    return [_resource(kind, one.resource_id or "", one.location, one.tags) for one in identities]


def _resource(kind: str, id_: str, location: str, tags: Mapping[str, str]) -> Resource:
    return Resource(type=kind, id=id_, name=id_.rpartition("/")[2], location=location, tags=tags)


def _matches(context: OperationContext, found: Resource) -> bool:
    wanted = context.query.filter.equal
    tags = {name.lower(): value for name, value in found.tags.items()}
    tag = wanted.get("tagname", "").lower()
    return (
        wanted.get("resourcetype", found.type).lower() == found.type.lower()
        and wanted.get("name", found.name).lower() == found.name.lower()
        and wanted.get("location", found.location).lower() == found.location
        and (not tag or tag in tags)
        and ("tagvalue" not in wanted or tags.get(tag) == wanted["tagvalue"])
    )


async def _list(context: OperationContext) -> ManagerResponse:
    wanted = context.query.filter.require_known(_FILTERS).equal
    group = context.group or wanted.get("resourcegroup")
    # Check the role first: a caller without a role must not find out which resource groups exist.
    may = await paging.read_check(context, _READ)
    if context.group:
        await parent_group(context)

    async def keep(found: Resource) -> bool:
        if not _matches(context, found):
            return False
        return may is None or await context.directory.is_permitted(
            context.caller.object_id, f"{found.type}/read", found.id
        )

    found = await paging.collect_page(
        context, partial(fetch_page, context, group), partial(_page_key, context), keep
    )
    return wire.page_response(context, found, to_json)


_LIST = ManagerOperation(title="list resources", action=_READ, run=_list, filtered=True)

ROUTES = (
    Route(method="GET", path="/subscriptions/{subscription}/resources", operation=_LIST),
    Route(
        method="GET",
        path="/subscriptions/{subscription}/resourceGroups/{group}/resources",
        operation=_LIST,
    ),
)
