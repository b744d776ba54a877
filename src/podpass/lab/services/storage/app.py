"""The edge of storage: it checks the token and the roles of a request, and passes it on to Azurite.

The body of a request is read only after these checks. Bodies are streamed in both directions.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podpass import database, log
from podpass.clock import Clock
from podpass.directory.resources import STORAGE_APP_ID, audiences
from podpass.directory.store.directory import Directory
from podpass.errors import Error
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
    BodyRefused,
    Headers,
    Receive,
    Scope,
    Send,
    header,
    header_values,
    read_body,
    respond,
)
from podpass.http.shares import ShareExceeded, Shares
from podpass.lab.services.storage import azurite, errors, wire
from podpass.lab.services.storage.accounts import find_account
from podpass.lab.services.storage.authorization import authorize
from podpass.lab.services.storage.model import (
    StorageHost,
    StorageOperation,
    StorageRequest,
    StorageService,
)
from podpass.lab.services.storage.operations import MAX_BLOCKS, find_operation
from podpass.resource import checks, guard
from podpass.resource.guard import KeySource, Principal
from podpass.settings.storage import StorageSettings
from podpass.tasks import background_task

if TYPE_CHECKING:
    import aiohttp

_OVERRIDES = (b"x-http-method", b"x-http-method-override", b"x-method-override")
_BEARER = "bearer"
# The memory for documents of all callers: a document is read completely before it is sent to Azurite.
MAX_DOCUMENTS_BYTES = 32 * 1024 * 1024
# How long the service waits for a body in total, and the number of bytes that add one second.
BODY_SECONDS = 30.0
BODY_RATE = 16 * 1024
_TAGS, _TAG_OPTION = b"x-ms-tags", b"x-ms-copy-source-tag-option"


@dataclass(slots=True, kw_only=True)
class _StorageProgress(RequestProgress):
    """The progress of a request.

    `status` is set when its response has begun, `ended` when the client has ended the request.
    """

    send: Send
    service: StorageService = StorageService.BLOB
    status: int = 0
    ended: errors.StorageError | None = None


class StorageApp(ApiFrame[EncodedResponse | None, _StorageProgress]):
    """The ASGI application that serves all storage accounts of the directory."""

    logger = logging.getLogger(__name__)
    stage = "resource"
    answered_event = "storage_request_answered"
    failed_event = "storage_request_failed"

    def __init__(
        self, settings: StorageSettings, directory: Directory, keys: KeySource, clock: Clock
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._keys = keys
        self._clock = clock
        self._azurite = azurite.Azurite(settings.services, settings.keys, clock)
        self._documents = Shares("memory for documents", MAX_DOCUMENTS_BYTES)

    async def close(self) -> None:
        """Close the connections to Azurite."""
        await self._azurite.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        progress = self.begin(scope)
        progress.send = send
        log.correlation_id.set(progress.correlation_id)
        refusal = await self.run(self.serve(scope, receive, progress), progress)
        # After an error within a response, the server closes the connection.
        if refusal is not None and not progress.status:
            body = b"" if scope["method"] == "HEAD" else refusal.body
            await respond(send, refusal.status, body, refusal.headers)

    def begin(self, scope: Scope) -> _StorageProgress:
        """Return the progress of a new request."""

        async def unset(_message: object) -> None:
            raise AssertionError("the application sets it")

        ids = request_ids(scope, b"x-ms-client-request-id")
        return _StorageProgress(asked="a storage account", send=unset, **ids)

    def error_outcome(
        self, exc: Exception, progress: _StorageProgress
    ) -> ErrorOutcome[EncodedResponse | None] | None:
        """Map an error to its response."""
        facts: dict[str, object] = {}
        level = logging.INFO
        if isinstance(exc, database.DatabaseFailed):
            facts, level = dict(exc.facts), logging.ERROR
            exc = errors.StorageUnavailable("The directory is unavailable.", hint=exc.hint)
        if isinstance(exc, BodyRefused):
            exc = errors.from_refused_body(exc)
        if isinstance(exc, ShareExceeded):
            exc = errors.ServerBusy(f"{exc.message}.")
        if isinstance(exc, errors.StorageUnavailable):
            level = max(level, logging.WARNING)
        if isinstance(exc, errors.StorageError):
            facts |= {"cause": exc.message, "status": exc.status}
            if isinstance(exc.__cause__, Error):
                facts |= {"cause": exc.__cause__.message, **exc.__cause__.facts}
            if exc.hint:
                facts["fix"] = exc.hint
            outcome = "challenge" if isinstance(exc, errors.NoAuthentication) else exc.code
            response = self._refusal(exc, progress)
            return ErrorOutcome(response=response, outcome=outcome, facts=facts, level=level)
        return None

    def internal_error(self, progress: _StorageProgress) -> EncodedResponse:
        """Return the response to an unexpected error."""
        error = errors.StorageError("podpass had an internal error.")
        error.status, error.wire_code = 500, "InternalError"
        return self._refusal(error, progress)

    def encode(
        self, _scope: Scope, response: EncodedResponse | None, _progress: _StorageProgress
    ) -> EncodedResponse:
        """Serialize a refusal; other responses are streamed."""
        assert response is not None
        return response

    def _refusal(self, exc: errors.StorageError, progress: _StorageProgress) -> EncodedResponse:
        body = wire.error_body(exc, progress.service, progress.request_id, self._clock())
        headers: list[tuple[bytes, bytes]] = [
            (b"content-type", wire.content_type(progress.service)),
            (b"x-ms-error-code", exc.wire_code.encode()),
            *common_headers(progress, b"x-ms-request-id"),
        ]
        if progress.client_request_id is not None:
            headers.append((b"x-ms-client-request-id", progress.client_request_id.encode()))
        if isinstance(exc, errors.BodyTooSlow | errors.ServerBusy):
            headers.append((b"connection", b"close"))  # the rest of the body is not read
        if exc.status == errors.InvalidStorageToken.status:
            challenge = wire.challenge(self._settings.authority, self._settings.tenant_id)
            headers.append((b"www-authenticate", challenge.encode()))
        return EncodedResponse(exc.status, body, headers)

    async def serve(
        self, scope: Scope, receive: Receive, progress: _StorageProgress
    ) -> EncodedResponse | None:
        """Check a request and forward it to Azurite."""
        host = wire.parse_host(header(scope, b"host"))
        if host is None or host.service not in self._settings.services:
            raise errors.InvalidUri("This host is not a storage account that podpass serves.")
        progress.service = host.service
        progress.asked = f"{scope['method'][:10]} in {host.name}"
        account = await find_account(self._directory, host.account)
        if account is None:
            raise errors.account_not_found(host.account, host.service)
        progress.facts["storage_account"] = account.name
        query = wire.parse_query(scope["query_string"])
        principal = await self._admit(scope, host, progress)
        request = _parse_request(scope, host, query)
        operation = find_operation(request)
        progress.asked = f"{operation.title} in {host.name}"
        progress.facts["container"] = request.target.container
        allowed = await authorize(self._directory, principal, account, host.service, operation)
        progress.checked.append(allowed)
        caller, read = principal.object_id, _refuse_slow_body(receive)
        with self._documents.hold(caller, 0) as on_size:
            document = None
            if operation.max_body_bytes:
                document = await _read_document(read, host, operation, on_size)
            async with self._azurite.limit_requests(caller, host.service):
                if operation.max_body_bytes is None and _announces_body(scope):
                    await self._forward(scope, host, progress, _read(read, progress))
                else:
                    # A blob can be large: stop when the client disconnects.
                    async with background_task(_watch(receive, progress), "client of storage"):
                        await self._forward(scope, host, progress, document)
        return None

    async def _admit(
        self, scope: Scope, host: StorageHost, progress: _StorageProgress
    ) -> Principal:
        given = header_values(scope, b"authorization")
        scheme, _, token = given[0].partition(" ") if given else ("", "", "")
        if scheme and scheme.lower() != _BEARER:
            raise errors.KeyNotPermitted(
                "Requests that are signed with an account key are refused."
            )
        if token:
            progress.facts["token_sha256"] = log.fingerprint(token.strip())
        try:
            found = guard.Guard(
                tenant_id=self._settings.tenant_id,
                # A token for another account must not be accepted.
                audiences=audiences(STORAGE_APP_ID, [f"https://{host.name}"]),
                authorities=(),
                keys=self._keys,
                clock=self._clock,
            )
            principal = await found.admit(given)
            checks.check_scope(principal)
        except guard.TokenRefused as exc:
            raise errors.from_token_error(exc, f"https://{host.name}") from exc
        except guard.KeysUnavailable as exc:
            raise errors.StorageUnavailable(
                "Tokens cannot be checked at the moment.", hint=exc.hint
            ) from exc
        progress.facts |= {"client_id": principal.app_id, "uti": principal.claims.get("uti")}
        progress.checked += checks.list_checks(principal, found.requirements.issuer)
        return principal

    async def _forward(
        self,
        scope: Scope,
        host: StorageHost,
        progress: _StorageProgress,
        body: AsyncIterator[bytes] | bytes | None,
    ) -> None:
        path = raw_path(scope).decode("ascii")
        query = bytes(scope["query_string"]).decode("ascii")
        headers: Headers = scope["headers"]
        sending = self._azurite.send(host, scope["method"], path, query, headers, body)
        try:
            await self._respond(sending, progress)
        except errors.StorageUnavailable:
            if progress.ended is not None:
                raise progress.ended from None
            raise

    async def _respond(
        self,
        sending: AbstractAsyncContextManager["aiohttp.ClientResponse"],
        progress: _StorageProgress,
    ) -> None:
        async with sending as response:
            progress.status = response.status
            progress.facts["status"] = response.status
            await progress.send(
                {
                    "type": "http.response.start",
                    "status": response.status,
                    "headers": azurite.without_hops(response.raw_headers),
                }
            )
            async for chunk in response.content.iter_any():
                if progress.ended is not None:
                    raise progress.ended
                await progress.send(
                    {"type": "http.response.body", "body": chunk, "more_body": True}
                )
            await progress.send({"type": "http.response.body", "body": b""})


def create_app(
    settings: StorageSettings, directory: Directory, keys: KeySource, clock: Clock
) -> StorageApp:
    """Create the ASGI application; its owner closes it."""
    return StorageApp(settings, directory, keys, clock)


def _parse_request(scope: Scope, host: StorageHost, query: dict[str, str]) -> StorageRequest:
    if any(header_values(scope, name) for name in _OVERRIDES):
        # Azurite would run the operation of this method.
        raise errors.InvalidHeader("A header that replaces the method is not accepted.")
    target = wire.parse_target(host.service, raw_path(scope).decode("latin-1"))
    sources = header_values(scope, b"x-ms-copy-source")
    return StorageRequest(
        host=host,
        method=scope["method"],
        target=target,
        query=query,
        copy_source=wire.parse_source(host, sources) if sources else "",
        sets_tags=header(scope, _TAGS) is not None,
        copies_tags=any(each.lower() != "replace" for each in header_values(scope, _TAG_OPTION)),
    )


async def _read_document(
    receive: Receive, host: StorageHost, operation: StorageOperation, on_size: Callable[[int], None]
) -> bytes | None:
    """Read a body that is a document, within its limit; return None for an empty one.

    Raises BodyRefused, BlockListTooLong, BodyTooSlow, ShareExceeded.
    """
    body = await read_body(receive, operation.max_body_bytes or 0, on_size)
    if operation.is_batch:
        return wire.rewrite_batch(body, host)
    if operation.is_block_list and wire.count_blocks(body) > MAX_BLOCKS:
        raise errors.BlockListTooLong(f"A blob has at most {MAX_BLOCKS} blocks.")
    return body or None


def _announces_body(scope: Scope) -> bool:
    chunked = header(scope, b"transfer-encoding") is not None
    return chunked or (header(scope, b"content-length") or "0") != "0"


async def _watch(receive: Receive, progress: _StorageProgress) -> None:
    """Wait until the client disconnects; the body of the request is ignored."""
    while (await receive())["type"] != "http.disconnect":
        pass
    progress.ended = _disconnected()


def _disconnected() -> errors.StorageError:
    return errors.ClientDisconnected("the client closed its connection")


def _refuse_slow_body(receive: Receive) -> Receive:
    """Return a function that receives the body of a request and refuses one that arrives too slowly.

    Only the time that the reader waits is counted. At most BODY_SECONDS are left at any time, so a client
    that sends fast at first has no more time later.
    """
    left = BODY_SECONDS

    async def limited() -> MutableMapping[str, Any]:
        nonlocal left
        now = asyncio.get_running_loop().time
        began = now()
        try:
            async with asyncio.timeout(left):
                message = await receive()
        except TimeoutError as exc:
            text = f"The body arrives with less than {BODY_RATE // 1024} KiB a second."
            raise errors.BodyTooSlow(text) from exc
        gained = len(message.get("body", b"")) / BODY_RATE
        left = min(BODY_SECONDS, left - (now() - began) + gained)
        return message

    return limited


async def _read(receive: Receive, progress: _StorageProgress) -> AsyncIterator[bytes]:
    """Return the body of a request in parts; the first read makes the server send 100 Continue."""
    while True:
        try:
            message = await receive()
        except errors.BodyTooSlow as exc:
            progress.ended = exc
            raise ConnectionAbortedError("the body of the request arrives too slowly") from exc
        if message["type"] == "http.disconnect":
            progress.ended = _disconnected()
            raise ConnectionResetError("the client disconnected")
        if chunk := message.get("body", b""):
            yield chunk
        if not message.get("more_body"):
            return
