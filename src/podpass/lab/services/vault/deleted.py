"""Deleted vaults, availability of vault names, and empty lists of managed HSMs."""

from collections.abc import Awaitable, Callable

from podpass.directory.errors import PurgeProtected
from podpass.directory.resource_manager import errors, locations, operations, wire
from podpass.directory.resource_manager.model import (
    ManagerOperation,
    ManagerResponse,
    OperationContext,
    Route,
)
from podpass.lab.services.vault import vault_json
from podpass.lab.services.vault.model import TYPE, DeletedVault, vault_name_fault
from podpass.lab.services.vault.vaults import Vaults

_PROVIDER = "Microsoft.KeyVault"
_READ = f"{_PROVIDER}/locations/deletedVaults/read"


async def _list(context: OperationContext) -> ManagerResponse:
    gone = await context.directory.store(Vaults).deleted(context.subscription_id)
    return wire.list_response(vault_json.deleted_to_json(context, one) for one in gone)


async def _require_deleted_vault(context: OperationContext) -> DeletedVault:
    location = locations.normalize(context.params["location"])
    gone = await context.directory.store(Vaults).deleted(
        context.subscription_id, location=location, name=context.name
    )
    if not gone:
        raise errors.not_found(
            "DeletedVaultNotFound", f"There is no deleted vault '{context.name}' in '{location}'."
        )
    return gone[0]


async def _get(context: OperationContext) -> ManagerResponse:
    return ManagerResponse(
        body=vault_json.deleted_to_json(context, await _require_deleted_vault(context))
    )


async def _purge(context: OperationContext) -> ManagerResponse:
    gone = await _require_deleted_vault(context)
    try:
        # The secrets of the vault become unreachable; the vault service deletes them in the background.
        await context.directory.store(Vaults).purge(gone.vault.name)
    except PurgeProtected as exc:
        raise errors.ManagerError(
            405,
            "MethodNotAllowed",
            f"The deleted vault '{gone.vault.name}' has purge protection. It is purged automatically at the"
            " end of its retention.",
        ) from exc
    provider = f"/subscriptions/{context.subscription_id}/providers/{_PROVIDER}"
    headers = operations.location_headers(context, f"{provider}/locations/{gone.vault.location}")
    return ManagerResponse(status=202, headers=headers)


def _name_check_handler(kind: str) -> Callable[[OperationContext], Awaitable[ManagerResponse]]:
    """Return the operation that checks if a name is available for a vault or a managed HSM."""

    async def run(context: OperationContext) -> ManagerResponse:
        if (wire.text(context.body, "type") or kind).lower() != kind.lower():
            raise errors.bad_request("BadRequest", f"'type' must be {kind}.")
        name = (wire.text(context.body, "name") or "").lower()
        if (fault := vault_name_fault(name)) is not None:
            return _unavailable("AccountNameInvalid", f"{fault.message}.")
        return await _check_vault_name(context, name)

    return run


async def _check_vault_name(context: OperationContext, name: str) -> ManagerResponse:
    deleted = await context.directory.store(Vaults).deleted(name=name)
    if deleted or await context.directory.store(Vaults).get(name) is not None:
        state = "A deleted vault that can be recovered" if deleted else "A vault"
        return _unavailable("AlreadyExists", f"{state} already has the name '{name}'.")
    return ManagerResponse(body={"nameAvailable": True})


def _unavailable(reason: str, message: str) -> ManagerResponse:
    return ManagerResponse(body={"nameAvailable": False, "reason": reason, "message": message})


async def _list_none(_: OperationContext) -> ManagerResponse:
    return wire.list_response(())


def _empty_list_route(path: str, action: str) -> Route:
    title = "list managed HSMs"
    return Route(
        method="GET",
        path=path,
        operation=ManagerOperation(title=title, action=action, run=_list_none),
    )


_SUB = "/subscriptions/{subscription}"
_PATH = f"{_SUB}/providers/{_PROVIDER}"
_ONE = f"{_PATH}/locations/{{location}}/deletedVaults/{{name}}"
_HSM = "Microsoft.KeyVault/managedHSMs"


def _name_check_route(path: str, kind: str) -> Route:
    return Route(
        method="POST",
        path=f"{_PATH}/{path}",
        operation=ManagerOperation(
            title="check name of vault",
            action=f"{_PROVIDER}/{path}/read",
            run=_name_check_handler(kind),
            reads_body=True,
        ),
    )


ROUTES = (
    Route(
        method="GET",
        path=f"{_PATH}/deletedVaults",
        operation=ManagerOperation(
            title="list deleted vaults", action=f"{_PROVIDER}/deletedVaults/read", run=_list
        ),
    ),
    Route(
        method="GET",
        path=_ONE,
        operation=ManagerOperation(title="show deleted vault", action=_READ, run=_get),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/purge",
        operation=ManagerOperation(
            title="purge deleted vault",
            action=f"{_PROVIDER}/locations/deletedVaults/purge/action",
            run=_purge,
        ),
    ),
    _name_check_route("checkNameAvailability", TYPE),
    _name_check_route("checkMhsmNameAvailability", _HSM),
    _empty_list_route(f"{_PATH}/managedHSMs", f"{_PROVIDER}/managedHSMs/read"),
    _empty_list_route(f"{_PATH}/deletedManagedHSMs", f"{_PROVIDER}/deletedManagedHsms/read"),
    _empty_list_route(
        f"{_SUB}/resourceGroups/{{group}}/providers/{_PROVIDER}/managedHSMs",
        f"{_PROVIDER}/managedHSMs/read",
    ),
)
