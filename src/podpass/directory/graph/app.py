"""Graph's edge: a request in, an operation run, an answer or a refusal out. It only translates.

The order is: who calls, what is asked, may they, read the body, do it.
"""

import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from podpass import database, log
from podpass.clock import Clock
from podpass.directory.access import Admit, Caller, NotAdmitted, Reason
from podpass.directory.actor import Actor, acting
from podpass.directory.graph import batch, paths, permissions, refusals, routes, wire
from podpass.directory.graph.calls import Answer, Call, Operation, Place
from podpass.directory.graph.paths import Key
from podpass.directory.resources import GRAPH_APP_ID
from podpass.directory.store.directory import Directory
from podpass.http.server import (
    JSON,
    App,
    BodyTooLarge,
    Headers,
    Receive,
    Scope,
    Send,
    fit_request_id,
    header,
    header_values,
    read_body,
    respond,
)

_log = logging.getLogger(__name__)

MAX_BODY_BYTES = 512 * 1024
_MAX_TARGET = 512
_LOOPBACK = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?")
_HOME = "graph.microsoft.com"
_TEXT = (b"content-type", b"text/plain")
# The application that the challenge of Graph names, so that clients know whose token to ask for.
_CHALLENGE = (
    'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize"'
)
_CHALLENGE += f', client_id="{GRAPH_APP_ID}"'


@dataclass(slots=True, kw_only=True)
class Progress:
    """What is known of a request so far, for the answer's headers and the log."""

    request_id: str
    client_request_id: str
    began: float
    asked: str = "a request"
    checked: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as the wire has it, or as it stands in a batch.

    Shapes:  `headers` have names in lower case; `read` gives the body, once.
    """

    method: str
    raw_path: bytes
    query: bytes
    host: str
    headers: dict[str, str]
    read: Callable[[], Awaitable[bytes]]


def create_app(
    directory: Directory, admit: Admit, tenant_id: str, domain: str, clock: Clock
) -> App:
    """Make the application that serves Microsoft Graph for one tenant.

    Shapes:  `domain` is the tenant's own, as in its users' names; answers name the loopback host they came
             by, or Microsoft's.
    """
    return GraphApp(directory, admit, Place(tenant_id=tenant_id, domain=domain.lower()), clock)


class GraphApp:
    """Microsoft Graph of one tenant."""

    def __init__(self, directory: Directory, admit: Admit, place: Place, clock: Clock) -> None:
        self._directory = directory
        self._admit = admit
        self._place = place
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        progress = _begin(scope)
        log.correlation_id.set(progress.client_request_id)
        status, body = await self._guarded(self._serve(scope, receive, progress), progress)
        if isinstance(body, int):
            content, kind = str(body).encode(), _TEXT
        else:
            content, kind = b"" if body is None else orjson.dumps(body), JSON
        await respond(send, status, content, _headers(progress, status, kind))

    async def _guarded(self, running: Awaitable[Answer], progress: Progress) -> Answer:
        """Answer for whatever becomes of a request, and log it."""
        try:
            answer = await running
        except refusals.GraphRefusal as exc:
            _hop(progress, exc.wire_code, cause=exc.message, status=exc.status)
            return exc.status, self._error(exc, progress)
        except database.DatabaseFailed as exc:
            told = refusals.of_database(exc)
            _hop(progress, exc.code, level=logging.ERROR, status=told.status, **exc.facts)
            return told.status, self._error(told, progress)
        except Exception:  # noqa: BLE001 the edge answers for bugs too
            _log.exception("graph_request_failed", extra={"stage": "directory", **progress.facts})
            text = f"Something went wrong in Graph. Request id: {progress.request_id}."
            failed = refusals.GraphRefusal(text, wire_code="InternalServerError")
            return 500, self._error(failed, progress)
        _hop(progress, "ok", status=answer[0])
        return answer

    def _error(self, exc: refusals.GraphRefusal, progress: Progress) -> dict[str, Any]:
        ids = (progress.request_id, progress.client_request_id)
        return wire.error(exc, ids, self._clock())

    async def _serve(self, scope: Scope, receive: Receive, progress: Progress) -> Answer:
        caller = await self._caller(scope, progress)
        request = _request(scope, receive)
        version, steps = paths.split(request.raw_path)
        if steps == ("$batch",) and request.method == "POST":
            return await self._batch(request, version, caller, progress)
        return await self._run(request, caller, progress)

    async def _batch(
        self, request: Request, version: str, caller: Caller, progress: Progress
    ) -> Answer:
        async def one(part: batch.Part) -> Answer:
            alone = replace(
                progress,
                began=time.perf_counter(),
                checked=list(progress.checked),
                facts=dict(progress.facts),
            )
            return await self._guarded(
                self._run(_part(request, version, part), caller, alone), alone
            )

        progress.asked = "run a batch"
        return await batch.run(batch.read(await _json(request)), one)

    async def _run(self, request: Request, caller: Caller, progress: Progress) -> Answer:
        version, steps = paths.split(request.raw_path)
        operation, keys = routes.find(request.method, steps)
        progress.asked = operation.title
        progress.facts["target"] = _target(steps)
        if operation.needs.users_only and not caller.is_user:
            raise refusals.Malformed(
                "/me request is only valid with delegated authentication flow."
            )
        grant = permissions.grant(caller, operation.needs)
        if grant is None:
            raise refusals.denied(operation.title, operation.needs.named, is_user=caller.is_user)
        progress.checked.append(f"may {operation.title} ({grant.value})")
        call = Call(
            directory=self._directory,
            place=self._place,
            caller=caller,
            grant=grant,
            base=f"https://{request.host}/{version}",
            address=f"https://{request.host}{request.raw_path.decode('latin-1')}",
            keys=_clean(keys),
            options=wire.read_options(request.query),
            body=await _body(request, operation),
            now=self._clock(),
            eventual=request.headers.get("consistencylevel", "").lower() == "eventual",
            create_if_missing="create-if-missing" in request.headers.get("prefer", "").lower(),
        )
        with acting(Actor(object_id=caller.object_id, name=caller.name)):
            return await operation.run(call)

    async def _caller(self, scope: Scope, progress: Progress) -> Caller:
        try:
            caller = await self._admit(header_values(scope, b"authorization"))
        except NotAdmitted as exc:
            raise _not_admitted(exc) from exc
        # The guard looks too; a caller of another tenant must never see this one's directory.
        if caller.tenant_id.lower() != self._place.tenant_id:
            raise refusals.Unauthorized("The access token is of another tenant.")
        progress.facts |= {"client_id": caller.app_id, "object_id": caller.object_id}
        progress.checked.append("access token")
        return caller


def _target(steps: tuple[paths.Step, ...]) -> str:
    """Name what a request is about, for the log; the path comes from outside."""
    text = "/" + "/".join(one.value if isinstance(one, Key) else one for one in steps)
    return (text if text.isprintable() else repr(text))[:_MAX_TARGET]


def _not_admitted(exc: NotAdmitted) -> refusals.GraphRefusal:
    match exc.reason:
        case Reason.MISSING:
            return refusals.Unauthorized(f"The request carries no access token: {exc.hint}.")
        case Reason.EXPIRED:
            return refusals.Unauthorized("The access token has expired: ask for a new one.")
        case Reason.AUDIENCE:
            return refusals.Unauthorized(
                "The access token is for another API: ask for the scope https://graph.microsoft.com/.default."
            )
        case Reason.UNAVAILABLE:
            return refusals.Unavailable("Graph cannot check tokens at the moment.")
        case _:
            return refusals.Unauthorized(f"The access token is not accepted: {exc}.")


def _begin(scope: Scope) -> Progress:
    given = header(scope, b"client-request-id") or header(scope, b"x-ms-client-request-id")
    request_id = str(uuid.uuid4())
    fit = fit_request_id(given) or request_id
    return Progress(request_id=request_id, client_request_id=fit, began=time.perf_counter())


def _request(scope: Scope, receive: Receive) -> Request:
    async def read() -> bytes:
        try:
            return await read_body(receive, MAX_BODY_BYTES)
        except BodyTooLarge as exc:
            raise refusals.TooLong(f"The body is over {MAX_BODY_BYTES} bytes.") from exc

    host = header(scope, b"host") or ""
    return Request(
        method=scope["method"],
        raw_path=bytes(scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0],
        query=bytes(scope["query_string"]),
        # It stands in answers, so only what can be no other's address.
        host=host if _LOOPBACK.fullmatch(host) else _HOME,
        headers={
            name: header(scope, name.encode()) or ""
            for name in ("content-type", "consistencylevel", "prefer")
        },
        read=read,
    )


def _part(around: Request, version: str, part: batch.Part) -> Request:
    async def read() -> bytes:
        return part.body

    return Request(
        method=part.method,
        raw_path=f"/{version}{part.path}".encode(),
        query=part.query.encode(),
        host=around.host,
        headers={"content-type": "application/json", **part.headers},
        read=read,
    )


async def _body(request: Request, operation: Operation) -> dict[str, Any]:
    return await _json(request) if operation.body else {}


async def _json(request: Request) -> dict[str, Any]:
    data = await request.read()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if data and kind != "application/json":
        raise refusals.WrongMedia("Want a body of Content-Type application/json.")
    return wire.read_body(data) if data.strip() else {}


def _clean(keys: tuple[Key, ...]) -> tuple[Key, ...]:
    for key in keys:
        # No id or name has one, and it would forge lines wherever the key is printed.
        if not key.value.isprintable() or len(key.value) > 512:
            raise refusals.Malformed("A key in the path is too long, or holds a control character.")
    return keys


def _headers(progress: Progress, status: int, kind: tuple[bytes, bytes]) -> Headers:
    headers = [
        kind,
        (b"cache-control", b"no-cache"),
        (b"x-content-type-options", b"nosniff"),
        (b"odata-version", b"4.0"),
        (b"request-id", progress.request_id.encode()),
        (b"client-request-id", progress.client_request_id.encode()),
    ]
    if status == refusals.Unavailable.status:
        headers.append((b"retry-after", str(database.DatabaseBusy.retry_seconds).encode()))
    if status == refusals.Unauthorized.status:
        headers.append((b"www-authenticate", _CHALLENGE.encode()))
    return headers


def _hop(progress: Progress, outcome: str, *, level: int = logging.INFO, **facts: object) -> None:
    log.hop(
        _log,
        "graph_request_answered",
        level=level,
        stage="directory",
        asked=progress.asked,
        checked=progress.checked,
        seconds=time.perf_counter() - progress.began,
        outcome=outcome,
        **{**progress.facts, **facts},
    )
