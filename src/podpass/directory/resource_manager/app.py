"""The HTTP handler of Resource Manager: it parses a request, runs its operation and encodes the response.

The steps are: parse the query, authenticate the caller, check the subscription, find the operation, check the
permission, read the body, run the operation. A body is read only after the caller is authorized.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import orjson

from podpass import database
from podpass.clock import Clock
from podpass.directory.access import Admit, Caller, NotAdmitted
from podpass.directory.actor import Actor, acting
from podpass.directory.errors import DirectoryError
from podpass.directory.resource_manager import (
    empty_lists,
    endpoints,
    errors,
    federated_credentials,
    identities,
    operations,
    paths,
    providers,
    query,
    resource_groups,
    resources,
    role_assignments,
    role_definitions,
    subscriptions,
    wire,
)
from podpass.directory.resource_manager.async_operations import AsyncOperations
from podpass.directory.resource_manager.model import (
    ManagerResponse,
    OperationContext,
    QueryParameters,
    ResourceProvider,
    ResourceTypes,
    Route,
    ServiceEndpoints,
    SubscriptionContext,
)
from podpass.directory.store.directory import Directory
from podpass.guids import is_lower_guid
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

_OWN = (
    *subscriptions.ROUTES,
    *resource_groups.ROUTES,
    *resources.ROUTES,
    *providers.ROUTES,
    *identities.ROUTES,
    *federated_credentials.ROUTES,
    *role_definitions.ROUTES,
    *role_assignments.ROUTES,
    *empty_lists.ROUTES,
    *operations.ROUTES,
)


def list_routes(services: Sequence[ResourceProvider]) -> tuple[Route, ...]:
    """Return all routes, with the one that lists their operations."""
    served = (*_OWN, *(route for each in services for route in each.routes))
    return (*served, providers.operations_route(served))


MAX_BODY_BYTES = 512 * 1024
_NOT_QUOTABLE = re.compile(r"[^ !#-\[\]-~]")
_DATABASE_CODES = {
    500: "InternalServerError",
    503: "ServiceUnavailable",
    507: "InsufficientStorage",
}


@dataclass(slots=True, kw_only=True)
class ManagerProgress(RequestProgress):
    """The progress of a request, and the endpoints for its client."""

    endpoints: ServiceEndpoints


def create_app(
    directory: Directory,
    admit: Admit,
    subscription: SubscriptionContext,
    clock: Clock,
    services: Sequence[ResourceProvider] = (),
    backends: Mapping[str, Any] = MappingProxyType({}),
) -> App:
    """Create the application that serves the API of management.azure.com.

    `services` are those of an instance, and `backends` what they act on.
    """
    return ResourceManagerApp(directory, admit, subscription, clock, services, backends)


class ResourceManagerApp(ApiFrame[ManagerResponse, ManagerProgress]):
    """Resource Manager for one subscription."""

    logger = logging.getLogger(__name__)
    stage = "directory"
    answered_event = "manager_request_answered"
    failed_event = "manager_request_failed"

    def __init__(
        self,
        directory: Directory,
        admit: Admit,
        subscription: SubscriptionContext,
        clock: Clock,
        services: Sequence[ResourceProvider],
        backends: Mapping[str, Any],
    ) -> None:
        self._directory = directory
        self._admit = admit
        self._subscription = subscription
        self._services, self._backends = services, backends
        self._clock = clock
        self._operations = AsyncOperations(subscription.subscription_id)
        self._table = paths.RouteTable(list_routes(services))
        types = (one for each in services for one in each.types)
        self._types = ResourceTypes((*providers.TYPES, *types))

    def begin(self, scope: Scope) -> ManagerProgress:
        return ManagerProgress(
            asked="Resource Manager",
            endpoints=endpoints.resolve(self._subscription, header(scope, b"host")),
            **request_ids(scope, b"x-ms-client-request-id"),
        )

    async def serve(
        self, scope: Scope, receive: Receive, progress: ManagerProgress
    ) -> ManagerResponse:
        method = str(scope["method"])
        segments = paths.split_path(raw_path(scope))
        path = "/" + "/".join(segments)
        progress.asked = f"{method} {path}"
        parameters = query.parse(scope["query_string"])
        if path.lower() == f"/{endpoints.PATH}" and method == "GET":
            document = endpoints.to_json(
                self._subscription, progress.endpoints, parameters.api_version
            )
            return ManagerResponse(body=document)
        caller = await self._authenticate(scope, progress)
        self._check_subscription(segments)
        match = self._table.find(method, segments)
        progress.asked = f"{match.operation.title} {path}"
        await self._authorize(caller, match, progress)
        # After the path: a path that is not served is the cause, whatever its filter is.
        parameters = query.with_filter(parameters)
        body = await _read_body(scope, receive) if match.operation.reads_body else {}
        context = self._context(scope, progress, caller, path, match, parameters, body)
        name = caller.name or caller.app_id
        with acting(Actor(object_id=caller.object_id, name=name)):
            return await match.operation.run(context)

    def error_outcome(
        self, exc: Exception, progress: ManagerProgress
    ) -> ErrorOutcome[ManagerResponse] | None:
        if isinstance(exc, database.DatabaseFailed):
            return ErrorOutcome(
                response=_database_error(exc),
                outcome=exc.code,
                facts={"status": exc.status, **exc.facts},
                level=logging.ERROR,
            )
        if isinstance(exc, BodyRefused):
            exc = errors.from_refused_body(exc)
        if not isinstance(exc, errors.ManagerError | DirectoryError):
            return None
        error = wire.from_directory_error(exc) if isinstance(exc, DirectoryError) else exc
        return ErrorOutcome(
            response=self._error_response(error, progress),
            outcome=error.wire_code,
            facts={"status": error.status, "cause": exc.message},
        )

    def internal_error(self, progress: ManagerProgress) -> ManagerResponse:
        text = f"Resource Manager failed unexpectedly. Request id: {progress.request_id}."
        return ManagerResponse(status=500, body=_error_body("InternalServerError", text))

    def success_facts(self, response: ManagerResponse) -> Mapping[str, object]:
        return {"status": response.status}

    def encode(
        self, scope: Scope, response: ManagerResponse, progress: ManagerProgress
    ) -> EncodedResponse:
        has_content = response.body is not None and scope["method"] != "HEAD"
        content = orjson.dumps(response.body) if has_content else b""
        return EncodedResponse(response.status, content, self._headers(progress, response))

    async def _authenticate(self, scope: Scope, progress: ManagerProgress) -> Caller:
        try:
            caller = await self._admit(header_values(scope, b"authorization"))
        except NotAdmitted as exc:
            raise errors.from_token_error(exc) from exc
        progress.facts |= {
            "object_id": caller.object_id,
            "client_id": caller.app_id,
            "uti": caller.token_id,
        }
        if caller.tenant_id != self._subscription.tenant_id:
            raise errors.ManagerUnauthorized(
                401,
                "InvalidAuthenticationTokenTenant",
                f"The access token was issued for tenant '{caller.tenant_id}'; the subscription belongs to"
                f" tenant '{self._subscription.tenant_id}'.",
            )
        progress.checked.append("access token")
        return caller

    def _check_subscription(self, segments: list[str]) -> None:
        if len(segments) < 2 or segments[0].lower() != "subscriptions":
            return
        given = segments[1].lower()
        if not is_lower_guid(given):
            raise errors.bad_request(
                "InvalidSubscriptionId", f"The subscription id '{segments[1]}' is not a GUID."
            )
        if given != self._subscription.subscription_id:
            raise errors.not_found(
                "SubscriptionNotFound", f"There is no subscription '{given}' in this tenant."
            )
        segments[1] = given

    async def _authorize(
        self, caller: Caller, match: paths.RouteMatch, progress: ManagerProgress
    ) -> None:
        operation = match.operation
        progress.facts |= {"action": operation.action, "target": match.scope}
        if operation.action is None or operation.filtered:
            return
        if operation.open_at_root and match.scope == "/":
            return
        if not await self._directory.is_permitted(caller.object_id, operation.action, match.scope):
            raise errors.authorization_failed(caller, operation.action, match.scope)
        progress.checked.append(f"action {operation.action}")

    def _context(
        self,
        scope: Scope,
        progress: ManagerProgress,
        caller: Caller,
        path: str,
        match: paths.RouteMatch,
        parameters: QueryParameters,
        body: dict[str, Any],
    ) -> OperationContext:
        return OperationContext(
            directory=self._directory,
            types=self._types,
            services=self._services,
            backends=self._backends,
            operations=self._operations,
            subscription=self._subscription,
            endpoints=progress.endpoints,
            caller=caller,
            path=path,
            scope=match.scope,
            params=match.params,
            query=parameters,
            body=body,
            if_match=header(scope, b"if-match"),
            if_none_match=header(scope, b"if-none-match"),
            now=self._clock(),
        )

    def _error_response(
        self, error: errors.ManagerError, progress: ManagerProgress
    ) -> ManagerResponse:
        body = _error_body(error.wire_code, error.message)
        if not isinstance(error, errors.ManagerUnauthorized):
            return ManagerResponse(status=error.status, body=body)
        challenge = self._challenge(error, progress.endpoints)
        return ManagerResponse(status=401, body=body, headers=(("WWW-Authenticate", challenge),))

    def _challenge(self, error: errors.ManagerError, urls: ServiceEndpoints) -> str:
        """Return the challenge with the tenant; azwi reads the tenant of a subscription from it."""
        host = "https://login.windows.net" if urls.public else urls.authority
        # The message may contain claims of a rejected token. A quote in them must not end the value, and a
        # line break must not end the header.
        description = _NOT_QUOTABLE.sub("'", error.message)
        return (
            f'Bearer authorization_uri="{host}/{self._subscription.tenant_id}", error="invalid_token", '
            f'error_description="{description}"'
        )

    def _headers(self, progress: ManagerProgress, response: ManagerResponse) -> Headers:
        time = datetime.fromtimestamp(self._clock(), tz=UTC).strftime("%Y%m%dT%H%M%SZ")
        routing_id = f"PODPASS:{time}:{progress.request_id}"
        headers = [
            *common_headers(progress, b"x-ms-request-id", b"x-ms-correlation-request-id"),
            (b"pragma", b"no-cache"),
            (b"x-ms-routing-request-id", routing_id.encode()),
        ]
        if progress.client_request_id is not None:
            headers.append((b"x-ms-client-request-id", progress.client_request_id.encode()))
        if response.body is not None:
            headers.append(JSON)
        headers += [(name.lower().encode(), value.encode()) for name, value in response.headers]
        return headers


async def _read_body(scope: Scope, receive: Receive) -> dict[str, Any]:
    content = await read_decoded_body(scope, receive, MAX_BODY_BYTES)
    content_type = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
    if content_type not in ("application/json", "text/json"):
        text = "The content type of the request is not supported; send application/json."
        raise errors.ManagerError(415, "UnsupportedMediaType", text)
    return wire.parse_object(content)


def _database_error(failed: database.DatabaseFailed) -> ManagerResponse:
    text = (
        f"Resource Manager cannot process the request: {failed.message}. Operator: {failed.hint}."
    )
    retry = failed.retry_seconds
    return ManagerResponse(
        status=failed.status,
        body=_error_body(_DATABASE_CODES[failed.status], text),
        headers=() if retry is None else (("Retry-After", str(retry)),),
    )


def _error_body(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}
