"""The edge of Resource Manager: a request in, an operation run, an answer or a refusal out.

It only translates. The order is: is the query one, who calls, is it our subscription, what is asked, may
they, what do they send, do it. A body is read only after the caller is known and may do what is asked.
"""

import logging
import re
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from podpass import database, log
from podpass.clock import Clock
from podpass.directory.access import Admit, Caller, NotAdmitted
from podpass.directory.actor import Actor, acting
from podpass.directory.errors import DirectoryError
from podpass.directory.resource_manager import endpoints, paths, query, refusals, wire
from podpass.directory.resource_manager.cluster_port import ClusterPort
from podpass.directory.resource_manager.model import Answer, Call, Origin, Place, Query
from podpass.directory.resource_manager.operations import Operations
from podpass.directory.resource_manager.routes import ROUTES
from podpass.directory.store.directory import Directory
from podpass.guids import is_lower_guid
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
_NOT_PLAIN = re.compile(r"[^ !#-\[\]-~]")
_FAILED = {
    500: "InternalServerError",
    503: "ServiceUnavailable",
    507: "InsufficientStorage",
}


@dataclass(slots=True, kw_only=True)
class _Progress:
    """What is known of a request so far, for the answer's headers and the log."""

    client_request_id: str | None
    request_id: str
    origin: Origin
    began: float
    asked: str = "Resource Manager"
    checked: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def create_app(
    directory: Directory,
    admit: Admit,
    place: Place,
    cluster: ClusterPort,
    clock: Clock,
) -> App:
    """Make the application that serves the API of management.azure.com."""
    return _ManagerApp(directory, admit, place, cluster, clock)


class _ManagerApp:
    def __init__(
        self,
        directory: Directory,
        admit: Admit,
        place: Place,
        cluster: ClusterPort,
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._admit = admit
        self._place = place
        self._cluster = cluster
        self._clock = clock
        self._operations = Operations(place.subscription_id)
        self._table = paths.Table(ROUTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        progress = self._begin(scope)
        log.correlation_id.set(progress.client_request_id or progress.request_id)
        answer = await self._answer(scope, receive, progress)
        content = b"" if answer.body is None else orjson.dumps(answer.body)
        if scope["method"] == "HEAD":
            content = b""
        await respond(send, answer.status, content, self._headers(progress, answer))

    def _begin(self, scope: Scope) -> _Progress:
        return _Progress(
            client_request_id=fit_request_id(header(scope, b"x-ms-client-request-id")),
            request_id=str(uuid.uuid4()),
            origin=endpoints.origin(self._place, header(scope, b"host")),
            began=time.perf_counter(),
        )

    async def _answer(self, scope: Scope, receive: Receive, progress: _Progress) -> Answer:
        try:
            answer = await self._serve(scope, receive, progress)
        except refusals.ManagerRefusal as exc:
            answer = self._refused(exc, progress)
            _hop(progress, exc.wire_code, answer.status, cause=exc.message)
            return answer
        except DirectoryError as exc:
            refused = wire.of_directory(exc)
            _hop(progress, refused.wire_code, refused.status, cause=exc.message)
            return self._refused(refused, progress)
        except database.DatabaseFailed as exc:
            answer = _failed(exc)
            _hop(progress, exc.code, answer.status, level=logging.ERROR, **exc.facts)
            return answer
        except Exception:  # noqa: BLE001 the edge answers for bugs too
            _log.exception("manager_request_failed", extra={"stage": "directory", **progress.facts})
            text = f"Something went wrong in Resource Manager. Request id: {progress.request_id}."
            return Answer(status=500, body=_error("InternalServerError", text))
        _hop(progress, "ok", answer.status)
        return answer

    async def _serve(self, scope: Scope, receive: Receive, progress: _Progress) -> Answer:
        method = str(scope["method"])
        segments = paths.split(bytes(scope.get("raw_path") or scope["path"].encode()))
        path = "/" + "/".join(segments)
        progress.asked = f"{method} {path}"
        asked = query.read(scope["query_string"])
        if path.lower() == f"/{endpoints.PATH}" and method == "GET":
            return Answer(body=endpoints.write(self._place, progress.origin, asked.api_version))
        caller = await self._caller(scope, progress)
        self._check_subscription(segments)
        found = self._table.find(method, segments)
        progress.asked = f"{found.operation.title} {path}"
        await self._check_permission(caller, found, progress)
        body = await _body(scope, receive) if found.operation.reads_body else {}
        call = self._call(scope, progress, caller, path, found, asked, body)
        name = caller.name or caller.app_id
        with acting(Actor(object_id=caller.object_id, name=name)):
            return await found.operation.run(call)

    async def _caller(self, scope: Scope, progress: _Progress) -> Caller:
        try:
            caller = await self._admit(header_values(scope, b"authorization"))
        except NotAdmitted as exc:
            raise refusals.of_token(exc) from exc
        progress.facts |= {"object_id": caller.object_id, "client_id": caller.app_id}
        if caller.tenant_id != self._place.tenant_id:
            raise refusals.Unauthorized(
                401,
                "InvalidAuthenticationTokenTenant",
                f"The access token is of tenant '{caller.tenant_id}'; the subscription belongs to"
                f" '{self._place.tenant_id}'.",
            )
        progress.checked.append("access token")
        return caller

    def _check_subscription(self, segments: list[str]) -> None:
        if len(segments) < 2 or segments[0].lower() != "subscriptions":
            return
        given = segments[1].lower()
        if not is_lower_guid(given):
            raise refusals.bad(
                "InvalidSubscriptionId", f"The subscription id '{segments[1]}' is not a GUID."
            )
        if given != self._place.subscription_id:
            raise refusals.missing(
                "SubscriptionNotFound", f"There is no subscription '{given}' in this tenant."
            )
        segments[1] = given

    async def _check_permission(
        self, caller: Caller, found: paths.Found, progress: _Progress
    ) -> None:
        operation = found.operation
        progress.facts |= {"action": operation.action, "target": found.scope}
        if operation.action is None or operation.filtered:
            return
        if not await self._directory.permitted(caller.object_id, operation.action, found.scope):
            raise refusals.not_authorized(caller, operation.action, found.scope)
        progress.checked.append(f"action {operation.action}")

    def _call(
        self,
        scope: Scope,
        progress: _Progress,
        caller: Caller,
        path: str,
        found: paths.Found,
        asked: Query,
        body: dict[str, Any],
    ) -> Call:
        return Call(
            directory=self._directory,
            cluster=self._cluster,
            operations=self._operations,
            place=self._place,
            origin=progress.origin,
            caller=caller,
            path=path,
            scope=found.scope,
            params=found.params,
            query=asked,
            body=body,
            if_match=header(scope, b"if-match"),
            if_none_match=header(scope, b"if-none-match"),
            now=self._clock(),
        )

    def _refused(self, refused: refusals.ManagerRefusal, progress: _Progress) -> Answer:
        body = _error(refused.wire_code, refused.message)
        if not isinstance(refused, refusals.Unauthorized):
            return Answer(status=refused.status, body=body)
        challenge = self._challenge(refused, progress.origin)
        return Answer(status=401, body=body, headers=(("WWW-Authenticate", challenge),))

    def _challenge(self, refused: refusals.ManagerRefusal, origin: Origin) -> str:
        """Say which tenant to ask for a token: azwi finds the tenant of a subscription here."""
        host = "https://login.windows.net" if origin.public else origin.authority
        # A refused token's claims may stand in it: no quote ends the value, no line break the header.
        description = _NOT_PLAIN.sub("'", refused.message)
        return (
            f'Bearer authorization_uri="{host}/{self._place.tenant_id}", error="invalid_token", '
            f'error_description="{description}"'
        )

    def _headers(self, progress: _Progress, answer: Answer) -> Headers:
        moment = datetime.fromtimestamp(self._clock(), tz=UTC).strftime("%Y%m%dT%H%M%SZ")
        request_id = progress.request_id
        headers = [
            (b"cache-control", b"no-cache"),
            (b"pragma", b"no-cache"),
            (b"x-content-type-options", b"nosniff"),
            (b"x-ms-request-id", request_id.encode()),
            (b"x-ms-correlation-request-id", request_id.encode()),
            (b"x-ms-routing-request-id", f"PODPASS:{moment}:{request_id}".encode()),
        ]
        if progress.client_request_id is not None:
            headers.append((b"x-ms-client-request-id", progress.client_request_id.encode()))
        if answer.body is not None:
            headers.append(JSON)
        headers += [(name.lower().encode(), value.encode()) for name, value in answer.headers]
        return headers


async def _body(scope: Scope, receive: Receive) -> dict[str, Any]:
    try:
        content = await read_body(receive, MAX_BODY_BYTES)
    except BodyTooLarge as exc:
        text = f"The request's body is over {MAX_BODY_BYTES} bytes."
        raise refusals.ManagerRefusal(413, "RequestContentTooLarge", text) from exc
    kind = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
    if kind not in ("application/json", "text/json"):
        text = "The request's content type is not served; send application/json."
        raise refusals.ManagerRefusal(415, "UnsupportedMediaType", text)
    return wire.read_object(content)


def _failed(failed: database.DatabaseFailed) -> Answer:
    text = f"Resource Manager cannot do this: {failed.message}. Operator: {failed.hint}."
    again = failed.retry_seconds
    return Answer(
        status=failed.status,
        body=_error(_FAILED[failed.status], text),
        headers=() if again is None else (("Retry-After", str(again)),),
    )


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def _hop(
    progress: _Progress, outcome: str, status: int, *, level: int = logging.INFO, **facts: object
) -> None:
    log.hop(
        _log,
        "manager_request_answered",
        level=level,
        stage="directory",
        asked=progress.asked,
        checked=progress.checked,
        seconds=time.perf_counter() - progress.began,
        outcome=outcome,
        status=status,
        **{**progress.facts, **facts},
    )
