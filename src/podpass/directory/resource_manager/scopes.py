"""Scopes at which roles can be assigned: the root, subscriptions, resource groups and resources."""

from collections.abc import Iterable

from podpass.directory import dns, resource_ids
from podpass.directory.resource_manager import errors, linker_targets, resources
from podpass.directory.resource_manager.model import OperationContext

_BY_TYPE = {one.lower(): one for one in (resources.IDENTITY, resources.VAULT, resources.CLUSTER)}
_OTHER_TYPES = (*linker_targets.TYPES, dns.TYPE)
_OTHER = frozenset(one.lower() for one in _OTHER_TYPES) - _BY_TYPE.keys()


async def require_existing(context: OperationContext, scope: str) -> None:
    """Reject a scope that does not exist; a sub-resource exists if its resource exists.

    Raises ManagerError.
    """
    parts = scope.strip("/").split("/") if scope.strip("/") else []
    if not parts:
        return
    if len(parts) < 2 or parts[0].lower() != "subscriptions":
        raise _invalid_scope(scope)
    if len(parts) == 2:
        return
    if len(parts) < 4 or parts[2].lower() != "resourcegroups":
        raise _invalid_scope(scope)
    group = await context.directory.groups.get(context.subscription_id, parts[3])
    if group is None:
        raise errors.group_not_found(parts[3])
    if len(parts) == 4:
        return
    if len(parts) < 8 or len(parts) % 2 or parts[4].lower() != "providers":
        raise _invalid_scope(scope)
    kind, name = f"{parts[5]}/{parts[6]}", parts[7]
    if kind.lower() in _OTHER:
        if await context.directory.other_resources.get("/" + "/".join(parts[:8])) is None:
            raise errors.resource_not_found(kind, name, group.name)
    elif not await _exists(context, _BY_TYPE.get(kind.lower(), ""), group.name, name):
        raise errors.resource_not_found(kind, name, group.name)


async def _exists(context: OperationContext, kind: str, group: str, name: str) -> bool:
    directory, sub = context.directory, context.subscription_id
    if kind == resources.VAULT:
        vault = await directory.vaults.get(name)
        expected = resource_ids.vault_id(sub, group, name).lower()
        return vault is not None and vault.resource_id.lower() == expected
    if kind == resources.CLUSTER:
        return await directory.clusters.get(sub, group, name) is not None
    if kind == resources.IDENTITY:
        resource_id = resource_ids.identity_id(sub, group, name)
        found = await directory.identities.find(
            context.subscription.tenant_id, resource_id=resource_id
        )
        return found is not None
    return False


async def resolve_display_names(context: OperationContext, scopes: Iterable[str]) -> dict[str, str]:
    """Map scopes, which are stored in lower case, to the spelling of the resources."""
    return {scope: await _resolve(context, scope) for scope in set(scopes)}


async def _resolve(context: OperationContext, scope: str) -> str:
    parts = scope.strip("/").split("/")
    if len(parts) < 4:
        return scope
    sub, directory = context.subscription_id, context.directory
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
        expected = resource_ids.identity_id(sub, name, parts[7])
        identity = await directory.identities.find(
            context.subscription.tenant_id, resource_id=expected
        )
        resource = identity.resource_id if identity else None
    elif "/".join(parts[5:7]) in _OTHER and len(parts) >= 8:
        stored = await directory.other_resources.get("/" + "/".join(parts[:8]))
        resource = stored.resource_id if stored else None
    if resource is not None:
        return "/".join([resource, *parts[8:]])
    return "/".join([resource_ids.group_id(sub, name), *parts[4:]])


def _invalid_scope(scope: str) -> errors.ManagerError:
    return errors.bad_request("InvalidScope", f"No role can be assigned at the scope '{scope}'.")
