"""Resources of services that podpass does not serve, such as storage accounts: stored and returned as sent.

They are targets of connections and scopes of roles. No request to the service itself is served.
"""

from typing import Any

from podpass import names
from podpass.directory import resource_ids
from podpass.directory.model import OtherResource, WriteResult
from podpass.directory.resource_manager import errors, linker_targets, paging, resources, wire
from podpass.directory.resource_manager.model import (
    ManagerOperation,
    ManagerResponse,
    OperationContext,
    Route,
    crud_routes,
)

TYPES = tuple(one for one in linker_targets.TYPES if one != linker_targets.VAULT)
API_VERSIONS = ("2024-11-01", "2024-01-01", "2023-05-01", "2022-05-01", "2021-04-15")
_MEMBERS = ("kind", "sku", "identity", "properties")


def to_json(found: OtherResource) -> dict[str, Any]:
    """Return a stored resource as a response body."""
    return {
        "id": found.resource_id,
        "name": found.name,
        "type": found.type,
        "location": found.location,
        "tags": dict(found.tags),
        **found.document,
        "properties": {
            **found.document.get("properties", {}),
            **_endpoints(found),
            "provisioningState": "Succeeded",
        },
    }


def _endpoints(found: OtherResource) -> dict[str, Any]:
    if found.type != linker_targets.STORAGE:
        return {}
    hosts = {each: f"{found.name}.{each}.{names.STORAGE_SUFFIX}" for each in names.STORAGE_SERVICES}
    return {"primaryEndpoints": {service: f"https://{host}/" for service, host in hosts.items()}}


def _routes(kind: str) -> tuple[Route, ...]:
    noun, handlers = f"resource {kind}", _Handlers(kind)
    listing = ManagerOperation(title=f"list {noun}", action=f"{kind}/read", run=handlers.list_page)
    one = f"{_GROUP}/providers/{kind}/{{name}}"
    get, put, delete = handlers.get, handlers.put, handlers.delete
    return (
        Route(method="GET", path=f"{_SUB}/providers/{kind}", operation=listing),
        Route(method="GET", path=f"{_GROUP}/providers/{kind}", operation=listing),
        *crud_routes(one, kind, noun, get=get, put=put, delete=delete),
    )


class _Handlers:
    """The operations on resources of one type."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    async def put(self, context: OperationContext) -> ManagerResponse:
        if not linker_targets.is_name(context.name):
            raise errors.bad_request(
                "InvalidResourceName",
                f"The name '{context.name[:80]}' is invalid: want 1 to 63 letters, digits, '-' and '_',"
                " beginning and ending with a letter or digit.",
            )
        resource_id = await self._id(context)
        location = wire.location(context.body, self._kind)
        old = await context.directory.other_resources.get(resource_id)
        if old is None:
            await self._check_name(context)
        if old is not None:
            wire.require_same_location("resource", old.name, old.location, location)
        new = OtherResource(
            resource_id=old.resource_id if old else resource_id,
            type=self._kind,
            name=old.name if old else context.name,
            location=location,
            tags=wire.tags(context.body) or {},
            document=_parse(context),
        )
        change = await context.directory.other_resources.put(new)
        # The client of storage accounts accepts no 201.
        is_account = self._kind == linker_targets.STORAGE
        status = 201 if change is WriteResult.CREATED and not is_account else 200
        return ManagerResponse(status=status, body=to_json(new))

    async def _check_name(self, context: OperationContext) -> None:
        """Check that a new storage account has a name for a host, which no other account has.

        Raises ManagerError.
        """
        if self._kind != linker_targets.STORAGE:
            return
        match await _name_problem(context, context.name):
            case "AccountNameInvalid", text:
                raise errors.bad_request("AccountNameInvalid", text)
            case "AlreadyExists", text:
                raise errors.conflict("StorageAccountAlreadyTaken", text)

    async def get(self, context: OperationContext) -> ManagerResponse:
        found = await context.directory.other_resources.get(await self._id(context))
        if found is None:
            raise errors.resource_not_found(self._kind, context.name, context.group)
        return ManagerResponse(body=to_json(found))

    async def delete(self, context: OperationContext) -> ManagerResponse:
        existed = await context.directory.other_resources.delete(await self._id(context))
        return ManagerResponse(status=200 if existed else 204)

    async def list_page(self, context: OperationContext) -> ManagerResponse:
        context.query.filter.require_known(frozenset())
        group = await resources.parent_group(context) if context.group else None

        async def fetch(after: str | None, limit: int) -> list[OtherResource]:
            return await context.directory.other_resources.page(
                context.subscription_id, group=group, type_=self._kind, after=after, limit=limit
            )

        found = await paging.collect_page(context, fetch, _page_key)
        return wire.page_response(context, found, to_json)

    async def _id(self, context: OperationContext) -> str:
        group = await resources.parent_group(context)
        group_id = resource_ids.group_id(context.subscription_id, group)
        return f"{group_id}/providers/{self._kind}/{context.name}"


async def _name_problem(context: OperationContext, name: str) -> tuple[str, str] | None:
    """Return why a new storage account cannot have a name: Azure's reason and a text."""
    if not linker_targets.is_account_name(name):
        text = f"The name '{name[:80]}' is invalid: want 3 to 24 lower-case letters and digits."
        return "AccountNameInvalid", text
    if await context.directory.other_resources.page_named(linker_targets.STORAGE, name):
        return "AlreadyExists", f"The storage account {name} exists already."
    return None


async def _check_account_name(context: OperationContext) -> ManagerResponse:
    problem = await _name_problem(context, wire.text(context.body, "name") or "")
    if problem is None:
        return ManagerResponse(body={"nameAvailable": True})
    reason, text = problem
    return ManagerResponse(body={"nameAvailable": False, "reason": reason, "message": text})


def _page_key(found: OtherResource) -> str:
    return found.resource_id


def _parse(context: OperationContext) -> dict[str, Any]:
    """Return the members that are stored. Their content is not checked."""
    found: dict[str, Any] = {}
    for name in _MEMBERS:
        value: Any = (
            wire.text(context.body, name)
            if name == "kind"
            else wire.object_member(context.body, name)
        )
        if value:
            found[name] = value
    return found


_SUB = "/subscriptions/{subscription}"
_GROUP = f"{_SUB}/resourceGroups/{{group}}"

ROUTES = (
    *(route for kind in TYPES for route in _routes(kind)),
    Route(
        method="POST",
        path=f"{_SUB}/providers/Microsoft.Storage/checkNameAvailability",
        operation=ManagerOperation(
            title="check name of storage account",
            action="Microsoft.Storage/checkNameAvailability/read",
            run=_check_account_name,
            reads_body=True,
        ),
    ),
)
