"""An account, perhaps a pod, and an audience in; the claims of its token, or the signed token, out.

Claims and their order are kube-apiserver's, so that whoever reads its tokens reads ours.
Source: kubernetes/kubernetes pkg/serviceaccount/claims.go, pkg/registry/core/serviceaccount/storage/token.go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from podpass import names
from podpass.assertion.keys import KeyRing

# A projected token of this very lifetime is the default one of older clients that never reread it: it lives
# a year, and its use after the asked-for time is a warning.
EXTENDED_SECONDS = 3607
EXTENSION_SECONDS = 365 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """An object a token names: its account, or what it is bound to."""

    name: str
    uid: str

    def claim(self) -> dict[str, str]:
        return {"name": self.name, "uid": self.uid}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """How long a token lives, and after how long its use is a warning.

    Units:   seconds after `iat`.
    """

    seconds: int
    warn_after: int | None = None


def lifetime(seconds: int, *, pod_bound: bool, own_audience: bool) -> Lifetime:
    """Decide a token's lifetime as the API server does.

    Shapes:  `own_audience` says that every audience asked for is the API server's own.
    """
    if seconds == EXTENDED_SECONDS and pod_bound and own_audience:
        return Lifetime(seconds=EXTENSION_SECONDS, warn_after=seconds)
    return Lifetime(seconds=seconds)


def claims(
    *,
    issuer: str,
    namespace: str,
    account: Ref,
    audiences: Sequence[str],
    seconds: int,
    now: float,
    jti: str,
    warn_after: int | None = None,
    **bound: Ref,
) -> dict[str, Any]:
    """Make the claims of a ServiceAccount's token, bound to what is given.

    Shapes:  `jti` is a UUID; `bound` is `pod`, `pod` and `node`, `node`, `secret`, or nothing.
    Units:   `seconds` and `warn_after` count from `now`.
    """
    issued = int(now)
    objects = {**bound, "serviceaccount": account}
    private: dict[str, Any] = {"namespace": namespace}
    private |= {kind: objects[kind].claim() for kind in sorted(objects)}
    if warn_after is not None:
        private["warnafter"] = issued + warn_after
    return {
        "aud": list(audiences),
        "exp": issued + seconds,
        "iat": issued,
        "iss": issuer,
        "jti": jti,
        "kubernetes.io": private,
        "nbf": issued,
        "sub": names.subject(namespace, account.name),
    }


def mint(ring: KeyRing, token_claims: dict[str, Any]) -> str:
    """Sign claims with the active key, under kube-apiserver's header: `alg` and `kid` only."""
    return ring.active.sign(token_claims)
