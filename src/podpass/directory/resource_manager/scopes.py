"""Where roles can be held: scopes that are there."""

from collections.abc import Iterable

from podpass.directory import resource_ids
from podpass.directory.resource_manager import refusals, resources
from podpass.directory.resource_manager.model import Call

_BY_TYPE = {one.lower(): one for one in (resources.IDENTITY, resources.VAULT, resources.CLUSTER)}


async def check(call: Call, scope: str) -> None:
    """Refuse a scope at which nothing is; a part of a resource is there with it.

    Errors:  ManagerRefusal.
    """
    parts = scope.strip("/").split("/") if scope.strip("/") else []
    if not parts:
        return
    if len(parts) < 2 or parts[0].lower() != "subscriptions":
        raise _invalid(scope)
    if len(parts) == 2:
        return
    if len(parts) < 4 or parts[2].lower() != "resourcegroups":
        raise _invalid(scope)
    group = await call.directory.groups.get(call.subscription, parts[3])
    if group is None:
        raise refusals.group_not_found(parts[3])
    if len(parts) == 4:
        return
    if len(parts) < 8 or len(parts) % 2 or parts[4].lower() != "providers":
        raise _invalid(scope)
    kind, name = f"{parts[5]}/{parts[6]}", parts[7]
    if not await _there(call, _BY_TYPE.get(kind.lower(), ""), group.name, name):
        raise refusals.resource_not_found(kind, name, group.name)


async def _there(call: Call, kind: str, group: str, name: str) -> bool:
    directory, sub = call.directory, call.subscription
    if kind == resources.VAULT:
        vault = await directory.vaults.get(name)
        wanted = resource_ids.vault_id(sub, group, name).lower()
        return vault is not None and vault.resource_id.lower() == wanted
    if kind == resources.CLUSTER:
        return await directory.clusters.get(sub, group, name) is not None
    if kind == resources.IDENTITY:
        resource_id = resource_ids.identity_id(sub, group, name)
        found = await directory.identities.find(call.place.tenant_id, resource_id=resource_id)
        return found is not None
    return False


async def shown(call: Call, scopes: Iterable[str]) -> dict[str, str]:
    """Give scopes, which are kept in lower case, as what lies there is named."""
    return {scope: await _shown(call, scope) for scope in set(scopes)}


async def _shown(call: Call, scope: str) -> str:
    parts = scope.strip("/").split("/")
    if len(parts) < 4:
        return scope
    sub, directory = call.subscription, call.directory
    group = await directory.groups.get(sub, parts[3])
    name = group.name if group is not None else parts[3]
    resource = None
    kind = _BY_TYPE.get("/".join(parts[5:7])) if len(parts) >= 8 else None
    if kind == resources.VAULT and (vault := await directory.vaults.get(parts[7])):
        resource = vault.resource_id
    elif kind == resources.CLUSTER:
        cluster = await directory.clusters.get(sub, name, parts[7])
        resource = cluster.resource_id if cluster else None
    elif kind == resources.IDENTITY:
        wanted = resource_ids.identity_id(sub, name, parts[7])
        identity = await directory.identities.find(call.place.tenant_id, resource_id=wanted)
        resource = identity.resource_id if identity else None
    if resource is not None:
        return "/".join([resource, *parts[8:]])
    return "/".join([resource_ids.group_id(sub, name), *parts[4:]])


def _invalid(scope: str) -> refusals.ManagerRefusal:
    return refusals.bad("InvalidScope", f"No role can be held at the scope '{scope}'.")
