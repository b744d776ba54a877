"""The instance's own API, for its command line: what runs, what the directory holds, apply a seed.

Loopback only, over TLS, and with a token that only the owner of the data dir can read: whoever may call this
may give any identity any role.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from podpass.crypto.secret import Secret
from podpass.errors import Error, UsageError
from podpass.log import correlation_id

_log = logging.getLogger(__name__)

_OURS = 500
MAX_SEED_BYTES = 1024 * 1024


class Instance(Protocol):
    """What the control API can ask of a running instance."""

    def status(self) -> dict[str, Any]: ...

    async def apply(self, text: str, filename: str) -> list[str]: ...

    async def identities(self, asked: Mapping[str, str]) -> dict[str, Any]: ...

    async def vaults(self) -> dict[str, Any]: ...

    async def audit(self, asked: Mapping[str, str]) -> dict[str, Any]: ...


class Unauthorized(Error):
    """The request has no token, or a wrong one."""

    code = "control_unauthorized"
    status = 401


class SeedTooLarge(Error):
    """A seed is longer than any that makes sense."""

    code = "seed_too_large"
    status = 413
    hint = f"split the file into several of less than {MAX_SEED_BYTES} bytes"


Handler = Callable[[Request], Awaitable[Response]]


def create_app(instance: Instance, token: Secret) -> Starlette:
    """Make the control application; all paths but `/healthz` want the token."""

    async def status(_: Request) -> Response:
        return JSONResponse(instance.status())

    async def apply(request: Request) -> Response:
        text = await _read_seed(request)
        changed = await instance.apply(text, request.query_params.get("filename", "seed"))
        return JSONResponse({"changed": changed})

    async def identities(request: Request) -> Response:
        return JSONResponse(await instance.identities(request.query_params))

    async def vaults(_: Request) -> Response:
        return JSONResponse(await instance.vaults())

    async def audit(request: Request) -> Response:
        return JSONResponse(await instance.audit(request.query_params))

    guarded: list[tuple[str, str, Handler]] = [
        ("GET", "/status", status),
        ("POST", "/apply", apply),
        ("GET", "/identities", identities),
        ("GET", "/vaults", vaults),
        ("GET", "/audit", audit),
    ]
    return Starlette(
        routes=[
            Route("/healthz", _healthz, methods=["GET"]),
            *(
                Route(path, _guard(handler, token), methods=[verb])
                for verb, path, handler in guarded
            ),
        ],
        exception_handlers={Error: _answer_error, Exception: _answer_bug},
    )


def _guard(handler: Handler, token: Secret) -> Handler:
    async def guarded(request: Request) -> Response:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.matches(given):
            raise Unauthorized("this needs the token of the instance's data dir")
        return await handler(request)

    return guarded


async def _healthz(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _read_seed(request: Request) -> str:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_SEED_BYTES:
            raise SeedTooLarge(f"the seed is longer than {MAX_SEED_BYTES} bytes")
    try:
        return body.decode()
    except UnicodeDecodeError as exc:
        raise UsageError("the seed is not UTF-8", hint="save the file as UTF-8") from exc


async def _answer_error(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, Error)
    facts = {"code": exc.code, "status": exc.status}
    if exc.status >= _OURS:
        _log.error("control_request_failed", extra={**facts, "cause": exc.message, **exc.facts})
    else:
        _log.info("control_request_refused", extra=facts)
    body = {"error": {"code": exc.code, "message": exc.message, "hint": exc.hint}}
    return JSONResponse(body, status_code=exc.status)


async def _answer_bug(_: Request, exc: Exception) -> Response:
    _log.error("control_request_failed", exc_info=exc)
    body = {"error": {"code": "bug", "message": "podpass failed", "hint": "look at podpass.log"}}
    return JSONResponse(body | {"correlation_id": correlation_id.get()}, status_code=500)
