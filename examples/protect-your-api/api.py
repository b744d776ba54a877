"""An example API that accepts only requests with a valid access token."""

import os

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from podpass.resource.guard import (
    Guard,
    KeysUnavailable,
    NotAllowed,
    Principal,
    TokenRefused,
    require_role,
)

# The webhook sets both variables: the tenant ID, and the client ID from the ServiceAccount's annotation.
guard = Guard(tenant_id=os.environ["AZURE_TENANT_ID"], audiences={os.environ["AZURE_CLIENT_ID"]})


async def caller(request: Request) -> Principal:
    return await guard.admit(request.headers.getlist("authorization"))


async def list_orders(request: Request) -> Response:
    who = await caller(request)
    return JSONResponse({"orders": ["tea", "rice"], "asked_by": who.app_id})


async def cancel_order(request: Request) -> Response:
    require_role(await caller(request), "Orders.Cancel")
    return JSONResponse({"cancelled": request.path_params["name"]})


async def health(_request: Request) -> Response:
    return Response("ok")


async def refuse(_request: Request, exc: Exception) -> Response:
    """Return 401 with a challenge for an invalid token, and 403 for a caller without the role."""
    headers = {"WWW-Authenticate": exc.challenge} if isinstance(exc, TokenRefused) else {}
    status = getattr(exc, "status", 500)
    return JSONResponse({"error": str(exc)}, status, headers)


app = Starlette(
    routes=[
        Route("/orders", list_orders),
        Route("/orders/{name}", cancel_order, methods=["DELETE"]),
        Route("/health", health),
    ],
    exception_handlers={TokenRefused: refuse, NotAllowed: refuse, KeysUnavailable: refuse},
)

if __name__ == "__main__":
    uvicorn.run(app, host=os.environ["HOST"], port=int(os.environ["PORT"]), log_level="warning")
