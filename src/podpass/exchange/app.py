"""The token service's edge: raw ASGI for the token endpoint, and its documents. It translates, nothing else.

Every request leaves one line in the log, under the correlation id its answer carries. Neither has a token
or a form value that was not read as an identifier.
"""

import logging
import os
import time
import uuid
from collections.abc import Sequence
from urllib.parse import parse_qs

import orjson

from podpass import jose, log
from podpass.clock import Clock
from podpass.database import DatabaseFailed
from podpass.exchange import grant, metadata, wire
from podpass.exchange.aadsts import STEPS, Refused
from podpass.exchange.incoming import read_request
from podpass.exchange.issuers import Issuers, Source
from podpass.exchange.keys import AuthorityKeys
from podpass.exchange.lookup import SHARED_TENANTS, Directory, find_tenant
from podpass.exchange.origins import Origins
from podpass.exchange.proof import Facts, Prover
from podpass.exchange.signer import Signer
from podpass.exchange.signin import GRANTS, SignIn
from podpass.exchange.signin_app import Answer, SignInApp
from podpass.exchange.user_tokens import UserTokens
from podpass.exchange.verify import Verifier
from podpass.serve import App, Headers, Receive, Scope, Send, header, respond
from podpass.settings import AuthoritySettings

_log = logging.getLogger(__name__)

_TOKEN_VERSIONS = {"oauth2/v2.0/token": 2, "oauth2/token": 1}
_JSON = (b"content-type", b"application/json; charset=utf-8")
_NOSNIFF = (b"x-content-type-options", b"nosniff")
# No Strict-Transport-Security: on localhost a browser would apply it to every port of the machine.
_PRIVATE = (
    _JSON,
    (b"cache-control", b"no-store, no-cache"),
    (b"pragma", b"no-cache"),
    (b"expires", b"-1"),
    (b"p3p", b'CP="DSP CUR OTPi IND OTRi ONL FIN"'),
    _NOSNIFF,
)
_PUBLIC = (
    _JSON,
    (b"cache-control", b"max-age=86400, private"),
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, OPTIONS"),
    _NOSNIFF,
)
_NO_CACHE = (b"cache-control", b"no-store")


def create_app(
    settings: AuthoritySettings,
    directory: Directory,
    fetcher: Source,
    keys: AuthorityKeys,
    clock: Clock,
) -> App:
    """Make the token service's application."""
    return _Authority(settings, directory, fetcher, keys, clock)


class _Authority:
    def __init__(
        self,
        settings: AuthoritySettings,
        directory: Directory,
        fetcher: Source,
        keys: AuthorityKeys,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._keys = keys
        self._clock = clock
        self._signer = Signer()
        self._origins = Origins(settings.origins)
        prover = Prover(Issuers(fetcher, settings, clock), settings, clock)
        self._verifier = Verifier(directory, prover)
        signin = SignIn(directory, prover, keys.seal, clock)
        self._signin = signin
        self._user_tokens = UserTokens(keys, self._signer, settings, clock)
        self._sign_in_app = SignInApp(signin, directory, keys.seal, settings, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # object_store clients send `//{tenant}/...` when the authority's host ends in a slash.
        tenant, _, rest = scope["path"].lstrip("/").partition("/")
        version = _TOKEN_VERSIONS.get(rest) or _TOKEN_VERSIONS.get(rest.lower())
        correlation = wire.correlation_id(scope["headers"], scope["query_string"])
        log.correlation_id.set(correlation)
        trace = str(uuid.uuid4())
        headers: Headers = _PRIVATE
        if version is not None:
            status, body = await self._token(scope, receive, tenant, version, trace)
        elif (around := self._sign_in_app.find(tenant, rest)) is not None:
            status, body, headers = await self._around_sign_in(around, scope, receive, trace)
        else:
            status, body, headers = await self._document(scope, tenant, rest.lower(), trace)
        ids = (
            (b"x-ms-request-id", trace.encode()),
            (b"client-request-id", correlation.encode()),
        )
        await respond(send, status, body, (*headers, *ids))

    async def _token(
        self, scope: Scope, receive: Receive, tenant: str, version: int, trace: str
    ) -> tuple[int, bytes]:
        began = time.perf_counter()
        facts: Facts = {}
        try:
            request = await read_request(
                scope,
                receive,
                tenant=tenant,
                version=version,
                origins=self._origins,
                limit=self._settings.max_body_bytes,
                facts=facts,
            )
            body = await self._grant(request, facts)
        except Refused as exc:
            facts |= {"outcome": exc.entry.name, "cause": exc.message}
            _hop(facts, exc.checked, began)
            return exc.status, self._error_body(exc, trace)
        except DatabaseFailed as exc:
            unread = Refused(90033)
            facts |= _cause(exc)
            _hop(facts, (), began, level=logging.ERROR)
            return unread.status, self._error_body(unread, trace)
        except Exception:  # noqa: BLE001 the edge answers for bugs too
            _log.exception("token_request_failed", extra={"stage": "exchange", **facts})
            failure = Refused(50000)
            return failure.status, self._error_body(failure, trace)
        facts["outcome"] = "granted"
        _hop(facts, STEPS, began)
        return 200, body

    async def _around_sign_in(
        self, answer: Answer, scope: Scope, receive: Receive, trace: str
    ) -> tuple[int, bytes, Headers]:
        try:
            return await answer(scope, receive)
        except Refused as exc:
            facts = {"outcome": exc.entry.name, "cause": exc.message}
            _log.info("sign_in_refused", extra={"stage": "exchange", **facts})
            return exc.status, self._error_body(exc, trace), _PRIVATE
        except DatabaseFailed as exc:
            _log.error("sign_in_failed", extra={"stage": "exchange", **_cause(exc)})
            unread = Refused(90033)
            return unread.status, self._error_body(unread, trace), _PRIVATE
        except Exception:  # noqa: BLE001 the edge answers for bugs too
            _log.exception("sign_in_failed", extra={"stage": "exchange"})
            failure = Refused(50000)
            return failure.status, self._error_body(failure, trace), _PRIVATE

    async def _grant(self, request: wire.TokenRequest, facts: Facts) -> bytes:
        if request.get("grant_type") in GRANTS:
            signed_in = await self._signin.check(request, facts)
            return await self._user_tokens.grant(signed_in, request, facts)
        exchange = await self._verifier.check(request, facts)
        now, seconds = self._clock(), self._settings.token_seconds
        uti = jose.b64encode(os.urandom(16))
        key = self._keys.active
        claims = grant.claims(exchange, now=now, seconds=seconds, uti=uti)
        facts["uti"], facts["oid"] = uti, exchange.identity.object_id
        token = await self._signer.sign(key, claims, grant.header(claims, key.kid))
        return orjson.dumps(
            grant.answer(
                token, version=request.version, asked=exchange.asked, now=now, seconds=seconds
            )
        )

    async def _document(
        self, scope: Scope, tenant: str, rest: str, trace: str
    ) -> tuple[int, bytes, Headers]:
        if scope["method"] not in {"GET", "HEAD", "OPTIONS"}:
            return (
                405,
                b'{"error":"method_not_allowed"}',
                (_JSON, (b"allow", b"GET, HEAD, OPTIONS")),
            )
        try:
            document = await self._find_document(scope, tenant, rest)
        except Refused as exc:
            _log.info(
                "document_refused",
                extra={"stage": "exchange", "outcome": exc.entry.name, "cause": exc.message},
            )
            return exc.status, self._error_body(exc, trace), (_JSON, _NO_CACHE)
        except DatabaseFailed as exc:
            _log.error("document_refused", extra={"stage": "exchange", **_cause(exc)})
            unread = Refused(90033)
            return unread.status, self._error_body(unread, trace), (_JSON, _NO_CACHE)
        if document is None:
            return 404, b'{"error":"not_found"}', (_JSON, _NO_CACHE)
        return 200, orjson.dumps(document), _PUBLIC

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

    def _error_body(self, refused: Refused, trace: str) -> bytes:
        return wire.error_body(
            refused,
            login=self._origins.main,
            trace_id=trace,
            correlation_id=log.correlation_id.get(),
            now=self._clock(),
        )


def _cause(failed: DatabaseFailed) -> Facts:
    return {"outcome": "AADSTS90033", **failed.facts}


def _hop(facts: Facts, checked: Sequence[str], began: float, *, level: int = logging.INFO) -> None:
    skipped = facts.pop("skipped", ())
    log.hop(
        _log,
        "token_request_answered",
        level=level,
        stage="exchange",
        asked=f"token for {facts.get('resource', 'a resource')}",
        checked=[step for step in checked if step not in skipped],
        seconds=time.perf_counter() - began,
        **facts,
    )
