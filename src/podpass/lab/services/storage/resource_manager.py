"""Storage accounts in Resource Manager."""

import re
from collections.abc import Mapping
from typing import Any

from podpass import names
from podpass.directory.model import OtherResource
from podpass.directory.resource_manager import errors, wire
from podpass.directory.resource_manager.model import (
    ManagerResponse,
    OperationContext,
    build_route,
)
from podpass.directory.resource_manager.plain_resources import PlainType, create_provider
from podpass.lab.services.storage.accounts import TYPE

_NAME = re.compile(r"[a-z0-9]{3,24}")
_MEMBERS = ("sku", "identity", "properties")


def is_name(name: str) -> bool:
    """Return whether a name is valid for a storage account."""
    return _NAME.fullmatch(name) is not None


def _validate(_name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that are stored. Their content is not checked."""
    found: dict[str, Any] = {"kind": wire.text(body, "kind")}
    found |= {member: wire.object_member(body, member) for member in _MEMBERS}
    return {member: value for member, value in found.items() if value}


async def _show(_context: OperationContext, found: OtherResource) -> Mapping[str, Any]:
    hosts = {each: f"{found.name}.{each}.{names.STORAGE_SUFFIX}" for each in names.STORAGE_SERVICES}
    properties = {
        **found.document.get("properties", {}),
        "primaryEndpoints": {service: f"https://{host}/" for service, host in hosts.items()},
        "provisioningState": "Succeeded",
    }
    return {**found.document, "properties": properties}


async def _check_new(context: OperationContext, name: str) -> None:
    """Check that a new account has a name for a host, which no other account has. Raises ManagerError."""
    match await _name_problem(context, name):
        case "AccountNameInvalid", text:
            raise errors.bad_request("AccountNameInvalid", text)
        case "AlreadyExists", text:
            raise errors.conflict("StorageAccountAlreadyTaken", text)


async def _name_problem(context: OperationContext, name: str) -> tuple[str, str] | None:
    """Return why a new account cannot have a name: Azure's reason and a text."""
    if not is_name(name):
        text = f"The name '{name[:80]}' is invalid: want 3 to 24 lower-case letters and digits."
        return "AccountNameInvalid", text
    if await context.directory.other_resources.page_named(TYPE, name):
        return "AlreadyExists", f"The storage account {name} exists already."
    return None


async def _check_account_name(context: OperationContext) -> ManagerResponse:
    problem = await _name_problem(context, wire.text(context.body, "name") or "")
    if problem is None:
        return ManagerResponse(body={"nameAvailable": True})
    reason, text = problem
    return ManagerResponse(body={"nameAvailable": False, "reason": reason, "message": text})


_ACCOUNTS = PlainType(
    name=TYPE,
    noun=f"resource {TYPE}",
    versions=("2024-11-01", "2024-01-01", "2023-05-01", "2022-05-01", "2021-04-15"),
    validate=_validate,
    created_status=200,  # the client of storage accounts accepts no 201
    show=_show,
    check_new=_check_new,
)
_CHECK_NAME = build_route(
    "POST",
    "/subscriptions/{subscription}/providers/Microsoft.Storage/checkNameAvailability",
    "check name of storage account",
    "Microsoft.Storage/checkNameAvailability/read",
    _check_account_name,
    reads_body=True,
)
PROVIDER = create_provider(_ACCOUNTS, routes=(_CHECK_NAME,))
