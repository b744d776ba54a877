"""Polling of asynchronous operations: response headers and the status routes.

Source:  https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
"""

from podpass.directory.resource_manager import errors, wire
from podpass.directory.resource_manager.model import (
    ManagerOperation,
    ManagerResponse,
    OperationContext,
    Route,
)

_RETRY_AFTER = ("Retry-After", "1")  # without it az waits for 30 seconds before its first poll


def location_headers(context: OperationContext, parent: str) -> tuple[tuple[str, str], ...]:
    """Return the headers for a client that polls `Location` until it responds 200."""
    operation = context.operations.complete(context.now)
    return (_RETRY_AFTER, ("Location", _url(context, f"{parent}/operationresults/{operation}")))


def status_headers(context: OperationContext, parent: str) -> tuple[tuple[str, str], ...]:
    """Return the headers for a client that polls the status of the operation."""
    operation = context.operations.complete(context.now)
    return (
        _RETRY_AFTER,
        ("Azure-AsyncOperation", _url(context, f"{parent}/operations/{operation}")),
        ("Location", _url(context, f"{parent}/operationresults/{operation}")),
    )


def _url(context: OperationContext, path: str) -> str:
    return f"{context.endpoints.base}{path}?api-version={context.query.api_version}"


async def _get_status(context: OperationContext) -> ManagerResponse:
    time = wire.format_time(_completed_at(context))
    times = {"startTime": time, "endTime": time}
    return ManagerResponse(
        body={"id": context.path, "name": context.name, "status": "Succeeded", **times}
    )


async def _get_result(context: OperationContext) -> ManagerResponse:
    _completed_at(context)
    return ManagerResponse(status=200)


def _completed_at(context: OperationContext) -> float:
    time = context.operations.completed_at(context.name)
    if time is None:
        raise errors.not_found("NotFound", f"There is no operation '{context.name}'.")
    return time


# No role is needed: the caller has the ID from the response of the operation.
_STATUS = ManagerOperation(title="show operation", action=None, run=_get_status)
_RESULT = ManagerOperation(title="show result of operation", action=None, run=_get_result)
_SUB = "/subscriptions/{subscription}"
_PARENTS = (
    _SUB,
    f"{_SUB}/providers/Microsoft.KeyVault/locations/{{location}}",
    f"{_SUB}/providers/Microsoft.ContainerService/locations/{{location}}",
    f"{_SUB}/providers/Microsoft.ServiceLinker/locations/{{location}}",
)

ROUTES = (
    *(Route(method="GET", path=f"{p}/operations/{{name}}", operation=_STATUS) for p in _PARENTS),
    *(
        Route(method="GET", path=f"{p}/operationresults/{{name}}", operation=_RESULT)
        for p in _PARENTS
    ),
)
