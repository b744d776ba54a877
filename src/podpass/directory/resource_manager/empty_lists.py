"""Lists that are always empty: resources that podpass does not serve, locks, policies, deployments.

A script that reads what a subscription has finds none of these. Writing one of them is refused, as every path
that is not served.
"""

from collections.abc import Iterator, Mapping

from podpass.directory.resource_manager import scopes, wire
from podpass.directory.resource_manager.model import (
    ManagerOperation,
    ManagerResponse,
    OperationContext,
    Route,
)

# For each type the api-versions that clients use.
RESOURCES: Mapping[str, tuple[str, ...]] = {
    "Microsoft.Compute/disks": ("2025-01-02", "2023-04-02"),
    "Microsoft.Compute/virtualMachines": ("2025-04-01", "2024-11-01", "2022-11-01"),
    "Microsoft.Compute/virtualMachineScaleSets": ("2025-04-01", "2024-11-01", "2022-11-01"),
    "Microsoft.ContainerRegistry/registries": ("2025-11-01", "2023-07-01", "2022-12-01"),
    "Microsoft.Network/loadBalancers": ("2025-05-01", "2022-01-01"),
    "Microsoft.Network/networkInterfaces": ("2025-05-01", "2022-01-01"),
    "Microsoft.Network/networkSecurityGroups": ("2025-05-01", "2022-01-01"),
    "Microsoft.Network/publicIPAddresses": ("2025-05-01", "2022-01-01"),
    "Microsoft.Network/virtualNetworks": ("2025-05-01", "2022-01-01"),
    "Microsoft.Resources/deployments": ("2025-04-01", "2024-11-01", "2022-09-01"),
}
# These exist at every scope: a subscription, a group or a resource.
EXTENSIONS: Mapping[str, tuple[str, ...]] = {
    "Microsoft.Authorization/locks": ("2020-05-01", "2016-09-01"),
    "Microsoft.Authorization/policyAssignments": ("2025-03-01", "2024-04-01", "2022-06-01"),
    "Microsoft.Authorization/policyExemptions": ("2022-07-01-preview", "2020-07-01-preview"),
}
_SUB = "/subscriptions/{subscription}"
_TAG_NAMES = "Microsoft.Resources/subscriptions/tagNames"


async def _list(context: OperationContext) -> ManagerResponse:
    await scopes.require_existing(context, context.scope)
    return wire.list_response(())


def _routes() -> Iterator[Route]:
    paths = {
        **{f"{_SUB}/providers/{kind}": kind for kind in RESOURCES},
        **{f"{_SUB}/resourceGroups/{{group}}/providers/{kind}": kind for kind in RESOURCES},
        **{f"{{scope}}/providers/{kind}": kind for kind in EXTENSIONS},
        f"{_SUB}/tagNames": _TAG_NAMES,
    }
    for path, kind in paths.items():
        operation = ManagerOperation(title=f"list {kind}", action=f"{kind}/read", run=_list)
        yield Route(method="GET", path=path, operation=operation)


ROUTES = tuple(_routes())
