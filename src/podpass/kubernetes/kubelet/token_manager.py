"""Request bound ServiceAccount tokens for pods from the API server, and renew them before they expire.

Source: the token manager of the kubelet. It renews at 80 % of the lifetime, or after 24 hours if earlier.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from podpass import log
from podpass.clock import Clock
from podpass.crypto.secret import Secret
from podpass.kubernetes.client import KubeClient, KubeError

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

    def __init__(self, client: KubeClient, pod: Mapping[str, Any], clock: Clock) -> None:
        self._client, self._pod, self._clock = client, pod, clock
        self._issued: dict[TokenProjection, IssuedToken] = {}

    @property
    def renew_at(self) -> float | None:
        """Return the time at which the first token must be renewed; None without tokens."""
        return min((issued.renew_at for issued in self._issued.values()), default=None)

    async def get(self, projection: TokenProjection) -> Secret:
        """Return a token: the cached one until it must be renewed, and until it expires if the renewal fails.

        Errors:  KubeError.
        """
        now = self._clock()
        cached = self._issued.get(projection)
        if cached is not None and now < cached.renew_at:
            return cached.token
        began = time.perf_counter()
        try:
            issued = await self._request(projection, now)
        except KubeError as exc:
            if cached is None or now >= cached.expires_at:
                self._log_refused(projection, exc, time.perf_counter() - began)
                raise
            _log.warning("token_renewal_failed", extra=self._facts(projection, status=exc.status))
            return cached.token
        self._issued[projection] = issued
        self._log_issued(projection, issued, time.perf_counter() - began)
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

    def _log_issued(self, projection: TokenProjection, issued: IssuedToken, seconds: float) -> None:
        """Log the token request: a real API server does not log the tokens that it signs."""
        log.hop(
            _log,
            "token_projected",
            stage="assertion",
            asked=self._describe_request(projection),
            checked=("account and pod exist, according to the API server",),
            seconds=seconds,
            outcome=PROJECTED,
            level=logging.INFO,
            **self._facts(
                projection,
                expires_at=int(issued.expires_at),
                # The token service logs the same value, which connects an exchange with its pod.
                token_sha256=log.fingerprint(issued.token.reveal()),
            ),
        )

    def _log_refused(self, projection: TokenProjection, refused: KubeError, seconds: float) -> None:
        log.hop(
            _log,
            "token_projection_refused",
            stage="assertion",
            asked=self._describe_request(projection),
            checked=(),
            seconds=seconds,
            outcome="refused",
            level=logging.WARNING,
            **self._facts(projection, code=refused.reason, cause=refused.message),
        )

    def _describe_request(self, projection: TokenProjection) -> str:
        account = f"{self._pod['metadata']['namespace']}/{self._account}"
        return f"a token of {account} for {projection.audience or 'the API server'}"

    @property
    def _account(self) -> str:
        return self._pod["spec"].get("serviceAccountName") or "default"

    def _facts(self, projection: TokenProjection, **more: object) -> dict[str, object]:
        meta = self._pod["metadata"]
        return {
            "pod": meta["name"],
            "uid": meta["uid"],
            "namespace": meta["namespace"],
            "account": self._account,
            "audience": projection.audience,
            "path": projection.path,
            **more,
        }
