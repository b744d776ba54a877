"""The token endpoint: one request in, one answer out, and one line in the log, however it ends.

The edge of the hot path. It translates, and asks whoever counts (`gate`, `observe`); the verdict is made by
`verify` and `signin`.
"""

import logging
import os
import time
from collections.abc import Sequence
from functools import lru_cache

import orjson

from podpass import log
from podpass.clock import Clock
from podpass.crypto import jose
from podpass.exchange import access_token, responses, token_request, uniform
from podpass.exchange.client_credentials import Verifier
from podpass.exchange.errors.catalogue import STEPS
from podpass.exchange.form_reader import read_request
from podpass.exchange.metrics import GRANTED, Observe
from podpass.exchange.origins import Origins
from podpass.exchange.sign_in.sign_in import GRANTS, SignIn
from podpass.exchange.sign_in.tokens import UserTokens
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.exchange.signing.signer import Signer
from podpass.exchange.throttling import Gate, admit, is_fault_of_caller, source_of
from podpass.exchange.token_request import Facts
from podpass.http.server import Reply, Scope
from podpass.settings import AuthoritySettings

_log = logging.getLogger(__name__)


class TokenEndpoint:
    """Answer requests for tokens."""

    def __init__(
        self,
        verifier: Verifier,
        signin: SignIn,
        keys: AuthorityKeys,
        settings: AuthoritySettings,
        clock: Clock,
        signer: Signer,
        *,
        gate: Gate | None,
        observe: Observe | None,
    ) -> None:
        self._verifier = verifier
        self._signin = signin
        self._keys = keys
        self._origins = Origins.of(settings)
        self._settings = settings
        self._clock = clock
        self._gate = gate
        self._observe = observe
        self._signer = signer
        self._user_tokens = UserTokens(keys, self._signer, settings, clock)

    async def answer(self, scope: Scope, body: bytes | None, *, tenant: str, version: int) -> Reply:
        """Answer a request; every fault has its answer too.

        Shapes:  `body` is None when it is longer than allowed.
        """
        began = time.perf_counter()
        correlation = token_request.correlation_id(scope["headers"], scope["query_string"])
        log.correlation_id.set(correlation)
        trace = token_request.new_id()
        facts: Facts = {"source": source_of(scope)}
        headers = responses.ids(responses.PRIVATE, trace, correlation)
        try:
            request = read_request(
                scope,
                body,
                tenant=tenant,
                version=version,
                origins=self._origins,
                limit=self._settings.max_body_bytes,
                facts=facts,
            )
            counted = _counted(request)
            if self._gate is not None:
                admit(self._gate.admit(facts["source"], counted))
            written = await self._grant(request, facts)
        except Exception as exc:  # noqa: BLE001 the edge answers for bugs too
            refused, level = responses.refusal(exc, facts)
            self._tell(facts, refused.checked, began, version, level)
            if self._gate is not None and is_fault_of_caller(refused.status):
                self._gate.refused(facts["source"])
            if self._settings.uniform_refusals:
                refused = await uniform.told(refused, began)
            text = responses.refused_body(refused, self._origins, trace, correlation, self._clock())
            return Reply(refused.status, (*responses.retry_after(exc), *headers), text)
        facts["outcome"] = GRANTED
        self._tell(facts, STEPS, began, version, logging.INFO)
        if self._gate is not None:
            self._gate.granted(facts["source"], counted)
        return Reply(200, headers, written)

    async def _grant(self, request: token_request.TokenRequest, facts: Facts) -> bytes:
        if request.get("grant_type") in GRANTS:
            signed_in = await self._signin.check(request, facts)
            return await self._user_tokens.grant(signed_in, request, facts)
        exchange = await self._verifier.check(request, facts)
        now, seconds = self._clock(), self._settings.token_seconds
        uti = jose.b64encode(os.urandom(16))
        key = await self._keys.current()
        claims = access_token.claims(exchange, now=now, seconds=seconds, uti=uti)
        facts["uti"], facts["oid"] = uti, exchange.identity.object_id
        token = await self._signer.sign(key, claims, access_token.header(claims, key.kid))
        return orjson.dumps(
            access_token.answer(
                token, version=request.version, asked=exchange.asked, now=now, seconds=seconds
            )
        )

    def _tell(
        self, facts: Facts, checked: Sequence[str], began: float, version: int, level: int
    ) -> None:
        seconds = time.perf_counter() - began
        if self._observe is not None:
            self._observe(facts["outcome"], version, seconds)
        if level == responses.TOLD:
            return
        log.hop(
            _log,
            "token_request_answered",
            level=level,
            stage="exchange",
            asked=f"token for {facts.get('resource', 'a resource')}",
            checked=_without(tuple(checked), tuple(facts.pop("skipped", ()))),
            seconds=seconds,
            **facts,
        )


def _counted(request: token_request.TokenRequest) -> str:
    """Name the client whose tokens are counted: not where users sign in, who share one, as all do of az."""
    client = request.get("client_id")
    if not client or request.get("grant_type") in GRANTS:
        return ""
    return f"{request.tenant}/{client}"


@lru_cache(maxsize=256)
def _without(checked: tuple[str, ...], skipped: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(step for step in checked if step not in skipped)
