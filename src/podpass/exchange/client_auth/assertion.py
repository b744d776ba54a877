"""A client assertion's text in; what it claims out, readable and unproved. Pure.

Shape, then header, then claims, each with the number Entra gives for it; no key has been asked for yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from podpass.crypto.jose import MalformedToken, UnverifiedToken, b64decode
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.token_request import TokenRequest

_TYPES = ("JWT", "HTTP://OPENID.NET/SPECS/JWT/1.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedAssertion:
    """A readable assertion of which nothing has been proved.

    Units:   seconds since the epoch; a missing `iat` counts as 0, a missing `nbf` as None.
    """

    issuer: str
    subject: str
    audiences: tuple[str, ...]
    expires: float
    issued: float
    not_before: float | None
    key_id: str
    token: UnverifiedToken = field(repr=False)


class Claim(NamedTuple):
    """What an assertion is trusted for, if it is; nothing of it is proved, and none of it need be so."""

    issuer: str
    subject: str
    audiences: Sequence[str]


def claim_of(token: UnverifiedToken) -> Claim | None:
    """Give what an assertion claims, if it has the shape of one that may be trusted."""
    claims = token.claims
    try:
        return Claim(_words(claims, "iss"), _words(claims, "sub"), _audiences(claims))
    except Refused:
        return None


def parse_assertion(request: TokenRequest) -> UnverifiedToken:
    """Split and read a request's client assertion.

    Errors:  Refused 50027.
    """
    try:
        return request.assertion
    except MalformedToken as exc:
        raise Refused(50027, reason=exc.message) from exc


def read_claims(token: UnverifiedToken, algorithms: Sequence[str]) -> UnverifiedAssertion:
    """Read a parsed assertion: header, then claims.

    Errors:  Refused 5002727, 5002738, 5002723, 90014, in this order.
    """
    typ = token.header.get("typ", "JWT")
    if not isinstance(typ, str) or typ.upper() not in _TYPES:
        raise Refused(5002727)
    if token.alg not in algorithms:
        raise Refused(5002738, alg=token.header.get("alg", ""), supported=",".join(algorithms))
    header = token.header
    key_id = header.get("kid") or header.get("x5t") or header.get("x5t#S256")
    if not isinstance(key_id, str):
        raise Refused(5002723)
    return UnverifiedAssertion(
        issuer=_words(token.claims, "iss"),
        subject=_words(token.claims, "sub"),
        audiences=_audiences(token.claims),
        expires=_required_time(token.claims, "exp"),
        issued=_time(token.claims.get("iat")) or 0,
        not_before=_required_time(token.claims, "nbf") if "nbf" in token.claims else None,
        key_id=key_id,
        token=token,
    )


def key_hex(key_id: str) -> str:
    """Write a key id as Entra does: upper-case hex of its bytes; as it is when it is no base64url."""
    try:
        return b64decode(key_id).hex().upper()
    except MalformedToken:
        return key_id


def _words(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    # A list that holds the right issuer is not the right issuer.
    if not isinstance(value, str) or not value:
        raise Refused(90014, claim=name)
    return value


def _audiences(claims: Mapping[str, Any]) -> tuple[str, ...]:
    value = claims.get("aud")
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list) or not several:
        raise Refused(90014, claim="aud")
    if not all(isinstance(each, str) and each for each in several):
        raise Refused(90014, claim="aud")
    return tuple(several)


def _time(value: object) -> float | None:
    # JSON true is a Python int.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value


def _required_time(claims: Mapping[str, Any], name: str) -> float:
    value = _time(claims.get(name))
    if value is None:
        raise Refused(90014, claim=name)
    return value
