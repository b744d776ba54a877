"""Deleted vaults, names of vaults, and the managed HSMs that podpass does not have."""

from collections.abc import Awaitable, Callable

from podpass.directory import naming
from podpass.directory.errors import PurgeProtected
from podpass.directory.model import DeletedVault
from podpass.directory.resource_manager import locations, operations, refusals, vault_wire, wire
from podpass.directory.resource_manager.model import Answer, Call, Operation, Route

_PROVIDER = "Microsoft.KeyVault"
_READ = f"{_PROVIDER}/locations/deletedVaults/read"


async def _list(call: Call) -> Answer:
    gone = await call.directory.vaults.deleted(call.subscription)
    return wire.whole(vault_wire.write_deleted(call, one) for one in gone)


async def _found(call: Call) -> DeletedVault:
    location = locations.short(call.params["location"])
    gone = await call.directory.vaults.deleted(call.subscription, location=location, name=call.name)
    if not gone:
        raise refusals.missing(
            "DeletedVaultNotFound", f"There is no deleted vault '{call.name}' in '{location}'."
        )
    return gone[0]


async def _get(call: Call) -> Answer:
    return Answer(body=vault_wire.write_deleted(call, await _found(call)))


async def _purge(call: Call) -> Answer:
    gone = await _found(call)
    try:
        # What lay in it is not reachable any more, and is swept by the vaults themselves.
        await call.directory.vaults.purge(gone.vault.name)
    except PurgeProtected as exc:
        raise refusals.ManagerRefusal(
            405,
            "MethodNotAllowed",
            f"The deleted vault '{gone.vault.name}' is protected from being purged; it goes on its own when"
            " its retention is over.",
        ) from exc
    place = f"/subscriptions/{call.subscription}/providers/{_PROVIDER}"
    headers = operations.by_location(call, f"{place}/locations/{gone.vault.location}")
    return Answer(status=202, headers=headers)


def _name_check(kind: str) -> Callable[[Call], Awaitable[Answer]]:
    """Make the operation that tells whether a vault, or a managed HSM, can have a name."""

    async def run(call: Call) -> Answer:
        if (wire.text(call.body, "type") or kind).lower() != kind.lower():
            raise refusals.bad("BadRequest", f"'type' is {kind}.")
        name = (wire.text(call.body, "name") or "").lower()
        if (fault := naming.vault_name_fault(name)) is not None:
            return _taken("AccountNameInvalid", f"{fault.message}.")
        return await _vault_name(call, name)

    return run


async def _vault_name(call: Call, name: str) -> Answer:
    held = await call.directory.vaults.deleted(name=name)
    if held or await call.directory.vaults.get(name) is not None:
        state = "A deleted vault that can be recovered" if held else "A vault"
        return _taken("AlreadyExists", f"{state} has the name '{name}'.")
    return Answer(body={"nameAvailable": True})


def _taken(reason: str, message: str) -> Answer:
    return Answer(body={"nameAvailable": False, "reason": reason, "message": message})


async def _none(_: Call) -> Answer:
    return wire.whole(())


def _empty(path: str, action: str) -> Route:
    title = "list managed HSMs, of which there are none"
    return Route(
        method="GET", path=path, operation=Operation(title=title, action=action, run=_none)
    )


_SUB = "/subscriptions/{subscription}"
_PATH = f"{_SUB}/providers/{_PROVIDER}"
_ONE = f"{_PATH}/locations/{{location}}/deletedVaults/{{name}}"
_HSM = "Microsoft.KeyVault/managedHSMs"


def _check(path: str, kind: str) -> Route:
    return Route(
        method="POST",
        path=f"{_PATH}/{path}",
        operation=Operation(
            title="check name of vault",
            action=f"{_PROVIDER}/{path}/read",
            run=_name_check(kind),
            reads_body=True,
        ),
    )


ROUTES = (
    Route(
        method="GET",
        path=f"{_PATH}/deletedVaults",
        operation=Operation(
            title="list deleted vaults", action=f"{_PROVIDER}/deletedVaults/read", run=_list
        ),
    ),
    Route(
        method="GET",
        path=_ONE,
        operation=Operation(title="show deleted vault", action=_READ, run=_get),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/purge",
        operation=Operation(
            title="purge deleted vault",
            action=f"{_PROVIDER}/locations/deletedVaults/purge/action",
            run=_purge,
        ),
    ),
    _check("checkNameAvailability", vault_wire.TYPE),
    _check("checkMhsmNameAvailability", _HSM),
    _empty(f"{_PATH}/managedHSMs", f"{_PROVIDER}/managedHSMs/read"),
    _empty(f"{_PATH}/deletedManagedHSMs", f"{_PROVIDER}/deletedManagedHsms/read"),
    _empty(
        f"{_SUB}/resourceGroups/{{group}}/providers/{_PROVIDER}/managedHSMs",
        f"{_PROVIDER}/managedHSMs/read",
    ),
)
