"""Scopes at which roles can be assigned: the root, subscriptions, resource groups and resources."""

from collections.abc import Iterable

from podpass.directory import resource_ids
from podpass.directory.resource_manager import errors
from podpass.directory.resource_manager.model import FindResource, OperationContext


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
    find = context.types.finder(kind)
    if find is None or await find(context, group.name, name) is None:
        raise errors.resource_not_found(kind, name, group.name)


async def find_identity(context: OperationContext, group: str, name: str) -> str | None:
    """Find a managed identity."""
    expected = resource_ids.identity_id(context.subscription_id, group, name)
    tenant_id = context.subscription.tenant_id
    found = await context.directory.identities.find(tenant_id, resource_id=expected)
    return None if found is None else found.resource_id


async def find_vault(context: OperationContext, group: str, name: str) -> str | None:
    """Find a vault; another group may have the vault of this name."""
    vault = await context.directory.vaults.get(name)
    expected = resource_ids.vault_id(context.subscription_id, group, name).lower()
    return vault.resource_id if vault and vault.resource_id.lower() == expected else None


def find_stored(kind: str) -> FindResource:
    """Return the function that finds a resource of a type without a table of its own."""

    async def find(context: OperationContext, group: str, name: str) -> str | None:
        group_id = resource_ids.group_id(context.subscription_id, group)
        found = await context.directory.other_resources.get(f"{group_id}/providers/{kind}/{name}")
        return None if found is None else found.resource_id

    return find


async def resolve_display_names(context: OperationContext, scopes: Iterable[str]) -> dict[str, str]:
    """Map scopes, which are stored in lower case, to the spelling of the resources."""
    return {scope: await _resolve(context, scope) for scope in set(scopes)}


async def _resolve(context: OperationContext, scope: str) -> str:
    parts = scope.strip("/").split("/")
    if len(parts) < 4:
        return scope
    sub = context.subscription_id
    group = await context.directory.groups.get(sub, parts[3])
    name = group.name if group is not None else parts[3]
    find = context.types.finder("/".join(parts[5:7])) if len(parts) >= 8 else None
    resource = await find(context, name, parts[7]) if find else None
    if resource is not None:
        return "/".join([resource, *parts[8:]])
    return "/".join([resource_ids.group_id(sub, name), *parts[4:]])


def _invalid_scope(scope: str) -> errors.ManagerError:
    return errors.bad_request("InvalidScope", f"No role can be assigned at the scope '{scope}'.")
