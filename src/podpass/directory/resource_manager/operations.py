"""Polling of asynchronous operations: response headers and the status routes.

Source:  https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
"""

from typing import Any

from podpass.directory.resource_manager import errors, wire
from podpass.directory.resource_manager.async_operations import OperationState, OperationStatus
from podpass.directory.resource_manager.model import (
    ManagerOperation,
    ManagerResponse,
    OperationContext,
    Route,
)

_FAILED = "OperationFailed"
_RETRY_AFTER = ("Retry-After", "1")  # without it az waits for 30 seconds before its first poll


def location_headers(context: OperationContext, parent: str) -> tuple[tuple[str, str], ...]:
    """Return the headers for a client that polls `Location` until it responds 200."""
    operation = context.operations.complete(context.now)
    return (_RETRY_AFTER, ("Location", _url(context, f"{parent}/operationresults/{operation}")))


def status_headers(
    context: OperationContext, parent: str, operation: str = ""
) -> tuple[tuple[str, str], ...]:
    """Return the headers for a client that polls the status of the operation; by default it is complete."""
    operation = operation or context.operations.complete(context.now)
    return (
        _RETRY_AFTER,
        ("Azure-AsyncOperation", _url(context, f"{parent}/operations/{operation}")),
        ("Location", _url(context, f"{parent}/operationresults/{operation}")),
    )


def _url(context: OperationContext, path: str) -> str:
    return f"{context.endpoints.base}{path}?api-version={context.query.api_version}"


async def _get_status(context: OperationContext) -> ManagerResponse:
    state = _require(context)
    time = wire.format_time(min(state.time, context.now))
    body: dict[str, Any] = {
        "id": context.path,
        "name": context.name,
        "status": state.status,
        "startTime": time,
    }
    if state.status is OperationStatus.IN_PROGRESS:
        return ManagerResponse(body=body, headers=(_RETRY_AFTER,))
    if state.status is OperationStatus.FAILED:
        body |= {"error": {"code": _FAILED, "message": state.message}}
    return ManagerResponse(body=body | {"endTime": time})


async def _get_result(context: OperationContext) -> ManagerResponse:
    state = _require(context)
    if state.status is OperationStatus.IN_PROGRESS:
        location = ("Location", _url(context, context.path))
        return ManagerResponse(status=202, headers=(_RETRY_AFTER, location))
    if state.status is OperationStatus.FAILED:
        raise errors.conflict(_FAILED, state.message)
    return ManagerResponse(status=200)


def _require(context: OperationContext) -> OperationState:
    state = context.operations.find(context.name, context.now)
    if state is None:
        raise errors.not_found("NotFound", f"There is no operation '{context.name}'.")
    return state


# No role is needed: the caller has the ID from the response of the operation.
_STATUS = ManagerOperation(title="show operation", action=None, run=_get_status)
_RESULT = ManagerOperation(title="show result of operation", action=None, run=_get_result)
_SUB = "/subscriptions/{subscription}"


def _routes(parent: str) -> tuple[Route, ...]:
    return (
        Route(method="GET", path=f"{parent}/operations/{{name}}", operation=_STATUS),
        Route(method="GET", path=f"{parent}/operationresults/{{name}}", operation=_RESULT),
    )


def polling_routes(namespace: str) -> tuple[Route, ...]:
    """Return the routes at which clients poll the operations of a provider."""
    return _routes(f"{_SUB}/providers/{namespace}/locations/{{location}}")


ROUTES = (
    *_routes(_SUB),
    *polling_routes("Microsoft.KeyVault"),
)
