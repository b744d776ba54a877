"""Key vaults: the control plane. Their secrets are another stage's.

Source:  https://learn.microsoft.com/rest/api/keyvault/keyvault/vaults
"""

from dataclasses import replace
from typing import Any

from podpass.directory import resource_ids, roles
from podpass.directory.errors import NameHeld
from podpass.directory.model import Vault
from podpass.directory.resource_manager import (
    enclosing,
    lists,
    policies,
    refusals,
    vault_wire,
    wire,
)
from podpass.directory.resource_manager.model import Answer, Call, Operation, Route, crud
from podpass.directory.resource_manager.vault_wire import TYPE, write

_ASSIGN = "Microsoft.Authorization/roleAssignments/write"
_KINDS = ("add", "replace", "remove")


async def find(call: Call) -> Vault | None:
    """Find the vault of the path; one of this name elsewhere is another.

    Errors:  ManagerRefusal, ResourceGroupNotFound.
    """
    group = await enclosing.group(call)
    vault = await call.directory.vaults.get(call.name)
    wanted = resource_ids.vault_id(call.subscription, group, call.name).lower()
    return vault if vault is not None and vault.resource_id.lower() == wanted else None


async def _found(call: Call) -> Vault:
    vault = await find(call)
    if vault is None:
        raise refusals.resource_not_found(TYPE, call.name, call.group)
    return vault


async def _put(call: Call) -> Answer:
    old = await find(call)
    name = vault_wire.check_name(call.name)
    location = wire.location(call.body, TYPE)
    mode = wire.text(wire.inner(call.body, "properties"), "createMode") or "default"
    if mode.lower() not in ("default", "recover"):
        raise refusals.bad("BadRequest", "'createMode' is default or recover.")
    if old is not None:
        wire.stays("vault", old.name, old.location, location)
        return await _change(call, old, whole=True)
    if await call.directory.vaults.get(name) is not None:
        raise refusals.conflict(
            "VaultAlreadyExists",
            f"The vault name '{name}' is in use in another resource group; each name is there once.",
        )
    if mode.lower() == "recover":
        return await _recover(call, name, location)
    resource_id = resource_ids.vault_id(call.subscription, await enclosing.group(call), name)
    new = vault_wire.read_new(call, name, location, resource_id)
    try:
        await call.directory.vaults.put(new, grouped=True)
    except NameHeld as exc:
        raise refusals.conflict(
            "ConflictError",
            f"A deleted vault holds the name '{name}': recover it (az keyvault recover) or, if it is not "
            "protected, purge it (az keyvault purge), or take another name.",
        ) from exc
    kept = await call.directory.vaults.get(name)
    return Answer(status=201, body=write(call, kept or new))


async def _recover(call: Call, name: str, location: str) -> Answer:
    gone = await call.directory.vaults.deleted(call.subscription, location=location, name=name)
    wanted = resource_ids.vault_id(call.subscription, call.group, name).lower()
    if not gone or gone[0].vault.resource_id.lower() != wanted:
        raise refusals.missing(
            "DeletedVaultNotFound",
            f"There is no deleted vault '{name}' of resource group '{call.group}' in '{location}' that could"
            " be recovered.",
        )
    return Answer(body=write(call, await call.directory.vaults.recover(name)))


async def _patch(call: Call) -> Answer:
    return await _change(call, await _found(call), whole=False)


async def _change(call: Call, old: Vault, *, whole: bool) -> Answer:
    held = await call.directory.roles_for(call.caller.object_id, old.resource_id)
    may_switch = roles.may_assign(held, _ASSIGN, None)

    def step(was: Vault) -> Vault:
        new = vault_wire.read_change(call, was, whole=whole)
        if new.access is was.access or may_switch:
            return new
        # Whoever may change the vault could otherwise give itself its secrets; judged here, by the vault as
        # it is when it is written, so that nobody switches back what an owner has just switched.
        raise refusals.ManagerRefusal(
            403,
            "InsufficientPermissions",
            f"Switching a vault between roles and access policies needs '{_ASSIGN}' over it.",
        )

    return Answer(body=write(call, await call.directory.vaults.change(old.name, step)))


async def _get(call: Call) -> Answer:
    return Answer(body=write(call, await _found(call)))


async def _delete(call: Call) -> Answer:
    vault = await find(call)
    if vault is None:
        return Answer(status=204)
    await call.directory.vaults.delete(vault.name)
    return Answer(status=200)


async def _list(call: Call) -> Answer:
    call.query.filter.known(frozenset())
    group = await enclosing.group(call) if call.group else None

    async def fetch(after: str | None, limit: int) -> list[Vault]:
        return await call.directory.vaults.page(
            call.subscription, group=group, after=after, limit=limit
        )

    found = await lists.gather(call, fetch, _key)
    return wire.page(call, found, lambda vault: write(call, vault))


def _key(vault: Vault) -> str:
    return vault.resource_id


async def _policies(call: Call) -> Answer:
    vault, kind = await _found(call), call.params["kind"].lower()
    if kind not in _KINDS:
        raise refusals.bad("BadRequest", f"Access policies are changed by {', '.join(_KINDS)}.")
    listed = wire.items(wire.inner(call.body, "properties"), "accessPolicies")
    if listed is None:
        raise refusals.bad("BadRequest", "The properties must name 'accessPolicies'.")
    given = policies.read(call, listed)

    def step(was: Vault) -> Vault:
        return replace(was, policies=policies.changed(was.policies, kind, given))

    new = await call.directory.vaults.change(vault.name, step)
    shown = [policies.write(one) for one in new.policies]
    body: dict[str, Any] = {
        "id": f"{vault.resource_id}/accessPolicies/",
        "type": f"{TYPE}/accessPolicies",
        "location": vault.location,
        "properties": {"accessPolicies": shown},
    }
    return Answer(body=body)


_SUB = "/subscriptions/{subscription}"
_ALL = f"{_SUB}/resourceGroups/{{group}}/providers/{TYPE}"
_ONE = f"{_ALL}/{{name}}"
_LIST = Operation(title="list vaults", action=f"{TYPE}/read", run=_list)

ROUTES = (
    Route(method="GET", path=f"{_SUB}/providers/{TYPE}", operation=_LIST),
    Route(method="GET", path=_ALL, operation=_LIST),
    *crud(_ONE, TYPE, "vault", get=_get, put=_put, patch=_patch, delete=_delete),
    Route(
        method="PUT",
        path=f"{_ONE}/accessPolicies/{{kind}}",
        operation=Operation(
            title="change access policies",
            action=f"{TYPE}/accessPolicies/write",
            run=_policies,
            reads_body=True,
        ),
    ),
)
