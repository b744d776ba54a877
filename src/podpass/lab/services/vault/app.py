"""The edge of the vault: it translates between HTTP and the operations.

The steps are: find the vault, authenticate the caller, find the operation, authorize it, run it; `guard` and
`authorization` decide. The body is read after the authorization. The first request of every client has
neither body nor token, and gets the challenge.
"""

import logging
from dataclasses import dataclass
from typing import Any

import orjson

from podpass import database, log
from podpass.clock import Clock
from podpass.directory.actor import Actor, acting
from podpass.directory.resources import VAULT_APP_ID, audiences
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
from podpass.http.request_path import InvalidPath, raw_path, split_path
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
from podpass.lab.services.vault import authorization, errors, hosts, router, wire
from podpass.lab.services.vault.model import Vault
from podpass.lab.services.vault.request import VaultRequest, VaultResponse
from podpass.lab.services.vault.settings import VaultSettings
from podpass.lab.services.vault.slow_work import WorkLimits
from podpass.lab.services.vault.store import VaultStore
from podpass.lab.services.vault.vaults import Vaults
from podpass.resource import checks, guard
from podpass.resource.guard import KeySource, Principal

_NO_CONTENT = 204
_MAX_SEGMENTS = 10


@dataclass(slots=True, kw_only=True)
class _Progress(RequestProgress):
    """The progress of a request, and headers that its response may need."""

    challenge: str = ""
    allow: str = ""
    api_version: str = ""


def create_app(
    settings: VaultSettings,
    directory: Directory,
    store: VaultStore,
    keys: KeySource,
    clock: Clock,
) -> App:
    """Create the ASGI application that serves all vaults of the directory."""
    return _VaultApp(settings, directory, store, keys, clock)


class _VaultApp(ApiFrame[VaultResponse, _Progress]):
    logger = logging.getLogger(__name__)
    stage = "resource"
    answered_event = "vault_request_answered"
    failed_event = "vault_request_failed"

    def __init__(
        self,
        settings: VaultSettings,
        directory: Directory,
        store: VaultStore,
        keys: KeySource,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._vaults = directory.store(Vaults)
        self._store = store
        self._keys = keys
        self._clock = clock
        self._guards: dict[str, guard.Guard] = {}
        origins = [origin.resource for origin in settings.origins]
        self._audiences = audiences(VAULT_APP_ID, origins)
        self._limits = WorkLimits()

    def begin(self, scope: Scope) -> _Progress:
        return _Progress(asked="a vault", **request_ids(scope, b"x-ms-client-request-id"))

    def error_outcome(
        self, exc: Exception, progress: _Progress
    ) -> ErrorOutcome[VaultResponse] | None:
        if isinstance(exc, BodyRefused):
            exc = errors.from_refused_body(exc)
        if isinstance(exc, errors.VaultError):
            if isinstance(exc, errors.MethodNotAllowed):
                progress.allow = ", ".join(exc.allowed)
            response = VaultResponse(body=wire.error_body(exc), status=exc.status)
            return ErrorOutcome(response=response, outcome=_outcome(exc), facts=_cause(exc))
        if isinstance(exc, database.DatabaseFailed):
            error = errors.from_database_error(exc)
            return ErrorOutcome(
                response=VaultResponse(body=wire.error_body(error), status=error.status),
                outcome=exc.code,
                facts=exc.facts,
                level=logging.ERROR,
            )
        return None

    def internal_error(self, progress: _Progress) -> VaultResponse:
        text = f"The vault had an internal error. Request ID: {progress.request_id}."
        return VaultResponse(
            body={"error": {"code": "InternalServerError", "message": text}}, status=500
        )

    def encode(
        self, _scope: Scope, response: VaultResponse, progress: _Progress
    ) -> EncodedResponse:
        content = b"" if response.body is None else orjson.dumps(response.body)
        headers = [*_headers(progress, response.status), *response.headers]
        return EncodedResponse(response.status, content, headers)

    async def serve(self, scope: Scope, receive: Receive, progress: _Progress) -> VaultResponse:
        host = hosts.parse_host(header(scope, b"host"), self._settings.origins)
        found = await authorization.find_vault(self._vaults, host.vault)
        progress.asked = f"{scope['method']} in vault {found.name}"
        progress.facts["vault"] = found.name
        progress.challenge = wire.challenge(host.authority, found.tenant_id, host.resource)
        principal = await self._admit(scope, found, host, progress)
        operation, name, version = router.route(scope["method"], _split_path(scope))
        progress.asked = f"{operation.title} {name}".strip() + f" in vault {found.name}"
        progress.facts[operation.kind.noun] = name
        query = wire.parse_query(scope["query_string"])
        progress.api_version = query["api-version"]
        allowed = await authorization.authorize(
            self._directory,
            principal,
            found,
            action=operation.action,
            permission=operation.permission,
            kind=operation.kind,
            name=name,
        )
        progress.checked.append(allowed)
        request = VaultRequest(
            store=self._store,
            vault=found,
            kind=operation.kind,
            base=host.base,
            name=name,
            version=version,
            query=query,
            body=await read_decoded_body(scope, receive, operation.max_body),
            now=self._clock(),
            action=operation.action,
            principal=principal.object_id,
            limits=self._limits,
        )
        if not operation.changes:
            return await operation.run(request)
        name_of_caller = await authorization.display_name(self._directory, principal)
        with acting(Actor(object_id=principal.object_id, name=name_of_caller)):
            return await operation.run(request)

    async def _admit(
        self, scope: Scope, found: Vault, host: hosts.VaultHost, progress: _Progress
    ) -> Principal:
        given = header_values(scope, b"authorization")
        if given:
            token = given[0].partition(" ")[2].strip()
            progress.facts["token_sha256"] = log.fingerprint(token)
        tenant_guard = self._find_guard(found.tenant_id)
        try:
            principal = await tenant_guard.admit(given)
            checks.check_scope(principal)
        except guard.TokenRefused as exc:
            raise errors.from_token_error(
                exc, tenant_guard.requirements.issuer, host.resource
            ) from exc
        except guard.KeysUnavailable as exc:
            raise errors.Unavailable(
                "The vault cannot check tokens at the moment.", hint=exc.hint
            ) from exc
        # The authority logs the token's `uti` too, which connects the two hops.
        progress.facts |= {"client_id": principal.app_id, "uti": principal.claims.get("uti")}
        progress.checked += checks.list_checks(principal, tenant_guard.requirements.issuer)
        return principal

    def _find_guard(self, tenant_id: str) -> guard.Guard:
        if (existing := self._guards.get(tenant_id)) is not None:
            return existing
        created = guard.Guard(
            tenant_id=tenant_id,
            audiences=self._audiences,
            # Only version 1, as in Azure's vault: version 2 tokens are for customers' own APIs.
            authorities=(),
            keys=self._keys,
            leeway_seconds=self._settings.leeway_seconds,
            clock=self._clock,
        )
        return self._guards.setdefault(tenant_id, created)


def _headers(progress: _Progress, status: int) -> Headers:
    headers = [
        *([JSON] if status != _NO_CONTENT else []),
        *common_headers(progress, b"x-ms-request-id"),
        (b"pragma", b"no-cache"),
    ]
    if progress.client_request_id is not None:
        headers.append((b"x-ms-client-request-id", progress.client_request_id.encode()))
    if status in (errors.Unavailable.status, errors.Throttled.status):
        headers.append((b"retry-after", str(database.DatabaseBusy.retry_seconds).encode()))
    if status == errors.Unauthorized.status:
        headers.append((b"www-authenticate", progress.challenge.encode()))
    if progress.api_version and wire.is_newer(progress.api_version):
        headers.append((b"x-podpass-api-version", wire.NEWEST_API_VERSION.encode()))
    if progress.allow:
        headers.append((b"allow", progress.allow.encode()))
    return headers


def _split_path(scope: Scope) -> list[str]:
    """Split the path without empty segments at its end: SDKs send `/secrets/NAME/` for the latest version."""
    try:
        segments = split_path(raw_path(scope), limit=_MAX_SEGMENTS)
    except InvalidPath as exc:
        raise errors.BadParameter(exc.message) from exc
    while segments and not segments[-1]:
        segments.pop()
    return segments


def _outcome(refused: errors.VaultError) -> str:
    return "challenge" if isinstance(refused, errors.MissingToken) else refused.code


def _cause(refused: errors.VaultError) -> dict[str, Any]:
    cause = refused.__cause__
    facts: dict[str, Any] = {"cause": refused.message, "status": refused.status}
    if isinstance(cause, Error):
        facts |= {"cause": cause.message, **cause.facts}
    if refused.hint:
        facts["fix"] = refused.hint
    return facts
