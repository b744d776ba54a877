"""The checks of an access token, in their order, and nothing else. Pure.

In: the text after `Bearer`, a published key, what is accepted, the time. Out: who calls. It must never
take a key, an issuer or a tenant from the token's own word.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from podpass import jose, names
from podpass.errors import Error

_ALGORITHM = "RS256"
_MAX_TIME = 2**53
_MAX_ID_CHARS = 64


class Check(StrEnum):
    """The checks, in the order in which they are made."""

    FORM = "form"
    ALGORITHM = "algorithm"
    KEY = "key"
    SIGNATURE = "signature"
    ISSUER = "issuer"
    TENANT = "tenant"
    AUDIENCE = "audience"
    LIFETIME = "lifetime"
    CALLER = "caller"


class TokenRefused(Error):
    """The token does not pass; `check` is the one it failed."""

    code = "token_refused"
    status = 401
    hint = "ask the tenant's token endpoint for a new token, with the scope the challenge names"

    def __init__(self, message: str, *, check: Check, **facts: object) -> None:
        super().__init__(message)
        self.facts = {"check": check.value, **facts}
        self.check = check


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What a token must say.

    Shapes:  `audiences` whole and exact, a trailing slash counts.
    Units:   `leeway_seconds` for clocks that differ; `exp` plus it is too late.
    """

    tenant_id: str
    audiences: frozenset[str]
    leeway_seconds: int = 0

    @property
    def issuer(self) -> str:
        """The issuer of version 1 access tokens."""
        return names.v1_issuer(self.tenant_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who calls: `app_id` is the client id, `object_id` the service principal roles are given to."""

    app_id: str
    object_id: str
    tenant_id: str


def read(bearer: str) -> jose.UnverifiedToken:
    """Read a token far enough to know which key to check it with.

    Errors:  TokenRefused for form, algorithm or key.
    """
    try:
        token = jose.parse(bearer)
    except jose.MalformedToken as exc:
        raise TokenRefused(f"the token is {exc.message}", check=Check.FORM) from exc
    if token.header.get("typ", "JWT") != "JWT":
        raise TokenRefused("the token is of another type", check=Check.FORM)
    if token.alg != _ALGORITHM:
        raise TokenRefused(f"the token is not signed with {_ALGORITHM}", check=Check.ALGORITHM)
    if not token.kid:
        raise TokenRefused("the token names no key", check=Check.KEY)
    return token


def check(
    token: jose.UnverifiedToken, key: jose.PublicKey | None, accepted: Accepted, now: float
) -> Principal:
    """Check a token with the published key it names, None if none is published under that name.

    Errors:  TokenRefused.
    """
    if key is None or key.kid != token.kid:
        raise TokenRefused("the token's key is not published", check=Check.KEY)
    try:
        jose.verify(token, key)
    except jose.BadSignature as exc:
        raise TokenRefused("the token's signature does not fit", check=Check.SIGNATURE) from exc
    claims = token.claims
    _check_origin(claims, accepted)
    _check_lifetime(claims, now, accepted.leeway_seconds)
    return Principal(
        app_id=_id(claims, "appid"),
        object_id=_id(claims, "oid"),
        tenant_id=accepted.tenant_id,
    )


def _check_origin(claims: Mapping[str, Any], accepted: Accepted) -> None:
    # An assertion, an id token or a version 2 token may carry a good signature; none has this issuer.
    if claims.get("iss") != accepted.issuer:
        raise TokenRefused(
            "the token is from another issuer",
            check=Check.ISSUER,
            expected=accepted.issuer,
            found=_shown(claims.get("iss")),
        )
    if claims.get("tid") != accepted.tenant_id:
        raise TokenRefused("the token is of another tenant", check=Check.TENANT)
    audience = claims.get("aud")
    if not isinstance(audience, str) or audience not in accepted.audiences:
        raise TokenRefused(
            "the token is for another resource", check=Check.AUDIENCE, found=_shown(audience)
        )


def _check_lifetime(claims: Mapping[str, Any], now: float, leeway: int) -> None:
    expires, begins = _time(claims, "exp"), _time(claims, "nbf")
    # RFC 7519 4.1.4: "on or after which the JWT MUST NOT be accepted".
    if now >= expires + leeway:
        raise TokenRefused("the token has expired", check=Check.LIFETIME, exp=expires)
    if now < begins - leeway:
        raise TokenRefused("the token is not valid yet", check=Check.LIFETIME, nbf=begins)


def _time(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    # Not isinstance: True is an int to Python.
    if type(value) is not int or not 0 <= value < _MAX_TIME:
        raise TokenRefused(f"{name} is no time", check=Check.LIFETIME)
    return value


def _id(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_ID_CHARS:
        raise TokenRefused(f"{name} is missing", check=Check.CALLER)
    return value


def _shown(value: object) -> str:
    """Give a claim as an error may show it: text only, short, on one line."""
    if not isinstance(value, str):
        return f"({type(value).__name__})"
    return "".join(sign if sign.isprintable() else "?" for sign in value[:200])
