"""Resources of every type in one list: what `az resource list` and `az keyvault show` look into."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from podpass.directory import resource_ids
from podpass.directory.model import IdentityKind
from podpass.directory.resource_manager import enclosing, lists, wire
from podpass.directory.resource_manager.model import Answer, Call, Operation, Route
from podpass.directory.store.identity_queries import Condition

IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
VAULT = "Microsoft.KeyVault/vaults"
CLUSTER = "Microsoft.ContainerService/managedClusters"
# In this order they are listed; a page ends at a place in one of them.
_TYPES = (IDENTITY, VAULT, CLUSTER)
_FILTERS = frozenset({"resourcetype", "name", "resourcegroup", "location", "tagname", "tagvalue"})
_READ = "Microsoft.Resources/subscriptions/resources/read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What every resource has."""

    type: str
    id: str
    name: str
    location: str
    tags: Mapping[str, str]


def write(found: Resource) -> dict[str, Any]:
    return {
        "id": found.id,
        "name": found.name,
        "type": found.type,
        "location": found.location,
        "tags": dict(found.tags),
    }


def place_of(found: Resource) -> str:
    return f"{_TYPES.index(found.type)} {found.id}"


async def fetch(call: Call, group: str | None, after: str | None, limit: int) -> list[Resource]:
    """Read resources of all types after one of them."""
    begin, _, place = (after or "0 ").partition(" ")
    found: list[Resource] = []
    for kind in _TYPES[int(begin) if begin.isdigit() else 0 :]:
        wanted = call.query.filter.equal.get("resourcetype", kind)
        if wanted.lower() == kind.lower():
            found += await _of_type(kind, call, group, place or None, limit - len(found))
        if len(found) >= limit:
            break
        place = ""
    return found


async def _of_type(
    kind: str, call: Call, group: str | None, after: str | None, limit: int
) -> list[Resource]:
    directory, sub = call.directory, call.subscription
    if kind == VAULT:
        vaults = await directory.vaults.page(sub, group=group, after=after, limit=limit)
        return [_resource(kind, one.resource_id, one.location, one.tags) for one in vaults]
    if kind == CLUSTER:
        clusters = await directory.clusters.page(sub, group=group, after=after, limit=limit)
        return [_resource(kind, one.resource_id, one.location, one.tags) for one in clusters]
    name = call.query.filter.equal.get("name")
    identities = await directory.identities.page(
        call.place.tenant_id,
        kind=IdentityKind.MANAGED_IDENTITY,
        where=() if name is None else (Condition(field="name", op="eq", value=name),),
        group=resource_ids.group_id(sub, group) if group else f"/subscriptions/{sub}",
        after=after,
        limit=limit,
    )
    return [_resource(kind, one.resource_id or "", one.location, one.tags) for one in identities]


def _resource(kind: str, id_: str, location: str, tags: Mapping[str, str]) -> Resource:
    return Resource(type=kind, id=id_, name=id_.rpartition("/")[2], location=location, tags=tags)


def _fits(call: Call, found: Resource) -> bool:
    wanted = call.query.filter.equal
    tags = {name.lower(): value for name, value in found.tags.items()}
    tag = wanted.get("tagname", "").lower()
    return (
        wanted.get("name", found.name).lower() == found.name.lower()
        and wanted.get("location", found.location).lower() == found.location
        and (not tag or tag in tags)
        and ("tagvalue" not in wanted or tags.get(tag) == wanted["tagvalue"])
    )


async def _list(call: Call) -> Answer:
    wanted = call.query.filter.known(_FILTERS).equal
    group = call.group or wanted.get("resourcegroup")
    # A caller without a role is not told which groups there are.
    may = await lists.readable(call, _READ)
    if call.group:
        await enclosing.group(call)

    async def some(after: str | None, limit: int) -> list[Resource]:
        return await fetch(call, group, after, limit)

    async def keep(found: Resource) -> bool:
        if not _fits(call, found):
            return False
        return may is None or await call.directory.permitted(
            call.caller.object_id, f"{found.type}/read", found.id
        )

    found = await lists.gather(call, some, place_of, keep)
    return wire.page(call, found, write)


_LIST = Operation(title="list resources", action=_READ, run=_list, filtered=True)

ROUTES = (
    Route(method="GET", path="/subscriptions/{subscription}/resources", operation=_LIST),
    Route(
        method="GET",
        path="/subscriptions/{subscription}/resourceGroups/{group}/resources",
        operation=_LIST,
    ),
)
