"""Build the claims of a ServiceAccount token from its account, its bound objects and its audiences.

Claims and their order are those of kube-apiserver, so that every parser of its tokens can parse these too.
Source: kubernetes/kubernetes pkg/serviceaccount/claims.go, pkg/registry/core/serviceaccount/storage/token.go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kubeling.service_account.names import subject

# Older clients request this lifetime by default and never reload the token. Such a token is valid for one
# year, and the API server warns when it is used after the requested time.
EXTENDED_SECONDS = 3607
EXTENSION_SECONDS = 365 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """An object in the claims of a token: its account, or an object that it is bound to."""

    name: str
    uid: str

    def claim(self) -> dict[str, str]:
        """Return the object as it is written in the claims."""
        return {"name": self.name, "uid": self.uid}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """The seconds after `iat` that a token is valid, and those after which its use causes a warning."""

    seconds: int
    warn_after: int | None = None


def token_lifetime(seconds: int, *, pod_bound: bool, own_audience: bool) -> Lifetime:
    """Return the lifetime of a token by the rules of kube-apiserver.

    `own_audience` is true if every requested audience is one of the API server's own.
    """
    if seconds == EXTENDED_SECONDS and pod_bound and own_audience:
        return Lifetime(seconds=EXTENSION_SECONDS, warn_after=seconds)
    return Lifetime(seconds=seconds)


def make_claims(
    *,
    issuer: str,
    namespace: str,
    account: ObjectRef,
    audiences: Sequence[str],
    seconds: int,
    now: float,
    jti: str,
    warn_after: int | None = None,
    **bound: ObjectRef,
) -> dict[str, Any]:
    """Build the claims of a ServiceAccount token.

    `jti` is a UUID; `bound` is `pod`, `pod` and `node`, `node`, `secret`, or nothing. `seconds` and
    `warn_after` count from `now`.
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
        "sub": subject(namespace, account.name),
    }
