"""Preview features of a subscription: each one is registered, because podpass has none to enable.

Source:  https://learn.microsoft.com/rest/api/resources/features
"""

from podpass.directory.resource_manager.model import (
    ManagerResponse,
    OperationContext,
    build_route,
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
    build_route("GET", _ONE, "show feature", "Microsoft.Features/features/read", _get),
    build_route(
        "POST",
        f"{_ONE}/register",
        "register feature",
        "Microsoft.Features/providers/features/register/action",
        _get,
    ),
)
