"""What a token is, which hop of the journey it belongs to, and whether it still lives. Pure.

For a person who holds a token and does not know why it is refused. Nothing here trusts it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from podpass import names
from podpass.clock import rfc3339
from podpass.crypto.jose import BadSignature, PublicKey, UnverifiedToken, verify
from podpass.directory.resources import BUILT_IN, EXCHANGE_APP_ID

_DAY, _HOUR, _MINUTE = 86400, 3600, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found out about a token.

    Shapes:  `hop` is a stage's name, or `unknown`; `state` is `valid`, `expired`, `not yet valid` or
             `without expiry`.
    """

    hop: str
    what: str
    state: str
    lifetime: str
    header: Mapping[str, Any] = field(repr=False)
    claims: Mapping[str, Any] = field(repr=False)


def examine(token: UnverifiedToken, now: float) -> Finding:
    """Say what a token is, from what it claims."""
    hop, what = classify(token.claims)
    state, lifetime = judge_time(token.claims, now)
    return Finding(
        hop=hop, what=what, state=state, lifetime=lifetime, header=token.header, claims=token.claims
    )


def classify(claims: Mapping[str, Any]) -> tuple[str, str]:
    """Tell the hop a token belongs to, and what it is in words."""
    issuer, audiences = str(claims.get("iss", "")), _audiences(claims)
    if _from_authority(issuer) and EXCHANGE_APP_ID in audiences:
        return "exchange", "managed identity's token, for an application that trusts it"
    if _from_authority(issuer):
        return "resource", f"access token for {resource_name(audiences)}"
    if "kubernetes.io" in claims or str(claims.get("sub", "")).startswith("system:serviceaccount:"):
        if names.EXCHANGE_AUDIENCE in audiences:
            return "exchange", "ServiceAccount token made to be exchanged (client assertion)"
        if _for_kubernetes(issuer, audiences):
            return "assertion", "ServiceAccount token for the Kubernetes API"
        return "assertion", f"ServiceAccount token for {', '.join(audiences) or 'nobody'}"
    if names.EXCHANGE_AUDIENCE in audiences:
        return "exchange", "token of another issuer made to be exchanged (client assertion)"
    return "unknown", "a token that belongs to no hop of this journey"


def _from_authority(issuer: str) -> bool:
    try:
        parts = urlsplit(issuer)
    except ValueError:
        return False
    return parts.hostname in names.LOGIN_ALIASES or (
        parts.hostname in ("localhost", "127.0.0.1") and parts.path.endswith("/v2.0")
    )


def _for_kubernetes(issuer: str, audiences: Sequence[str]) -> bool:
    own = {issuer, "https://kubernetes.default.svc", "https://kubernetes.default.svc.cluster.local"}
    return bool(own & set(audiences))


def resource_name(audiences: Sequence[str]) -> str:
    """Name the resource that an access token opens."""
    for audience in audiences:
        for resource in BUILT_IN:
            if audience.removesuffix("/") in (*resource.uris, resource.app_id):
                return resource.display_name
    return f"the resource {', '.join(audiences) or 'nobody'}"


def _audiences(claims: Mapping[str, Any]) -> list[str]:
    audience = claims.get("aud", [])
    return [str(each) for each in audience] if isinstance(audience, list) else [str(audience)]


def judge_time(claims: Mapping[str, Any], now: float) -> tuple[str, str]:
    """Tell whether a token lives at `now`; at `exp` itself it no longer does."""
    begins, ends = _number(claims, "nbf"), _number(claims, "exp")
    if ends is None and "exp" in claims:
        return "without expiry", "its exp is not a time, so nobody accepts it"
    if ends is None:
        return "without expiry", "it has no exp, so nobody accepts it"
    if now >= ends:
        return "expired", f"ended {rfc3339(ends)}, {span(now - ends)} ago"
    if begins is not None and now < begins:
        return "not yet valid", f"begins {rfc3339(begins)}, in {span(begins - now)}"
    return "valid", f"ends {rfc3339(ends)}, in {span(ends - now)}"


def _number(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 253402300800 else None  # to the end of the year 9999


def span(seconds: float) -> str:
    """Write a length of time as people say it."""
    whole = int(seconds)
    for size, unit, smaller, small_unit in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{whole} s"


def check_signature(token: UnverifiedToken, keys: Sequence[PublicKey]) -> str | None:
    """Check a signature against published keys; None when it fits, else why it does not."""
    if token.kid is None:
        return "its header names no key (kid)"
    fitting = [key for key in keys if key.kid == token.kid]
    if not fitting:
        return f"its issuer publishes no key {token.kid}: rotated away, or another issuer's"
    for key in fitting:
        try:
            verify(token, key)
        except BadSignature as exc:
            return f"{exc.message}: the token was changed, or signed by somebody else"
    return None
