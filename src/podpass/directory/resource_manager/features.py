"""Preview features of a subscription: each one is registered, because podpass has none to enable.

Source:  https://learn.microsoft.com/rest/api/resources/features
"""

from podpass.directory.resource_manager.model import (
    ManagerOperation,
    ManagerResponse,
    OperationContext,
    Route,
)

_TYPE = "Microsoft.Features/providers/features"
_ONE = "/subscriptions/{subscription}/providers/Microsoft.Features/providers/{namespace}/features/{name}"


async def _get(context: OperationContext) -> ManagerResponse:
    body = {
        "id": context.path.removesuffix("/register"),
        "name": f"{context.params['namespace']}/{context.name}",
        "type": _TYPE,
        "properties": {"state": "Registered"},
    }
    return ManagerResponse(body=body)


ROUTES = (
    Route(
        method="GET",
        path=_ONE,
        operation=ManagerOperation(
            title="show feature", action="Microsoft.Features/features/read", run=_get
        ),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/register",
        operation=ManagerOperation(
            title="register feature",
            action="Microsoft.Features/providers/features/register/action",
            run=_get,
        ),
    ),
)
