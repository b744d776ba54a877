"""The HTTP handler of Microsoft Graph: it parses a request, runs its operation and encodes the response.

The steps are: authenticate the caller, find the operation, check the permission, read the body, run the
operation.
"""

import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from podpass import database
from podpass.clock import Clock
from podpass.directory.access import Admit, Caller, NotAdmitted, Reason
from podpass.directory.actor import Actor, acting
from podpass.directory.graph import batch, errors, paths, permissions, routes, wire
from podpass.directory.graph.model import GraphContext, GraphOperation, GraphRequest, GraphResponse
from podpass.directory.graph.paths import ObjectKey
from podpass.directory.resources import GRAPH_APP_ID
from podpass.directory.store.directory import Directory
from podpass.http.api_frame import (
    ApiFrame,
    EncodedResponse,
    ErrorOutcome,
    RequestProgress,
    common_headers,
    request_ids,
)
from podpass.http.request_path import raw_path
from podpass.http.server import (
    JSON,
    App,
    BodyRefused,
    Headers,
    Receive,
    Scope,
    header,
    header_values,
    read_decoded_body,
)

MAX_BODY_BYTES = 512 * 1024
_MAX_TARGET_CHARS = 512
_MAX_KEY_CHARS = 512
_LOOPBACK = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?")
_PUBLIC_HOST = "graph.microsoft.com"
_TEXT = (b"content-type", b"text/plain")
# The client_id names Graph, so that clients know the resource of the token to request.
_CHALLENGE = (
    'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize"'
    f', client_id="{GRAPH_APP_ID}"'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One HTTP request, or one request of a batch.

    `headers` have names in lower case; `read` returns the body and is called once.
    """

    method: str
    raw_path: bytes
    query: bytes
    host: str
    headers: dict[str, str]
    read: Callable[[], Awaitable[bytes]]


def create_app(
    directory: Directory,
    admit: Admit,
    tenant_id: str,
    domain: str,
    clock: Clock,
    *,
    hash_password: Callable[[str], str],
    administrators: Iterable[str] = (),
) -> App:
    """Create the application that serves Microsoft Graph for one tenant.

    `domain` is the domain in the names of the tenant's users; `administrators` are object IDs. URLs in
    responses have the host of the request if it is a loopback host, otherwise Microsoft's host.
    """
    context = GraphContext(
        tenant_id=tenant_id,
        domain=domain.lower(),
        hash_password=hash_password,
        administrators=frozenset(administrators),
    )
    return GraphApp(directory, admit, context, clock)


class GraphApp(ApiFrame[GraphResponse, RequestProgress]):
    """Microsoft Graph of one tenant."""

    logger = logging.getLogger(__name__)
    stage = "directory"
    answered_event = "graph_request_answered"
    failed_event = "graph_request_failed"

    def __init__(
        self, directory: Directory, admit: Admit, context: GraphContext, clock: Clock
    ) -> None:
        self._directory = directory
        self._admit = admit
        self._context = context
        self._clock = clock

    def begin(self, scope: Scope) -> RequestProgress:
        ids = request_ids(scope, b"client-request-id", b"x-ms-client-request-id")
        return RequestProgress(asked="a request", **ids)

    async def serve(
        self, scope: Scope, receive: Receive, progress: RequestProgress
    ) -> GraphResponse:
        caller = await self._authenticate(scope, progress)
        request = _http_request(scope, receive)
        version, steps = paths.parse_path(request.raw_path)
        if steps == ("$batch",) and request.method == "POST":
            return await self._run_batch(request, version, caller, progress)
        return await self._run_operation(request, caller, progress)

    def error_outcome(
        self, exc: Exception, progress: RequestProgress
    ) -> ErrorOutcome[GraphResponse] | None:
        if isinstance(exc, BodyRefused):
            exc = errors.from_refused_body(exc)
        if isinstance(exc, errors.GraphError):
            facts = {"cause": exc.message, "status": exc.status}
            response = exc.status, self._error_body(exc, progress)
            return ErrorOutcome(response=response, outcome=exc.wire_code, facts=facts)
        if isinstance(exc, database.DatabaseFailed):
            error = errors.from_database_error(exc)
            return ErrorOutcome(
                response=(error.status, self._error_body(error, progress)),
                outcome=exc.code,
                facts={"status": error.status, **exc.facts},
                level=logging.ERROR,
            )
        return None

    def internal_error(self, progress: RequestProgress) -> GraphResponse:
        text = f"Graph failed unexpectedly. Request id: {progress.request_id}."
        error = errors.GraphError(text, wire_code="InternalServerError")
        return 500, self._error_body(error, progress)

    def success_facts(self, response: GraphResponse) -> Mapping[str, object]:
        return {"status": response[0]}

    def encode(
        self, _scope: Scope, response: GraphResponse, progress: RequestProgress
    ) -> EncodedResponse:
        status, body = response
        if isinstance(body, int):
            content, content_type = str(body).encode(), _TEXT
        else:
            content, content_type = b"" if body is None else orjson.dumps(body), JSON
        return EncodedResponse(status, content, _headers(progress, status, content_type))

    def _error_body(self, exc: errors.GraphError, progress: RequestProgress) -> dict[str, Any]:
        ids = (progress.request_id, progress.correlation_id)
        return wire.error_body(exc, ids, self._clock())

    async def _run_batch(
        self, request: HttpRequest, version: str, caller: Caller, progress: RequestProgress
    ) -> GraphResponse:
        async def run_one(part: batch.BatchRequest) -> GraphResponse:
            own = replace(
                progress,
                began=time.perf_counter(),
                checked=list(progress.checked),
                facts=dict(progress.facts),
            )
            running = self._run_operation(_batched_request(request, version, part), caller, own)
            return await self.run(running, own)

        progress.asked = "run a batch"
        return await batch.run(batch.parse(await _read_json(request)), run_one)

    async def _run_operation(
        self, request: HttpRequest, caller: Caller, progress: RequestProgress
    ) -> GraphResponse:
        version, steps = paths.parse_path(request.raw_path)
        operation, keys = routes.find(request.method, steps)
        progress.asked = operation.title
        # The path is caller input, so it is escaped and truncated for the log.
        text = "/" + "/".join(step.value if isinstance(step, ObjectKey) else step for step in steps)
        progress.facts["target"] = (text if text.isprintable() else repr(text))[:_MAX_TARGET_CHARS]
        if operation.needs.users_only and not caller.is_user:
            raise errors.MalformedRequest(
                "/me request is only valid with delegated authentication flow."
            )
        access = permissions.authorize(caller, operation.needs)
        if access is None:
            raise errors.access_denied(
                operation.title, operation.needs.alternatives, is_user=caller.is_user
            )
        progress.checked.append(f"may {operation.title} ({access.value})")
        graph_request = GraphRequest(
            directory=self._directory,
            context=self._context,
            caller=caller,
            access=access,
            base=f"https://{request.host}/{version}",
            address=f"https://{request.host}{request.raw_path.decode('latin-1')}",
            keys=_validate_keys(keys),
            options=wire.parse_options(request.query),
            body=await _read_body(request, operation),
            now=self._clock(),
            eventual=request.headers.get("consistencylevel", "").lower() == "eventual",
            create_if_missing="create-if-missing" in request.headers.get("prefer", "").lower(),
        )
        with acting(Actor(object_id=caller.object_id, name=caller.name)):
            return await operation.run(graph_request)

    async def _authenticate(self, scope: Scope, progress: RequestProgress) -> Caller:
        try:
            caller = await self._admit(header_values(scope, b"authorization"))
        except NotAdmitted as exc:
            raise _token_error(exc) from exc
        # The token check compares the tenant too. This second check keeps the directory closed to callers of
        # other tenants even if the token check accepts several tenants.
        if caller.tenant_id.lower() != self._context.tenant_id:
            raise errors.GraphUnauthorized("The access token was issued for another tenant.")
        progress.facts |= {
            "client_id": caller.app_id,
            "object_id": caller.object_id,
            "uti": caller.token_id,
        }
        progress.checked.append("access token")
        return caller


def _token_error(exc: NotAdmitted) -> errors.GraphError:
    match exc.reason:
        case Reason.MISSING:
            return errors.GraphUnauthorized(f"The request has no access token: {exc.hint}.")
        case Reason.EXPIRED:
            return errors.GraphUnauthorized("The access token has expired: request a new token.")
        case Reason.AUDIENCE:
            return errors.GraphUnauthorized(
                "The access token is for another API: request the scope https://graph.microsoft.com/.default."
            )
        case Reason.UNAVAILABLE:
            return errors.GraphUnavailable("Graph cannot check access tokens at the moment.")
        case _:
            return errors.GraphUnauthorized(f"The access token is not accepted: {exc}.")


def _http_request(scope: Scope, receive: Receive) -> HttpRequest:
    async def read() -> bytes:
        return await read_decoded_body(scope, receive, MAX_BODY_BYTES)

    host = header(scope, b"host") or ""
    return HttpRequest(
        method=scope["method"],
        raw_path=raw_path(scope),
        query=bytes(scope["query_string"]),
        # Responses repeat the host. A loopback host cannot be the address of another party.
        host=host if _LOOPBACK.fullmatch(host) else _PUBLIC_HOST,
        headers={
            name: header(scope, name.encode()) or ""
            for name in ("content-type", "consistencylevel", "prefer")
        },
        read=read,
    )


def _batched_request(outer: HttpRequest, version: str, part: batch.BatchRequest) -> HttpRequest:
    async def read() -> bytes:
        return part.body

    return HttpRequest(
        method=part.method,
        raw_path=f"/{version}{part.path}".encode(),
        query=part.query.encode(),
        host=outer.host,
        headers={"content-type": "application/json", **part.headers},
        read=read,
    )


async def _read_body(request: HttpRequest, operation: GraphOperation) -> dict[str, Any]:
    return await _read_json(request) if operation.body else {}


async def _read_json(request: HttpRequest) -> dict[str, Any]:
    data = await request.read()
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if data and content_type != "application/json":
        raise errors.UnsupportedMediaType("The body must have the Content-Type application/json.")
    return wire.parse_body(data) if data.strip() else {}


def _validate_keys(keys: tuple[ObjectKey, ...]) -> tuple[ObjectKey, ...]:
    for key in keys:
        # No valid ID or name has a control character, and a control character could forge log lines.
        if not key.value.isprintable() or len(key.value) > _MAX_KEY_CHARS:
            raise errors.MalformedRequest(
                "A key in the path is too long, or contains a control character."
            )
    return keys


def _headers(progress: RequestProgress, status: int, content_type: tuple[bytes, bytes]) -> Headers:
    headers = [
        content_type,
        *common_headers(progress, b"request-id"),
        (b"odata-version", b"4.0"),
        (b"client-request-id", progress.correlation_id.encode()),
    ]
    if status == errors.GraphUnavailable.status:
        headers.append((b"retry-after", str(database.DatabaseBusy.retry_seconds).encode()))
    if status == errors.GraphUnauthorized.status:
        headers.append((b"www-authenticate", _CHALLENGE.encode()))
    return headers
