"""A managed identity endpoint for containers without a cluster: IMDS, and App Service's protocol.

    path                                  protocol      who may call it
    /metadata/identity/oauth2/token       IMDS          every container that reaches the address
    /msi/token                            App Service   a container with the secret header of an identity

A program that another site makes send a request adds no `Metadata` header, and a proxy adds its own header;
such requests are refused. So are requests of IMDS' protocol for another host than those of the endpoint: a
web page can add every header to a request to its own name, and can resolve this name to the endpoint's
address (DNS rebinding).
"""

import logging
import re
import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson

from podpass.clock import Clock
from podpass.errors import Error
from podpass.http.proxy_headers import unmap_ipv4
from podpass.http.reply import Reply
from podpass.http.request_path import raw_path
from podpass.http.server import Receive, Scope, Send, header, header_values, respond
from podpass.imds import responses
from podpass.imds.entra_client import TokenNotAcquired
from podpass.imds.identity_headers import IdentityHeaders
from podpass.imds.token_cache import AccessToken
from podpass.imds.token_query import (
    BadTokenQuery,
    ManagedIdentityQuery,
    TokenQuery,
    parse_identity_query,
)
from podpass.log import hop

_log = logging.getLogger(__name__)

_IMDS = re.compile(r"/metadata/identity/oauth2/token/?", re.IGNORECASE)
_APP_SERVICE = re.compile(r"/msi/token/?", re.IGNORECASE)
_JSON = ((b"content-type", b"application/json; charset=utf-8"),)
_CLIENT_HEADERS = (b"x-identity-header", b"secret")
# Hosts of every endpoint, in addition to the address that the client has connected to.
_HOSTS = frozenset(("169.254.169.254", "127.0.0.1", "::1", "localhost"))
_PORT = re.compile(r":[0-9]{1,5}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignedIdentity:
    """A managed identity that callers of the endpoint can use."""

    client_id: str
    object_id: str
    resource_id: str


_IMDS_OFF = (
    "IMDS is off, because no identity is assigned to this address: set --managed-identities, or send the"
    " header value to IDENTITY_ENDPOINT"
)


class AssignedIdentityNotFound(Error):
    """The request selects no identity of the endpoint."""

    code = "assigned_identity_not_found"
    status = 400


class IdentitySource(Protocol):
    """The managed identities, and their tokens."""

    async def find(
        self, query: ManagedIdentityQuery, owner: str | None
    ) -> Sequence[AssignedIdentity]:
        """Return the identities that a query selects, at most two.

        `owner` is the only resource ID that is allowed; without it, every identity that is assigned to the
        address is allowed. Raises TokenNotAcquired.
        """

    async def acquire(self, identity: AssignedIdentity, resource: str) -> AccessToken:
        """Return a token of an identity. Raises TokenNotAcquired."""


class ManagedIdentityApp:
    """The ASGI application of the endpoint.

    `headers` finds the resource ID of a header value; `hosts` are more names of the endpoint, in lower case.
    """

    def __init__(
        self,
        source: IdentitySource,
        headers: IdentityHeaders,
        clock: Clock,
        *,
        hosts: Collection[str] = (),
        serves_imds: bool = True,
    ) -> None:
        self._hosts = _HOSTS.union(hosts)
        self._serves_imds = serves_imds
        self._source = source
        self._headers = headers
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer one request; a body is not read."""
        reply = await self._route(scope)
        await respond(
            send, reply.status, reply.body, [*reply.headers, (b"cache-control", b"no-store")]
        )

    async def _route(self, scope: Scope) -> Reply:
        # The path is not decoded: a proxy that filters paths would not recognise an encoded slash.
        path, method = raw_path(scope).decode("latin-1"), scope["method"]
        is_imds = _IMDS.fullmatch(path) is not None
        if is_imds and not self._serves_imds:
            return responses.text_error(404, _IMDS_OFF)
        if not is_imds and _APP_SERVICE.fullmatch(path) is None:
            return responses.text_error(404, "this endpoint answers only requests for tokens")
        if method != "GET":
            return responses.text_error(405, "request a token with GET")
        return await (self._imds(scope) if is_imds else self._app_service(scope))

    async def _imds(self, scope: Scope) -> Reply:
        began = time.perf_counter()
        try:
            _check_origin(scope)
            self._check_host(scope)
            _check_metadata(scope)
            query = _parse_query(scope)
            identity = select(await self._source.find(query, None), query)
            return await self._token(identity, query, began)
        except BadTokenQuery as exc:
            _log_refused(began, exc)
            return responses.query_error(exc, imds_errors=True)
        except AssignedIdentityNotFound as exc:
            _log_refused(began, exc)
            return responses.query_error(BadTokenQuery(exc.message), imds_errors=True)
        except TokenNotAcquired as exc:
            _log_refused(began, exc)
            return responses.token_error(exc, imds_errors=True)

    async def _app_service(self, scope: Scope) -> Reply:
        began = time.perf_counter()
        try:
            _check_origin(scope)
            owner = self._identity_of_header(scope)
            if owner is None:
                _log_refused(
                    began, AssignedIdentityNotFound("the identity header is missing or wrong")
                )
                return _app_service_error(401, "The identity header is missing or wrong.")
            query = _parse_query(scope)
            found = await self._source.find(query, owner)
            own = [one for one in found if one.resource_id.lower() == owner.lower()]
            return await self._token(select(own, query), query, began)
        except (BadTokenQuery, AssignedIdentityNotFound) as exc:
            _log_refused(began, exc)
            return _app_service_error(400, exc.message)
        except TokenNotAcquired as exc:
            _log_refused(began, exc)
            # Clients retry a request with status 500.
            return _app_service_error(400 if exc.number else 500, exc.message)

    def _identity_of_header(self, scope: Scope) -> str | None:
        given = [value for name in _CLIENT_HEADERS for value in header_values(scope, name)]
        return self._headers.find(given[0]) if len(given) == 1 else None

    def _check_host(self, scope: Scope) -> None:
        given = header_values(scope, b"host")
        own = scope["server"]
        hosts = self._hosts | {unmap_ipv4(own[0])} if own else self._hosts
        if len(given) != 1 or parse_host(given[0]) not in hosts:
            raise BadTokenQuery(
                "The Host header is not a host of this endpoint. Use the address of the endpoint, or add the"
                " name to --managed-identity-hosts"
            )

    async def _token(
        self, identity: AssignedIdentity, query: ManagedIdentityQuery, began: float
    ) -> Reply:
        token = await self._source.acquire(identity, query.resource)
        hop(
            _log,
            "managed_identity_request_answered",
            stage="imds",
            asked=f"a token for {query.resource}",
            checked=("header", "identity"),
            seconds=time.perf_counter() - began,
            client_id=identity.client_id,
            resource=query.resource,
            outcome="acquired",
        )
        answered = TokenQuery(identity.client_id, query.resource)
        return responses.token_reply(answered, token, self._clock(), names_client=True)


def select(assigned: Sequence[AssignedIdentity], query: ManagedIdentityQuery) -> AssignedIdentity:
    """Return the identity that a request selects; without a selection, the only one.

    Raises AssignedIdentityNotFound.
    """
    found = [one for one in assigned if _matches(one, query)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise AssignedIdentityNotFound("Identity not found")
    raise AssignedIdentityNotFound(
        "Multiple user assigned identities exist, please specify the client_id, object_id or mi_res_id of"
        " the identity in the token request"
    )


def _matches(identity: AssignedIdentity, query: ManagedIdentityQuery) -> bool:
    match query.selector:
        case "client_id":
            return identity.client_id.lower() == query.value.lower()
        case "object_id":
            return identity.object_id.lower() == query.value.lower()
        case "resource_id":
            return identity.resource_id.lower() == query.value.lower()
    return True


def _check_origin(scope: Scope) -> None:
    # A proxy adds this header. A request that a browser or a server forwards must not get a token.
    if header(scope, b"x-forwarded-for") is not None:
        raise BadTokenQuery("Requests with the header X-Forwarded-For are refused")


def parse_host(header_value: str) -> str:
    """Return the host of a Host header in lower case, without its port and the brackets of an address."""
    host = _PORT.sub("", header_value).lower()
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _check_metadata(scope: Scope) -> None:
    if [value.lower() for value in header_values(scope, b"metadata")] != ["true"]:
        raise BadTokenQuery("Required metadata header not specified")


def _parse_query(scope: Scope) -> ManagedIdentityQuery:
    return parse_identity_query(scope["query_string"].decode("latin-1"))


def _app_service_error(status: int, message: str) -> Reply:
    body = {"statusCode": status, "message": message, "correlationId": str(uuid.uuid4())}
    return Reply(status, _JSON, orjson.dumps(body))


def _log_refused(began: float, exc: Error) -> None:
    hop(
        _log,
        "managed_identity_request_refused",
        level=logging.WARNING,
        stage="imds",
        asked="a token",
        checked=(),
        seconds=time.perf_counter() - began,
        outcome="refused",
        cause=exc.message,
    )
