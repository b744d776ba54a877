"""Bound ServiceAccount tokens for pods: asked from the API server, renewed before they grow old.

Source: kubelet's token manager: renewed at 80 % of the lifetime, or after 24 hours if that is sooner.
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
_SHARE = 0.8
DEFAULT_SECONDS = 3600
PROJECTED = "projected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A token that a pod's volume asks for; an empty audience is the API server's own."""

    audience: str
    seconds: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A token, and its times in epoch seconds."""

    token: Secret
    issued_at: float
    expires_at: float

    @property
    def renew_at(self) -> float:
        """When to ask for the next one."""
        life = self.expires_at - self.issued_at
        return self.issued_at + min(life * _SHARE, _MAX_AGE_SECONDS)


class PodTokens:
    """The tokens of one pod, kept as long as they are fresh."""

    def __init__(self, client: KubeClient, pod: Mapping[str, Any], clock: Clock) -> None:
        self._client, self._pod, self._clock = client, pod, clock
        self._issued: dict[Wanted, Issued] = {}

    @property
    def renew_at(self) -> float | None:
        """When the first of them has to be renewed."""
        return min((issued.renew_at for issued in self._issued.values()), default=None)

    async def get(self, wanted: Wanted) -> Secret:
        """Give a fresh token; an old one that still lives, if the API server does not answer.

        Errors:  KubeError.
        """
        now = self._clock()
        held = self._issued.get(wanted)
        if held is not None and now < held.renew_at:
            return held.token
        began = time.perf_counter()
        try:
            issued = await self._ask(wanted, now)
        except KubeError as exc:
            if held is None or now >= held.expires_at:
                raise
            _log.warning("token_not_renewed", extra=self._facts(wanted, status=exc.status))
            return held.token
        self._issued[wanted] = issued
        self._log_hop(wanted, issued, time.perf_counter() - began)
        return issued.token

    async def _ask(self, wanted: Wanted, now: float) -> Issued:
        meta = self._pod["metadata"]
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [wanted.audience] if wanted.audience else [],
                "expirationSeconds": wanted.seconds,
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
        return Issued(token=Secret(answer["token"]), issued_at=now, expires_at=expires)

    def _log_hop(self, wanted: Wanted, issued: Issued, seconds: float) -> None:
        """Tell of the token, since an API server that is not ours tells nothing of what it signs."""
        place = f"{self._pod['metadata']['namespace']}/{self._account}"
        log.hop(
            _log,
            "token_projected",
            stage="assertion",
            asked=f"a token of {place} for {wanted.audience or 'the API server'}",
            checked=("account and pod exist, by the API server",),
            seconds=seconds,
            outcome=PROJECTED,
            level=logging.INFO,
            **self._facts(wanted, expires_at=int(issued.expires_at)),
        )

    @property
    def _account(self) -> str:
        return self._pod["spec"].get("serviceAccountName") or "default"

    def _facts(self, wanted: Wanted, **more: object) -> dict[str, object]:
        meta = self._pod["metadata"]
        return {
            "pod": meta["name"],
            "namespace": meta["namespace"],
            "account": self._account,
            "audience": wanted.audience,
            "path": wanted.path,
            **more,
        }
