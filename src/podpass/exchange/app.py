"""The ASGI application of the token service: routes requests, and serves its metadata documents.

Every request writes one log line with the correlation ID of its response. Neither the line nor the response
contains a token, or a form value that is not a known identifier.
"""

import logging
from collections.abc import Coroutine
from typing import Any
from urllib.parse import parse_qs

import orjson

from podpass import log, names
from podpass.clock import Clock
from podpass.exchange import error_page, metadata, responses, token_request
from podpass.exchange.client_auth.authenticator import ClientAuthenticator
from podpass.exchange.client_auth.directory_lookup import (
    SHARED_TENANTS,
    DirectoryReader,
    find_tenant,
)
from podpass.exchange.client_auth.issuer_discovery import JsonFetcher
from podpass.exchange.client_auth.issuer_keys import IssuerKeyCache
from podpass.exchange.client_credentials import ClientCredentialsVerifier
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.form_reader import receive_form
from podpass.exchange.managed_identity_tokens import ManagedIdentityTokens
from podpass.exchange.metrics import RequestObserver
from podpass.exchange.origins import Origins
from podpass.exchange.sign_in.app import SignInApp
from podpass.exchange.sign_in.sign_in import SignIn
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.exchange.signing.signer import Signer
from podpass.exchange.throttling import (
    RequestLimiter,
    client_address,
    is_client_error,
    require_no_wait,
)
from podpass.exchange.token_endpoint import TokenEndpoint
from podpass.http.server import Headers, Receive, Reply, Scope, Send, header, respond
from podpass.settings import AuthoritySettings

_log = logging.getLogger(__name__)

_TOKEN_VERSIONS = {"oauth2/v2.0/token": 2, "oauth2/token": 1}
_PUBLIC: Headers = (
    (b"content-type", b"application/json; charset=utf-8"),
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, OPTIONS"),
    (b"x-content-type-options", b"nosniff"),
)


def create_app(
    settings: AuthoritySettings,
    directory: DirectoryReader,
    fetcher: JsonFetcher,
    keys: AuthorityKeys,
    clock: Clock,
    *,
    limiter: RequestLimiter | None = None,
    observe: RequestObserver | None = None,
    signer: Signer | None = None,
) -> "TokenService":
    """Create the application of the token service.

    `limiter` limits the requests of a client and of an address, `observe` records the responses, `signer`
    signs the tokens.
    """
    signer = signer or Signer()
    return TokenService(settings, directory, fetcher, keys, clock, limiter, observe, signer)


class TokenService:
    """The ASGI application; `issuer_keys` caches the keys of the issuers.

    `managed_identities` issues tokens to the process itself, for its managed identity endpoint.
    """

    def __init__(
        self,
        settings: AuthoritySettings,
        directory: DirectoryReader,
        fetcher: JsonFetcher,
        keys: AuthorityKeys,
        clock: Clock,
        limiter: RequestLimiter | None,
        observe: RequestObserver | None,
        signer: Signer,
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._keys = keys
        cache_control = f"max-age={keys.schedule.cache_seconds}, private"
        self._public: Headers = (*_PUBLIC, (b"cache-control", cache_control.encode()))
        self._clock = clock
        self._limiter = limiter
        self._origins = Origins.from_settings(settings)
        self.issuer_keys = IssuerKeyCache(fetcher, settings, clock)
        authenticator = ClientAuthenticator(directory, self.issuer_keys, keys, settings, clock)
        signin = SignIn(directory, authenticator, keys, clock, settings.administrators)
        self._sign_in_app = SignInApp(
            signin, directory, keys.token_sealer, settings, clock, limiter=limiter
        )
        verifier = ClientCredentialsVerifier(directory, authenticator)
        self.managed_identities = ManagedIdentityTokens(
            directory, verifier, keys, settings, clock, signer
        )
        self._tokens = TokenEndpoint(
            verifier, signin, keys, settings, clock, signer, limiter=limiter, observe=observe
        )

    def fast_path(self, scope: Scope, body: bytes) -> Coroutine[Any, Any, Reply] | None:
        """Handle a plain token request on the fast path of the connection; return None for any other one."""
        tenant, rest = _split_path(scope["path"])
        version = _token_version(rest)
        if version is None or header(scope, b"content-encoding") is not None:
            return None
        return self._tokens.handle(scope, body, tenant=tenant, version=version)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tenant, rest = _split_path(scope["path"])
        version = _token_version(rest)
        if version is not None:
            body = await receive_form(scope, receive, self._settings.max_body_bytes)
            reply = await self._tokens.handle(scope, body, tenant=tenant, version=version)
        else:
            reply = await self._handle_other(scope, receive, tenant, rest)
        await respond(send, reply.status, reply.body, reply.headers)

    async def _handle_other(self, scope: Scope, receive: Receive, tenant: str, rest: str) -> Reply:
        correlation = token_request.correlation_id(scope["headers"], scope["query_string"])
        log.correlation_id.set(correlation)
        trace = token_request.new_id()
        page = self._sign_in_app.find_handler(tenant, rest) or error_page.find_page(tenant, rest)
        source = client_address(scope)
        try:
            if self._limiter is not None:
                require_no_wait(self._limiter.acquire(source, ""))
            if page is not None:
                reply = await page(scope, receive)
            else:
                reply = await self._handle_document(scope, tenant, rest.lower())
        except Exception as exc:  # noqa: BLE001 a bug must have a response too
            refused, level, fields = responses.as_refusal(exc, {"source": source})
            if level != responses.ALREADY_LOGGED:
                event = "document_refused" if page is None else "sign_in_refused"
                _log.log(level, event, extra={"stage": "exchange", "source": source, **fields})
            body = responses.error_body(refused, self._origins, trace, correlation, self._clock())
            headers = responses.JSON_HEADERS if page is None else responses.NO_STORE_HEADERS
            reply = Reply(refused.status, (*responses.error_headers(exc), *headers), body)
        if self._limiter is not None and is_client_error(reply.status):
            self._limiter.on_rejection(source)
        return Reply(
            reply.status, responses.with_ids(reply.headers, trace, correlation), reply.body
        )

    async def _handle_document(self, scope: Scope, tenant: str, rest: str) -> Reply:
        if scope["method"] not in {"GET", "HEAD", "OPTIONS"}:
            return responses.not_allowed("GET", "HEAD", "OPTIONS")
        document = await self._find_document(scope, tenant, rest)
        if document is None:
            return responses.not_found()
        return Reply(200, self._public, orjson.dumps(document))

    async def _find_document(
        self, scope: Scope, tenant: str, rest: str
    ) -> dict[str, object] | None:
        if rest == "discovery/instance":
            return self._instance_document(scope["query_string"])
        if rest not in metadata.PATHS:
            return None
        if tenant.lower() in SHARED_TENANTS:
            segment, name = tenant.lower(), metadata.ANY_TENANT
        else:
            segment = name = await self._tenant_id(tenant)
        document = metadata.build_document(
            rest,
            origin=self._origins.for_host(header(scope, b"host")),
            segment=segment,
            tenant=name,
            keys=self._keys.published,
            pages=self._settings.pages_origin,
            graph=self._settings.graph_origin,
            cloud=self._origins.cloud,
        )
        if self._settings.flexible_kubernetes and "issuer" in document:
            # A client can find out that this service accepts what Entra refuses.
            wide = [names.ALLOW_WIDE] * self._settings.allow_wide
            document[names.EXTENSIONS] = [names.FLEXIBLE_KUBERNETES, *wide]
        return document

    async def _tenant_id(self, name: str) -> str:
        try:
            return (await find_tenant(self._directory, name, grant="")).id
        except AadstsError as exc:
            raise exc.with_response(error="invalid_tenant") from exc

    def _instance_document(self, query: bytes) -> dict[str, object]:
        parameters = {name: values[0] for name, values in parse_qs(query.decode("latin-1")).items()}
        endpoint = parameters.get("authorization_endpoint", "")
        try:
            origin = self._origins.for_endpoint(endpoint)
        except ValueError as exc:
            raise AadstsError(numbers.UNKNOWN_INSTANCE) from exc
        return metadata.instance_discovery(origin, parameters.get("api-version", "1.1"), endpoint)


def _split_path(path: str) -> tuple[str, str]:
    # object_store clients send `//{tenant}/...` if the authority host ends with a slash.
    tenant, _, rest = path.lstrip("/").partition("/")
    return tenant, rest


def _token_version(rest: str) -> int | None:
    return _TOKEN_VERSIONS.get(rest) or _TOKEN_VERSIONS.get(rest.lower())
