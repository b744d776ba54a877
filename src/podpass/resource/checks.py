"""The checks of an access token, in their order. Pure.

In: the text after `Bearer`, a published key, the requirements, the time. Out: the caller. A key, an issuer or
a tenant must never be taken from the token itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from podpass import names
from podpass.crypto import jose
from podpass.errors import Error

_ALGORITHM = "RS256"
_MAX_TIME = 2**53
_MAX_ID_CHARS = 64
_SCOPE = "user_impersonation"


class Check(StrEnum):
    """The checks in their order; `expired` and `lifetime` belong to one step."""

    MISSING = "missing"
    FORM = "form"
    ALGORITHM = "algorithm"
    KEY = "key"
    SIGNATURE = "signature"
    ISSUER = "issuer"
    TENANT = "tenant"
    AUDIENCE = "audience"
    EXPIRED = "expired"
    LIFETIME = "lifetime"
    CALLER = "caller"


class TokenRefused(Error):
    """The token failed a check; `check` is the failed one, `challenge` the WWW-Authenticate header."""

    code = "token_refused"
    status = 401
    hint = "request a new token for this API from the tenant's token endpoint"

    def __init__(self, message: str, *, check: Check, **facts: object) -> None:
        super().__init__(message)
        self.facts = {"check": check.value, **facts}
        self.check = check
        self.challenge = "Bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequirements:
    """The requirements for the claims of a token.

    `audiences` are compared exactly, including a trailing slash; `authorities` are the origins whose version
    2 tokens are accepted, empty for an API that accepts only version 1. Units: `leeway_seconds` for clock
    differences; a token is expired at `exp` plus the leeway.
    """

    tenant_id: str
    audiences: frozenset[str]
    authorities: tuple[str, ...] = ()
    leeway_seconds: int = 0

    @property
    def issuer(self) -> str:
        """Return the issuer of version 1 access tokens."""
        return names.v1_issuer(self.tenant_id)

    @property
    def issuers(self) -> Mapping[str, str]:
        """Return each accepted issuer, with the claim that has the client ID in its tokens."""
        version_2 = {f"{origin}/{self.tenant_id}/v2.0": "azp" for origin in self.authorities}
        return {self.issuer: "appid", **version_2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The caller: an application, or a user through an application.

    `app_id` is the client ID; `object_id` is that of the service principal or user, to which roles are
    assigned. `roles` are app roles, `scopes` delegated permissions, `wids` the user's directory roles. `name`
    is only for display; `claims` are all claims of the token, `key_id` is the ID of the key that signed it.
    """

    app_id: str
    object_id: str
    tenant_id: str
    is_user: bool = False
    name: str | None = None
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    wids: frozenset[str] = frozenset()
    key_id: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)


def parse(bearer: str) -> jose.UnverifiedToken:
    """Parse a token to find the ID of its key; nothing is verified yet.

    Raises TokenRefused for an invalid form, algorithm or key ID.
    """
    try:
        token = jose.parse(bearer)
    except jose.MalformedToken as exc:
        raise TokenRefused(f"the token is {exc.message}", check=Check.FORM) from exc
    if token.header.get("typ", "JWT") != "JWT":
        raise TokenRefused("the type of the token is not JWT", check=Check.FORM)
    if token.alg != _ALGORITHM:
        raise TokenRefused(f"the token is not signed with {_ALGORITHM}", check=Check.ALGORITHM)
    if not token.kid:
        raise TokenRefused("the token has no key ID", check=Check.KEY)
    return token


def verify(
    token: jose.UnverifiedToken,
    key: jose.PublicKey | None,
    accepted: TokenRequirements,
    now: float,
) -> Principal:
    """Verify a token with the published key of its key ID, which is None if it is not published.

    Raises TokenRefused.
    """
    if key is None or key.kid != token.kid:
        raise TokenRefused("the token's key is not published", check=Check.KEY)
    try:
        jose.verify(token, key)
    except jose.BadSignature as exc:
        raise TokenRefused("the token's signature is invalid", check=Check.SIGNATURE) from exc
    claims = token.claims
    client_claim = _check_origin(claims, accepted)
    _check_lifetime(claims, now, accepted.leeway_seconds)
    return _principal(token, accepted.tenant_id, client_claim)


def check_scope(principal: Principal) -> None:
    """Check that the token of a user has the delegated permission; applications need none.

    Raises TokenRefused.
    """
    if principal.is_user and _SCOPE not in principal.scopes:
        raise TokenRefused(f"the token lacks the scope {_SCOPE}", check=Check.CALLER)


def list_checks(principal: Principal, issuer: str) -> list[str]:
    """Return what was checked in the token of a caller, for the log."""
    return [
        f"signature by key {principal.key_id}",
        f"issuer {issuer}",
        f"audience {principal.claims['aud']}",
        "lifetime",
    ]


def _check_origin(claims: Mapping[str, Any], accepted: TokenRequirements) -> str:
    issuer = claims.get("iss")
    client_claim = accepted.issuers.get(issuer) if isinstance(issuer, str) else None
    # An assertion, or a token of another version, may have a valid signature, but never has this issuer.
    if client_claim is None:
        raise TokenRefused(
            "the token is from another issuer",
            check=Check.ISSUER,
            expected=" or ".join(accepted.issuers),
            found=_shorten(issuer),
        )
    if claims.get("tid") != accepted.tenant_id:
        raise TokenRefused("the token is from another tenant", check=Check.TENANT)
    audience = claims.get("aud")
    if not isinstance(audience, str) or audience not in accepted.audiences:
        raise TokenRefused(
            "the token is for another resource", check=Check.AUDIENCE, found=_shorten(audience)
        )
    return client_claim


def _check_lifetime(claims: Mapping[str, Any], now: float, leeway: int) -> None:
    expires, begins = _time(claims, "exp"), _time(claims, "nbf")
    # RFC 7519 4.1.4: "on or after which the JWT MUST NOT be accepted".
    if now >= expires + leeway:
        raise TokenRefused("the token has expired", check=Check.EXPIRED, exp=expires)
    if now < begins - leeway:
        raise TokenRefused("the token is not valid yet", check=Check.LIFETIME, nbf=begins)


def _principal(token: jose.UnverifiedToken, tenant_id: str, client_claim: str) -> Principal:
    claims = token.claims
    # An ID token for an API that signs in users has its audience and issuer, but no client.
    app_id, object_id = _id(claims, client_claim), _id(claims, "oid")
    scopes = claims.get("scp", "")
    if not isinstance(scopes, str):
        raise TokenRefused("scp is not a string", check=Check.CALLER)
    is_user = bool(scopes.split())
    # `idtyp` is optional, but must not contradict `scp`.
    if claims.get("idtyp", "user" if is_user else "app") != ("user" if is_user else "app"):
        raise TokenRefused("idtyp and scp contradict each other", check=Check.CALLER)
    name = claims.get("upn") or claims.get("preferred_username")
    return Principal(
        app_id=app_id,
        object_id=object_id,
        tenant_id=tenant_id,
        is_user=is_user,
        name=_shorten(name) if is_user and isinstance(name, str) else None,
        roles=_string_set(claims, "roles"),
        scopes=frozenset(scopes.split()),
        wids=_string_set(claims, "wids"),
        key_id=token.kid or "",
        claims=claims,
    )


def _time(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    # Not isinstance: True is an int to Python.
    if type(value) is not int or not 0 <= value < _MAX_TIME:
        raise TokenRefused(f"{name} is not a time", check=Check.LIFETIME)
    return value


def _id(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_ID_CHARS:
        raise TokenRefused(f"{name} is missing", check=Check.CALLER)
    return value


def _string_set(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    values = claims.get(name, [])
    # A string is a sequence of strings: "Admin" would give the roles A, d, m, i, n.
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TokenRefused(f"{name} is not a list of strings", check=Check.CALLER)
    return frozenset(values)


def _shorten(value: object) -> str:
    """Return a claim for an error message: only a string, short, on one line."""
    if not isinstance(value, str):
        return f"({type(value).__name__})"
    return "".join(char if char.isprintable() else "?" for char in value[:200])
