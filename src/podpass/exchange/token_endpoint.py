"""The token endpoint: reads a request, returns a response, and writes one log line for it.

It is on the hot path. It translates between HTTP and the checks, and calls the rate limiter and the metrics;
`client_credentials` and `sign_in` make the decisions.
"""

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from functools import lru_cache

import orjson

from podpass import log
from podpass.clock import Clock
from podpass.crypto import jose
from podpass.exchange import access_token, responses, token_request
from podpass.exchange.client_auth.assertion import read_pod
from podpass.exchange.client_credentials import ClientCredentialsVerifier
from podpass.exchange.errors.catalogue import STEPS, AadstsError
from podpass.exchange.form_reader import read_request
from podpass.exchange.metrics import GRANTED, RequestObserver
from podpass.exchange.origins import Origins
from podpass.exchange.sign_in.sign_in import GRANTS, SignIn
from podpass.exchange.sign_in.tokens import UserTokens
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.exchange.signing.signer import Signer
from podpass.exchange.throttling import (
    RequestLimiter,
    client_address,
    is_client_error,
    require_no_wait,
)
from podpass.exchange.token_request import RequestRecord, TokenRequest
from podpass.http.server import BodyRefused, Reply, Scope, header
from podpass.names import DOCTOR_AGENT
from podpass.settings import AuthoritySettings

_log = logging.getLogger(__name__)

# The steps whose errors are hidden. After these steps the caller is authenticated, so later errors disclose
# nothing to other callers.
HIDDEN_STEPS = frozenset(
    {"client", "credential", "assertion", "trust", "lifetime", "issuer", "key", "signature"}
)
UNIFORM_NUMBER = 70002
# Longer than the time difference between looking up a client and verifying a signature with cached keys.
GRID_SECONDS = 0.1


async def as_uniform_error(refused: AadstsError, began: float) -> AadstsError:
    """Return the uniform error for the caller, delayed to the next point of the time grid.

    With `uniform_refusals`, every authentication failure has the same error and duration. Without it, this
    service distinguishes an unknown client, a wrong issuer, audience, subject and key before the client is
    authenticated, as Entra does. The log has the cause in both cases.

    Units: `began` by `time.perf_counter`.
    """
    if refused.step not in HIDDEN_STEPS:
        return refused
    await asyncio.sleep(seconds_to_grid(time.perf_counter() - began))
    return AadstsError(UNIFORM_NUMBER)


def seconds_to_grid(elapsed: float) -> float:
    """Return the seconds until the next point of the time grid."""
    return GRID_SECONDS - elapsed % GRID_SECONDS


class TokenEndpoint:
    """Handle token requests."""

    def __init__(
        self,
        verifier: ClientCredentialsVerifier,
        signin: SignIn,
        keys: AuthorityKeys,
        settings: AuthoritySettings,
        clock: Clock,
        signer: Signer,
        *,
        limiter: RequestLimiter | None,
        observe: RequestObserver | None,
    ) -> None:
        self._verifier = verifier
        self._signin = signin
        self._keys = keys
        self._origins = Origins.from_settings(settings)
        self._settings = settings
        self._clock = clock
        self._limiter = limiter
        self._observe = observe
        self._signer = signer
        self._user_tokens = UserTokens(keys, self._signer, settings, clock)

    async def handle(
        self, scope: Scope, body: bytes | BodyRefused, *, tenant: str, version: int
    ) -> Reply:
        """Handle a request; every exception becomes an error response."""
        began = time.perf_counter()
        correlation = token_request.correlation_id(scope["headers"], scope["query_string"])
        log.correlation_id.set(correlation)
        trace = token_request.new_id()
        record = RequestRecord(source=client_address(scope))
        headers = responses.with_ids(responses.NO_STORE_HEADERS, trace, correlation)
        try:
            request = read_request(
                scope,
                body,
                tenant=tenant,
                version=version,
                origins=self._origins,
                limit=self._settings.max_body_bytes,
                record=record,
            )
            if (header(scope, b"user-agent") or "").startswith(DOCTOR_AGENT):
                record.add(**{log.BY_DOCTOR: not _is_of_pod(request)})
            client_key = _rate_limit_key(request)
            if self._limiter is not None:
                require_no_wait(self._limiter.acquire(record.source, client_key))
            response = await self._issue_token(request)
        except Exception as exc:  # noqa: BLE001 a bug must have a response too
            refused, level, fields = responses.as_refusal(
                exc, {"source": record.source, **record.fields}
            )
            record.add(**fields)
            self._log_result(record, refused.checked, began, version, level)
            if self._limiter is not None and is_client_error(refused.status):
                self._limiter.on_rejection(record.source)
            if self._settings.uniform_refusals:
                refused = await as_uniform_error(refused, began)
            text = responses.error_body(refused, self._origins, trace, correlation, self._clock())
            return Reply(refused.status, (*responses.error_headers(exc), *headers), text)
        record.add(outcome=GRANTED)
        self._log_result(record, STEPS, began, version, logging.INFO)
        if self._limiter is not None:
            self._limiter.on_success(record.source, client_key)
        return Reply(200, headers, response)

    async def _issue_token(self, request: TokenRequest) -> bytes:
        if request.get("grant_type") in GRANTS:
            signed_in = await self._signin.check(request)
            return await self._user_tokens.issue(signed_in, request)
        try:
            exchange = await self._verifier.check(request)
        finally:
            # Each signature check after the first counts as one more request of the address.
            extra = request.record.signatures_checked - 1
            if extra and self._limiter is not None:
                self._limiter.on_extra_work(request.record.source, extra)
        now, seconds = self._clock(), self._settings.token_seconds
        uti = jose.b64encode(os.urandom(16))
        key = await self._keys.current()
        claims = access_token.build_claims(exchange, now=now, seconds=seconds, uti=uti)
        request.record.add(**access_token.log_facts(claims))
        token = await self._signer.sign(key, claims, access_token.build_header(claims, key.kid))
        return orjson.dumps(
            access_token.build_response(
                token,
                version=request.version,
                requested=exchange.requested,
                now=now,
                seconds=seconds,
            )
        )

    def _log_result(
        self, record: RequestRecord, checked: Sequence[str], began: float, version: int, level: int
    ) -> None:
        seconds = time.perf_counter() - began
        fields = record.fields
        if record.signatures_checked > 1:
            fields["signatures_checked"] = record.signatures_checked
        if self._observe is not None:
            self._observe(fields["outcome"], version, seconds)
        log.hop(
            _log,
            "token_request_answered",
            # The traceback of a bug has a line of its own.
            level=logging.INFO if level == responses.ALREADY_LOGGED else level,
            stage="exchange",
            asked=f"token for {fields.get('resource', 'a resource')}",
            checked=_without_skipped(tuple(checked), record.skipped),
            seconds=seconds,
            source=record.source,
            **fields,
        )


def _is_of_pod(request: TokenRequest) -> bool:
    """Return whether the credential is the token of a pod, which must not be marked as doctor's."""
    try:
        return bool(request.get("client_assertion") and read_pod(request.assertion))
    except jose.MalformedToken:
        return False


def _rate_limit_key(request: TokenRequest) -> str:
    """Return the client that the limit applies to; empty for sign-ins, whose users share one client ID."""
    client = request.get("client_id")
    if not client or request.get("grant_type") in GRANTS:
        return ""
    return f"{request.tenant}/{client}"


@lru_cache(maxsize=256)
def _without_skipped(checked: tuple[str, ...], skipped: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(step for step in checked if step not in skipped)
