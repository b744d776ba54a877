"""Request bound ServiceAccount tokens for pods from the API server, and renew them before they expire.

Source: the token manager of the kubelet. It renews at 80 % of the lifetime, or after 24 hours if earlier.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubeling.api import Api, ApiError
from kubeling.clock import Clock
from kubeling.secret import Secret, fingerprint

_log = logging.getLogger(__name__)

_MAX_AGE_SECONDS = 24 * 3600
_RENEW_FRACTION = 0.8
DEFAULT_SECONDS = 3600
PROJECTED = "projected"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenProjection:
    """A token that a volume requests; an empty audience means the audience of the API server."""

    audience: str
    seconds: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """An issued token; times in epoch seconds."""

    token: Secret
    issued_at: float
    expires_at: float

    @property
    def renew_at(self) -> float:
        """Return the time at which the token must be renewed."""
        lifetime = self.expires_at - self.issued_at
        return self.issued_at + min(lifetime * _RENEW_FRACTION, _MAX_AGE_SECONDS)


class TokenManager:
    """The tokens of one pod, cached until they must be renewed."""

    def __init__(self, client: Api, pod: Mapping[str, Any], clock: Clock) -> None:
        self._client, self._pod, self._clock = client, pod, clock
        self._issued: dict[TokenProjection, IssuedToken] = {}

    @property
    def renew_at(self) -> float | None:
        """Return the time at which the first token must be renewed; None without tokens."""
        return min((issued.renew_at for issued in self._issued.values()), default=None)

    async def get(self, projection: TokenProjection) -> Secret:
        """Return a token: the cached one until it must be renewed, and until it expires if the renewal fails.

        Raises ApiError.
        """
        now = self._clock()
        cached = self._issued.get(projection)
        if cached is not None and now < cached.renew_at:
            return cached.token
        began = time.perf_counter()
        try:
            issued = await self._request(projection, now)
        except ApiError as exc:
            seconds = time.perf_counter() - began
            if cached is None or now >= cached.expires_at:
                why = {"outcome": "refused", "code": exc.reason, "cause": exc.message}
                facts = self._facts(projection, seconds, checked=[], **why)
                _log.warning("token_projection_refused", extra=facts)
                raise
            facts = self._facts(projection, seconds, status=exc.status)
            _log.warning("token_renewal_failed", extra=facts)
            return cached.token
        self._issued[projection] = issued
        # A real API server does not log the tokens that it signs.
        facts = self._facts(
            projection,
            time.perf_counter() - began,
            checked=["account and pod exist, according to the API server"],
            outcome=PROJECTED,
            expires_at=int(issued.expires_at),
            # A service that receives the token can log the same value.
            token_sha256=fingerprint(issued.token.reveal()),
        )
        _log.info("token_projected", extra=facts)
        return issued.token

    async def _request(self, projection: TokenProjection, now: float) -> IssuedToken:
        meta = self._pod["metadata"]
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [projection.audience] if projection.audience else [],
                "expirationSeconds": projection.seconds,
                "boundObjectRef": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": meta["name"],
                    "uid": meta["uid"],
                },
            },
        }
        path = f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/{self._account}/token"
        answer = (await self._client.create(path, body)).get("status") or {}
        expires = datetime.fromisoformat(answer["expirationTimestamp"]).timestamp()
        return IssuedToken(token=Secret(answer["token"]), issued_at=now, expires_at=expires)

    @property
    def _account(self) -> str:
        return self._pod["spec"].get("serviceAccountName") or "default"

    def _facts(
        self, projection: TokenProjection, seconds: float, **more: object
    ) -> dict[str, object]:
        meta = self._pod["metadata"]
        account = f"{meta['namespace']}/{self._account}"
        return {
            "asked": f"a token of {account} for {projection.audience or 'the API server'}",
            "took_ms": round(seconds * 1000, 3),
            "pod": meta["name"],
            "uid": meta["uid"],
            "namespace": meta["namespace"],
            "account": self._account,
            "audience": projection.audience,
            "path": projection.path,
            **more,
        }
