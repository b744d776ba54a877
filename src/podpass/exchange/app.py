"""The token service's edge: which path is whose, and its documents. It translates, nothing else.

Every request leaves one line in the log, under the correlation id its answer carries. Neither has a token
or a form value that was not read as an identifier.
"""

import logging
from collections.abc import Coroutine
from typing import Any
from urllib.parse import parse_qs

import orjson

from podpass import log
from podpass.clock import Clock
from podpass.exchange import error_page, metadata, responses, token_request
from podpass.exchange.client_auth.authenticator import Facts, Prover
from podpass.exchange.client_auth.directory_lookup import (
    SHARED_TENANTS,
    Directory,
    find_tenant,
)
from podpass.exchange.client_auth.issuer_discovery import Source
from podpass.exchange.client_auth.issuer_keys import Issuers
from podpass.exchange.client_credentials import Verifier
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.form_reader import receive_form
from podpass.exchange.metrics import Observe
from podpass.exchange.origins import Origins
from podpass.exchange.sign_in.app import Answer, SignInApp
from podpass.exchange.sign_in.sign_in import SignIn
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.exchange.signing.signer import Signer
from podpass.exchange.throttling import Gate, admit, is_fault_of_caller, source_of
from podpass.exchange.token_endpoint import TokenEndpoint
from podpass.http.server import App, Headers, Receive, Reply, Scope, Send, header, respond
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
    directory: Directory,
    fetcher: Source,
    keys: AuthorityKeys,
    clock: Clock,
    *,
    gate: Gate | None = None,
    observe: Observe | None = None,
    signer: Signer | None = None,
) -> App:
    """Make the token service's application.

    Shapes:  `gate` decides how much one client and one address may ask, `observe` counts the answers,
             `signer` signs the tokens.
    """
    signer = signer or Signer()
    return _Authority(settings, directory, fetcher, keys, clock, gate, observe, signer)


class _Authority:
    def __init__(
        self,
        settings: AuthoritySettings,
        directory: Directory,
        fetcher: Source,
        keys: AuthorityKeys,
        clock: Clock,
        gate: Gate | None,
        observe: Observe | None,
        signer: Signer,
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._keys = keys
        kept = f"max-age={keys.schedule.cache_seconds}, private"
        self._public: Headers = (*_PUBLIC, (b"cache-control", kept.encode()))
        self._clock = clock
        self._gate = gate
        self._origins = Origins.of(settings)
        prover = Prover(directory, Issuers(fetcher, settings, clock), keys, settings, clock)
        signin = SignIn(directory, prover, keys, clock)
        self._sign_in_app = SignInApp(signin, directory, keys.seal, settings, clock, gate=gate)
        self._tokens = TokenEndpoint(
            Verifier(directory, prover),
            signin,
            keys,
            settings,
            clock,
            signer,
            gate=gate,
            observe=observe,
        )

    def quick(self, scope: Scope, body: bytes) -> Coroutine[Any, Any, Reply] | None:
        """Take the short way to a token, see `podpass.http.connection`."""
        tenant, rest = _split(scope["path"])
        version = _version(rest)
        return None if version is None else self._token(scope, body, tenant, version)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tenant, rest = _split(scope["path"])
        version = _version(rest)
        if version is not None:
            body = await receive_form(scope, receive, self._settings.max_body_bytes)
            reply = await self._token(scope, body, tenant, version)
        else:
            reply = await self._other(scope, receive, tenant, rest)
        await respond(send, reply.status, reply.body, reply.headers)

    def _token(
        self, scope: Scope, body: bytes | None, tenant: str, version: int
    ) -> Coroutine[Any, Any, Reply]:
        return self._tokens.answer(scope, body, tenant=tenant, version=version)

    async def _other(self, scope: Scope, receive: Receive, tenant: str, rest: str) -> Reply:
        correlation = token_request.correlation_id(scope["headers"], scope["query_string"])
        log.correlation_id.set(correlation)
        trace = token_request.new_id()
        around = self._sign_in_app.find(tenant, rest) or error_page.find(tenant, rest)
        source = source_of(scope)
        try:
            if self._gate is not None:
                admit(self._gate.admit(source, ""))
            if around is not None:
                reply = await around(scope, receive)
            else:
                reply = await self._document(scope, tenant, rest.lower())
        except Exception as exc:  # noqa: BLE001 the edge answers for bugs too
            reply = self._refused(exc, around, source, trace, correlation)
        if self._gate is not None and is_fault_of_caller(reply.status):
            self._gate.refused(source)
        return Reply(reply.status, responses.ids(reply.headers, trace, correlation), reply.body)

    def _refused(
        self, exc: Exception, around: Answer | None, source: str, trace: str, correlation: str
    ) -> Reply:
        facts: Facts = {"source": source}
        refused, level = responses.refusal(exc, facts)
        if level != responses.TOLD:
            event = "document_refused" if around is None else "sign_in_refused"
            _log.log(level, event, extra={"stage": "exchange", **facts})
        body = responses.refused_body(refused, self._origins, trace, correlation, self._clock())
        headers = responses.JSON if around is None else responses.PRIVATE
        return Reply(refused.status, (*responses.retry_after(exc), *headers), body)

    async def _document(self, scope: Scope, tenant: str, rest: str) -> Reply:
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
            return self._instance(scope["query_string"])
        if rest not in metadata.PATHS:
            return None
        if tenant.lower() in SHARED_TENANTS:
            segment, name = tenant.lower(), metadata.ANY_TENANT
        else:
            segment = name = await self._tenant_id(tenant)
        return metadata.document(
            rest,
            origin=self._origins.of_host(header(scope, b"host")),
            segment=segment,
            tenant=name,
            keys=self._keys.published,
            pages=self._settings.pages_origin,
            cloud=self._origins.cloud,
        )

    async def _tenant_id(self, name: str) -> str:
        try:
            return (await find_tenant(self._directory, name, grant="")).id
        except Refused as exc:
            raise exc.answered(error="invalid_tenant") from exc

    def _instance(self, query: bytes) -> dict[str, object]:
        asked = {name: values[0] for name, values in parse_qs(query.decode("latin-1")).items()}
        endpoint = asked.get("authorization_endpoint", "")
        try:
            origin = self._origins.of_endpoint(endpoint)
        except ValueError as exc:
            raise Refused(50049) from exc
        return metadata.instance(origin, asked.get("api-version", "1.1"), endpoint)


def _split(path: str) -> tuple[str, str]:
    # object_store clients send `//{tenant}/...` when the authority's host ends in a slash.
    tenant, _, rest = path.lstrip("/").partition("/")
    return tenant, rest


def _version(rest: str) -> int | None:
    return _TOKEN_VERSIONS.get(rest) or _TOKEN_VERSIONS.get(rest.lower())
