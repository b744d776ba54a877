"""Resource providers: which namespaces there are, and what each can do, out of the table of routes. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from podpass.directory.resource_manager import (
    cluster_wire,
    credentials,
    identities,
    locations,
    refusals,
    role_assignments,
    role_definitions,
    vault_wire,
    wire,
)
from podpass.directory.resource_manager.model import Answer, Call, Operation, Route

_READ = "Microsoft.Resources/subscriptions/providers/read"
_EVERYWHERE = [region.display_name for region in locations.REGIONS]

# Namespace, then its types, whether each lies in a location, and versions that clients have sent.
_TYPES: Mapping[str, Mapping[str, tuple[bool, tuple[str, ...]]]] = {
    "Microsoft.Authorization": {
        role_assignments.TYPE: (False, ("2022-04-01", "2020-04-01-preview", "2015-07-01")),
        role_definitions.TYPE: (False, ("2022-05-01-preview", "2022-04-01", "2015-07-01")),
        "Microsoft.Authorization/permissions": (False, ("2022-04-01", "2015-07-01")),
    },
    "Microsoft.ContainerService": {
        cluster_wire.TYPE: (True, ("2026-06-01", "2025-05-01", "2024-09-01", "2023-01-01")),
    },
    "Microsoft.KeyVault": {
        vault_wire.TYPE: (True, ("2026-02-01", "2024-11-01", "2023-07-01", "2023-02-01")),
        "Microsoft.KeyVault/deletedVaults": (False, ("2026-02-01", "2023-07-01", "2023-02-01")),
    },
    "Microsoft.ManagedIdentity": {
        identities.TYPE: (True, ("2025-05-31-preview", "2024-11-30", "2023-01-31", "2018-11-30")),
        credentials.TYPE: (False, ("2025-01-31-preview", "2024-11-30", "2023-01-31")),
    },
    "Microsoft.Resources": {
        "Microsoft.Resources/resourceGroups": (True, ("2024-11-01", "2022-09-01", "2021-04-01")),
        "Microsoft.Resources/subscriptions": (False, ("2022-12-01", "2020-01-01", "2016-06-01")),
    },
}


def _write(namespace: str, above: str) -> dict[str, Any]:
    types = [
        {
            "resourceType": kind.partition("/")[2],
            "locations": _EVERYWHERE if placed else [],
            "apiVersions": list(versions),
            "capabilities": "SupportsTags, SupportsLocation" if placed else "None",
        }
        for kind, (placed, versions) in _TYPES[namespace].items()
    ]
    return {
        "id": f"{above}/providers/{namespace}",
        "namespace": namespace,
        "registrationPolicy": "RegistrationRequired",
        "registrationState": "Registered",
        "resourceTypes": types,
    }


def _named(call: Call) -> str:
    given = call.params["namespace"].lower()
    for namespace in _TYPES:
        if namespace.lower() == given:
            return namespace
    raise refusals.missing(
        "InvalidResourceNamespace",
        f"The resource namespace '{call.params['namespace']}' is not in podpass, which has"
        f" {', '.join(_TYPES)}.",
    )


def _above(call: Call) -> str:
    return f"/subscriptions/{call.subscription}" if "subscription" in call.params else ""


async def _list(call: Call) -> Answer:
    return wire.whole(_write(namespace, _above(call)) for namespace in _TYPES)


async def _get(call: Call) -> Answer:
    return Answer(body=_write(_named(call), _above(call)))


def operations_of(routes: Iterable[Route]) -> Route:
    """Make the route that lists what a namespace can do."""
    actions: dict[str, str] = {}
    for route in routes:
        if route.operation.action is not None:
            actions.setdefault(route.operation.action, route.operation.title)

    async def run(call: Call) -> Answer:
        namespace = _named(call)
        return wire.whole(
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

    return Route(
        method="GET",
        path="/providers/{namespace}/operations",
        operation=Operation(title="list operations", action=None, run=run),
    )


_PROVIDERS = "/subscriptions/{subscription}/providers"
_LIST = Operation(title="list providers", action=_READ, run=_list)
_GET = Operation(title="show provider", action=_READ, run=_get)

ROUTES = (
    Route(method="GET", path=_PROVIDERS, operation=_LIST),
    Route(method="GET", path=f"{_PROVIDERS}/{{namespace}}", operation=_GET),
    Route(
        method="POST",
        path=f"{_PROVIDERS}/{{namespace}}/register",
        operation=Operation(
            title="register provider",
            action="Microsoft.Resources/subscriptions/providers/register/action",
            run=_get,
        ),
    ),
    Route(
        method="GET",
        path="/providers",
        operation=Operation(title="list providers", action=None, run=_list),
    ),
    Route(
        method="GET",
        path="/providers/{namespace}",
        operation=Operation(title="show provider", action=None, run=_get),
    ),
)
