"""The control API of an instance, for its command line: status, directory queries, and applying a seed.

It listens on loopback with TLS, or with `podpass up --listen` on all addresses of a container. Every request
except `/healthz` needs the control token, which only the owner of the data directory can read: a caller of
this API can give any role to any identity.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import parse_qsl

import orjson

from podpass.crypto.secret import Secret
from podpass.errors import Error, UsageError
from podpass.http.server import (
    JSON,
    App,
    BodyTooLarge,
    Headers,
    Receive,
    Scope,
    Send,
    header,
    read_body,
    respond,
)
from podpass.log import correlation_id

_log = logging.getLogger(__name__)

_SERVER_ERROR = 500
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
MAX_SEED_BYTES = 1024 * 1024

Query = Mapping[str, str]
Handler = Callable[[Query, Receive], Awaitable[dict[str, Any]]]
FindDamaged = Callable[[], Awaitable[Sequence[Mapping[str, str]]]]


class ControlBackend(Protocol):
    """The operations of a running instance."""

    def status(self) -> dict[str, Any]: ...

    async def apply(self, text: str, filename: str) -> list[str]: ...

    async def identities(self, query: Query) -> dict[str, Any]: ...

    async def audit(self, filters: Query) -> dict[str, Any]: ...


class ControlUnauthorized(Error):
    """The request has no control token, or a wrong one."""

    code = "control_unauthorized"
    status = 401


class SeedTooLarge(Error):
    """The seed is larger than the limit."""

    code = "seed_too_large"
    status = 413
    hint = f"split the file into several files of less than {MAX_SEED_BYTES} bytes"


class _PathNotFound(Error):
    code = "control_path_not_found"
    status = 404


class _MethodNotAllowed(Error):
    code = "control_method_not_allowed"
    status = 405


def create_app(
    instance: ControlBackend,
    token: Secret,
    create_link: Callable[[], str] | None = None,
    more: Mapping[str, tuple[str, Handler]] = MappingProxyType({}),
    *,
    find_damaged: FindDamaged,
) -> App:
    """Create the control application.

    `create_link` returns a one-time link of the console, if there is one; `more` are further paths, each with
    its method and its handler. `find_damaged` returns the database files that cannot be used.
    """
    routes = {**_routes(instance, create_link), **more}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/healthz" and scope["method"] == "GET":
            await respond(send, 200, b"ok\n", (_TEXT,))
            return
        headers: Headers = (JSON,)
        try:
            handler = _find_handler(routes, scope)
            _check_token(scope, token)
            query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
            status, body = 200, await handler(query, receive)
            if "damaged" in body:
                # Pages in memory can answer requests although the next start cannot read the file.
                body["damaged"] = [*await find_damaged(), *body["damaged"]]
            if "ready" in body:
                body["ready"] = not body["damaged"]
        except Error as exc:
            status, body = _error_response(exc)
            if isinstance(exc, _MethodNotAllowed):
                headers = (JSON, (b"allow", str(exc.facts["allow"]).encode()))
        except Exception as exc:  # noqa: BLE001 a bug is logged, and its response has no details
            status, body = _bug_response(exc)
        await respond(send, status, orjson.dumps(body), headers)

    return app


def _routes(
    instance: ControlBackend, create_link: Callable[[], str] | None
) -> dict[str, tuple[str, Handler]]:
    """Return the method and the handler of each path."""

    async def status(_query: Query, _receive: Receive) -> dict[str, Any]:
        return {**instance.status(), "damaged": []}

    async def apply(query: Query, receive: Receive) -> dict[str, Any]:
        text = await _read_seed(receive)
        return {"changed": await instance.apply(text, query.get("filename", "seed"))}

    async def identities(query: Query, _receive: Receive) -> dict[str, Any]:
        return await instance.identities(query)

    async def audit(query: Query, _receive: Receive) -> dict[str, Any]:
        return await instance.audit(query)

    routes: dict[str, tuple[str, Handler]] = {
        "/status": ("GET", status),
        "/apply": ("POST", apply),
        "/identities": ("GET", identities),
        "/audit": ("GET", audit),
    }
    if create_link is not None:

        async def console_link(_query: Query, _receive: Receive) -> dict[str, Any]:
            return {"link": create_link()}

        routes["/console/links"] = ("POST", console_link)
    return routes


def _find_handler(routes: Mapping[str, tuple[str, Handler]], scope: Scope) -> Handler:
    route = routes.get(scope["path"])
    if route is None:
        raise _PathNotFound(f"the control API has no path {scope['path']}")
    method, handler = route
    if scope["method"] != method:
        raise _MethodNotAllowed(f"{scope['path']} accepts only {method}", allow=method)
    return handler


def _check_token(scope: Scope, token: Secret) -> None:
    scheme, _, given = (header(scope, b"authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not token.matches(given):
        raise ControlUnauthorized("the request needs the control token of the data directory")


async def _read_seed(receive: Receive) -> str:
    try:
        return (await read_body(receive, MAX_SEED_BYTES)).decode()
    except BodyTooLarge as exc:
        raise SeedTooLarge(f"the seed is longer than {MAX_SEED_BYTES} bytes") from exc
    except UnicodeDecodeError as exc:
        raise UsageError("the seed is not UTF-8", hint="save the file as UTF-8") from exc


def _error_response(exc: Error) -> tuple[int, dict[str, Any]]:
    facts = {"code": exc.code, "status": exc.status}
    if exc.status >= _SERVER_ERROR:
        _log.error("control_request_failed", extra={**facts, "cause": exc.message, **exc.facts})
    else:
        _log.info("control_request_refused", extra=facts)
    body = {"error": {"code": exc.code, "message": exc.message, "hint": exc.hint}}
    return exc.status, body


def _bug_response(exc: Exception) -> tuple[int, dict[str, Any]]:
    _log.error("control_request_failed", exc_info=exc)
    error = {
        "code": "bug",
        "message": "unexpected error in the instance",
        "hint": "check podpass.log in the data directory",
    }
    return _SERVER_ERROR, {"error": error, "correlation_id": correlation_id.get()}
