"""Key vaults: the control plane. The resource stage serves their secrets.

Source:  https://learn.microsoft.com/rest/api/keyvault/keyvault/vaults
"""

from dataclasses import replace
from typing import Any

from podpass.directory import roles
from podpass.directory.errors import NameHeld
from podpass.directory.resource_manager import (
    errors,
    paging,
    resources,
    wire,
)
from podpass.directory.resource_manager.model import (
    ManagerOperation,
    ManagerResponse,
    OperationContext,
    Route,
    crud_routes,
)
from podpass.lab.services.vault import access_policies, vault_json
from podpass.lab.services.vault.model import TYPE, Vault, vault_id
from podpass.lab.services.vault.vault_json import to_json
from podpass.lab.services.vault.vaults import Vaults

_ASSIGN = "Microsoft.Authorization/roleAssignments/write"
_KINDS = ("add", "replace", "remove")


async def find(context: OperationContext) -> Vault | None:
    """Find the vault in the path; a vault of this name in another group does not match.

    Raises ManagerError, ResourceGroupNotFound.
    """
    group = await resources.parent_group(context)
    vault = await context.directory.store(Vaults).get(context.name)
    expected_id = vault_id(context.subscription_id, group, context.name).lower()
    return vault if vault is not None and vault.resource_id.lower() == expected_id else None


async def _require_vault(context: OperationContext) -> Vault:
    vault = await find(context)
    if vault is None:
        raise errors.resource_not_found(TYPE, context.name, context.group)
    return vault


async def _put(context: OperationContext) -> ManagerResponse:
    old = await find(context)
    name = vault_json.normalize_name(context.name)
    location = wire.location(context.body, TYPE)
    mode = wire.text(wire.object_member(context.body, "properties"), "createMode") or "default"
    if mode.lower() not in ("default", "recover"):
        raise errors.bad_request("BadRequest", "'createMode' must be default or recover.")
    if old is not None:
        wire.require_same_location("vault", old.name, old.location, location)
        return await _update(context, old, whole=True)
    if await context.directory.store(Vaults).get(name) is not None:
        raise errors.conflict(
            "VaultAlreadyExists",
            f"The vault name '{name}' is used in another resource group; vault names are unique.",
        )
    if mode.lower() == "recover":
        return await _recover(context, name, location)
    resource_id = vault_id(context.subscription_id, await resources.parent_group(context), name)
    new = vault_json.parse_new(context, name, location, resource_id)
    try:
        await context.directory.store(Vaults).put(new, grouped=True)
    except NameHeld as exc:
        raise errors.conflict(
            "ConflictError",
            f"A deleted vault has the name '{name}'. Recover it (az keyvault recover), purge it if it has no"
            " purge protection (az keyvault purge), or use another name.",
        ) from exc
    stored = await context.directory.store(Vaults).get(name)
    return ManagerResponse(status=201, body=to_json(context, stored or new))


async def _recover(context: OperationContext, name: str, location: str) -> ManagerResponse:
    deleted = await context.directory.store(Vaults).deleted(
        context.subscription_id, location=location, name=name
    )
    expected_id = vault_id(context.subscription_id, context.group, name).lower()
    if not deleted or deleted[0].vault.resource_id.lower() != expected_id:
        raise errors.not_found(
            "DeletedVaultNotFound",
            f"There is no deleted vault '{name}' of resource group '{context.group}' in '{location}' to"
            " recover.",
        )
    return ManagerResponse(
        body=to_json(context, await context.directory.store(Vaults).recover(name))
    )


async def _patch(context: OperationContext) -> ManagerResponse:
    return await _update(context, await _require_vault(context), whole=False)


async def _update(context: OperationContext, old: Vault, *, whole: bool) -> ManagerResponse:
    held_roles = await context.directory.roles_for(context.caller.object_id, old.resource_id)
    is_switch_allowed = roles.may_assign(held_roles, _ASSIGN, None)

    def step(was: Vault) -> Vault:
        new = vault_json.parse_change(context, was, whole=whole)
        if new.access is was.access or is_switch_allowed:
            return new
        # Otherwise a caller that may change the vault could give itself access to the secrets. The check uses
        # the state of the vault at the time of the write, so that it also covers a concurrent switch by
        # another caller.
        raise errors.ManagerError(
            403,
            "InsufficientPermissions",
            f"Switching a vault between roles and access policies requires '{_ASSIGN}' at the vault.",
        )

    return ManagerResponse(
        body=to_json(context, await context.directory.store(Vaults).change(old.name, step))
    )


async def _get(context: OperationContext) -> ManagerResponse:
    return ManagerResponse(body=to_json(context, await _require_vault(context)))


async def _delete(context: OperationContext) -> ManagerResponse:
    vault = await find(context)
    if vault is None:
        return ManagerResponse(status=204)
    await context.directory.store(Vaults).delete(vault.name)
    return ManagerResponse(status=200)


async def _list(context: OperationContext) -> ManagerResponse:
    context.query.filter.require_known(frozenset())
    group = await resources.parent_group(context) if context.group else None

    async def fetch(after: str | None, limit: int) -> list[Vault]:
        return await context.directory.store(Vaults).page(
            context.subscription_id, group=group, after=after, limit=limit
        )

    found = await paging.collect_page(context, fetch, _page_key)
    return wire.page_response(context, found, lambda vault: to_json(context, vault))


def _page_key(vault: Vault) -> str:
    return vault.resource_id


async def _change_policies(context: OperationContext) -> ManagerResponse:
    vault, kind = await _require_vault(context), context.params["kind"].lower()
    if kind not in _KINDS:
        raise errors.bad_request(
            "BadRequest", f"The change of access policies must be one of {', '.join(_KINDS)}."
        )
    listed = wire.object_list(wire.object_member(context.body, "properties"), "accessPolicies")
    if listed is None:
        raise errors.bad_request("BadRequest", "The properties must have 'accessPolicies'.")
    given = access_policies.parse(context, listed)

    def step(was: Vault) -> Vault:
        return replace(was, policies=access_policies.apply_change(was.policies, kind, given))

    new = await context.directory.store(Vaults).change(vault.name, step)
    shown = [access_policies.to_json(one) for one in new.policies]
    body: dict[str, Any] = {
        "id": f"{vault.resource_id}/accessPolicies/",
        "type": f"{TYPE}/accessPolicies",
        "location": vault.location,
        "properties": {"accessPolicies": shown},
    }
    return ManagerResponse(body=body)


_SUB = "/subscriptions/{subscription}"
_ALL = f"{_SUB}/resourceGroups/{{group}}/providers/{TYPE}"
_ONE = f"{_ALL}/{{name}}"
_LIST = ManagerOperation(title="list vaults", action=f"{TYPE}/read", run=_list)

ROUTES = (
    Route(method="GET", path=f"{_SUB}/providers/{TYPE}", operation=_LIST),
    Route(method="GET", path=_ALL, operation=_LIST),
    *crud_routes(_ONE, TYPE, "vault", get=_get, put=_put, patch=_patch, delete=_delete),
    Route(
        method="PUT",
        path=f"{_ONE}/accessPolicies/{{kind}}",
        operation=ManagerOperation(
            title="change access policies",
            action=f"{TYPE}/accessPolicies/write",
            run=_change_policies,
            reads_body=True,
        ),
    ),
)
