"""Resource providers: the namespaces and, from the route table, the operations of each. Pure."""

from collections.abc import Iterable
from typing import Any

from podpass.directory.resource_manager import (
    empty_lists,
    errors,
    federated_credentials,
    identities,
    locations,
    role_assignments,
    role_definitions,
    scopes,
    wire,
)
from podpass.directory.resource_manager.model import (
    ManagerOperation,
    ManagerResponse,
    OperationContext,
    ResourceType,
    Route,
    build_route,
)

_READ = "Microsoft.Resources/subscriptions/providers/read"
_EVERYWHERE = [region.display_name for region in locations.REGIONS]

TYPES = (
    *(
        ResourceType(name=name, versions=versions, has_location=has_location)
        for name, has_location, versions in (
            (role_assignments.TYPE, False, ("2022-04-01", "2020-04-01-preview", "2015-07-01")),
            (role_definitions.TYPE, False, ("2022-05-01-preview", "2022-04-01", "2015-07-01")),
            ("Microsoft.Authorization/permissions", False, ("2022-04-01", "2015-07-01")),
            (federated_credentials.TYPE, False, ("2025-01-31-preview", "2024-11-30", "2023-01-31")),
            (
                "Microsoft.Resources/resourceGroups",
                True,
                ("2024-11-01", "2022-09-01", "2021-04-01"),
            ),
            (
                "Microsoft.Resources/subscriptions",
                False,
                ("2022-12-01", "2020-01-01", "2016-06-01"),
            ),
            *((kind, True, versions) for kind, versions in empty_lists.RESOURCES.items()),
            *((kind, False, versions) for kind, versions in empty_lists.EXTENSIONS.items()),
        )
    ),
    ResourceType(
        name=identities.TYPE,
        versions=("2025-05-31-preview", "2024-11-30", "2023-01-31", "2018-11-30"),
        find=scopes.find_identity,
    ),
)


def _to_json(context: OperationContext, namespace: str) -> dict[str, Any]:
    parent = f"/subscriptions/{context.subscription_id}" if "subscription" in context.params else ""
    types = [
        {
            "resourceType": kind.name.partition("/")[2],
            "locations": _EVERYWHERE if kind.has_location else [],
            "apiVersions": list(kind.versions),
            "capabilities": "SupportsTags, SupportsLocation" if kind.has_location else "None",
        }
        for kind in context.types.by_namespace[namespace]
    ]
    return {
        "id": f"{parent}/providers/{namespace}",
        "namespace": namespace,
        "registrationPolicy": "RegistrationRequired",
        "registrationState": "Registered",
        "resourceTypes": types,
    }


def _namespace(context: OperationContext) -> str:
    given = context.params["namespace"].lower()
    for namespace in context.types.by_namespace:
        if namespace.lower() == given:
            return namespace
    raise errors.not_found(
        "InvalidResourceNamespace",
        f"podpass does not serve the resource namespace '{context.params['namespace']}'. It serves"
        f" {', '.join(context.types.by_namespace)}.",
    )


async def _list(context: OperationContext) -> ManagerResponse:
    return wire.list_response(_to_json(context, each) for each in context.types.by_namespace)


async def _get(context: OperationContext) -> ManagerResponse:
    return ManagerResponse(body=_to_json(context, _namespace(context)))


def operations_route(routes: Iterable[Route]) -> Route:
    """Return the route that lists the operations of a namespace."""
    actions: dict[str, str] = {}
    for route in routes:
        if route.operation.action is not None:
            actions.setdefault(route.operation.action, route.operation.title)

    async def run(context: OperationContext) -> ManagerResponse:
        namespace = _namespace(context)
        return wire.list_response(
            {
                "name": action,
                "isDataAction": False,
                "origin": "user,system",
                "display": {
                    "provider": namespace,
                    "resource": action.rpartition("/")[0],
                    "operation": title,
                    "description": title,
                },
            }
            for action, title in sorted(actions.items())
            if action.partition("/")[0] == namespace
        )

    return build_route("GET", "/providers/{namespace}/operations", "list operations", None, run)


_PROVIDERS = "/subscriptions/{subscription}/providers"
_LIST = ManagerOperation(title="list providers", action=_READ, run=_list)
_GET = ManagerOperation(title="show provider", action=_READ, run=_get)

ROUTES = (
    Route(method="GET", path=_PROVIDERS, operation=_LIST),
    Route(method="GET", path=f"{_PROVIDERS}/{{namespace}}", operation=_GET),
    build_route(
        "POST",
        f"{_PROVIDERS}/{{namespace}}/register",
        "register provider",
        "Microsoft.Resources/subscriptions/providers/register/action",
        _get,
    ),
    build_route("GET", "/providers", "list providers", None, _list),
    build_route("GET", "/providers/{namespace}", "show provider", None, _get),
)
