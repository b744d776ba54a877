"""Inspect a token: what it is, which hop it belongs to, and whether it is valid now. No I/O.

This is for a user who has a token that was refused. Nothing here trusts the token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from podpass import names
from podpass.clock import rfc3339
from podpass.crypto.jose import BadSignature, PublicKey, UnverifiedToken, verify
from podpass.directory.resources import BUILT_IN, EXCHANGE_APP_ID
from podpass.kubernetes.service_account.names import USERNAME_PREFIX

_DAY, _HOUR, _MINUTE = 86400, 3600, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenInspection:
    """The result of an inspection.

    `hop` is a stage's name, or `unknown`; `state` is `valid`, `expired`, `not yet valid` or `without expiry`.
    """

    hop: str
    what: str
    state: str
    lifetime: str
    header: Mapping[str, Any] = field(repr=False)
    claims: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check of a token; `passed` is None if the check was not possible."""

    passed: bool | None
    text: str


def inspect_token(token: UnverifiedToken, now: float) -> TokenInspection:
    """Inspect the claims of a token."""
    hop, what = classify(token.claims)
    state, lifetime = check_lifetime(token.claims, now)
    return TokenInspection(
        hop=hop, what=what, state=state, lifetime=lifetime, header=token.header, claims=token.claims
    )


def classify(claims: Mapping[str, Any]) -> tuple[str, str]:
    """Return the hop of a token, and a description."""
    issuer, audiences = str(claims.get("iss", "")), _audiences(claims)
    if _is_authority(issuer) and EXCHANGE_APP_ID in audiences:
        return "exchange", "token of a managed identity, for an application that trusts it"
    if _is_authority(issuer):
        return "resource", f"access token for {resource_name(audiences)}"
    if "kubernetes.io" in claims or str(claims.get("sub", "")).startswith(USERNAME_PREFIX):
        if names.EXCHANGE_AUDIENCE in audiences:
            return "exchange", "ServiceAccount token for a token exchange (client assertion)"
        if _is_for_kubernetes(issuer, audiences):
            return "assertion", "ServiceAccount token for the Kubernetes API"
        return "assertion", f"ServiceAccount token for {', '.join(audiences) or 'no audience'}"
    if names.EXCHANGE_AUDIENCE in audiences:
        return "exchange", "token of another issuer for a token exchange (client assertion)"
    return "unknown", "token that belongs to no hop"


def _is_authority(issuer: str) -> bool:
    try:
        parts = urlsplit(issuer)
    except ValueError:
        return False
    return parts.hostname in names.LOGIN_ALIASES or (
        parts.hostname in ("localhost", "127.0.0.1") and parts.path.endswith("/v2.0")
    )


def _is_for_kubernetes(issuer: str, audiences: Sequence[str]) -> bool:
    own = {issuer, "https://kubernetes.default.svc", "https://kubernetes.default.svc.cluster.local"}
    return bool(own & set(audiences))


def resource_name(audiences: Sequence[str]) -> str:
    """Return the name of the resource that accepts an access token."""
    for audience in audiences:
        for resource in BUILT_IN:
            if audience.removesuffix("/") in (*resource.uris, resource.app_id):
                return resource.display_name
    return f"the resource {', '.join(audiences) or 'no audience'}"


def _audiences(claims: Mapping[str, Any]) -> list[str]:
    audience = claims.get("aud", [])
    return [str(each) for each in audience] if isinstance(audience, list) else [str(audience)]


def check_lifetime(claims: Mapping[str, Any], now: float) -> tuple[str, str]:
    """Check whether a token is valid at `now`; at `exp` itself it is expired."""
    begins, ends = _number(claims, "nbf"), _number(claims, "exp")
    if ends is None and "exp" in claims:
        return "without expiry", "its exp is not a time, so no service accepts it"
    if ends is None:
        return "without expiry", "it has no exp, so no service accepts it"
    if now >= ends:
        return "expired", f"expired {rfc3339(ends)}, {format_duration(now - ends)} ago"
    if begins is not None and now < begins:
        return "not yet valid", f"valid from {rfc3339(begins)}, in {format_duration(begins - now)}"
    return "valid", f"expires {rfc3339(ends)}, in {format_duration(ends - now)}"


def is_refused(finding: TokenInspection, *results: CheckResult | None) -> bool:
    """Return whether no service would accept a token; a check that was not possible does not count.

    A result is None if the check does not apply to the token.
    """
    failed = any(each is not None and each.passed is False for each in results)
    return failed or finding.state != "valid"


def _number(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 253402300800 else None  # to the end of the year 9999


def format_duration(seconds: float) -> str:
    """Format a duration with its two largest units, for example 1 h 5 min."""
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
    """Check a signature against published keys; return None if it is valid, else the reason."""
    if token.kid is None:
        return "its header contains no kid"
    matching = [key for key in keys if key.kid == token.kid]
    if not matching:
        return f"its issuer publishes no key {token.kid}: it was removed, or another issuer signed the token"
    for key in matching:
        try:
            verify(token, key)
        except BadSignature as exc:
            return f"{exc.message}: the token was changed, or signed with another key"
    return None
