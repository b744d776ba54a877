"""Parses a client assertion: its form, its header, its claims. It verifies nothing. Pure.

Each check fails with the AADSTS number that Entra uses for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from podpass.crypto.jose import MalformedToken, UnverifiedToken, b64decode
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.token_request import TokenRequest

_TYPES = ("JWT", "HTTP://OPENID.NET/SPECS/JWT/1.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedAssertion:
    """The claims of an assertion, which are not verified yet.

    Units: seconds since the epoch; a missing `iat` is 0, a missing `nbf` is None.
    """

    issuer: str
    subject: str
    audiences: tuple[str, ...]
    expires: float
    issued: float
    not_before: float | None
    key_id: str
    token: UnverifiedToken = field(repr=False)


class UnverifiedClaim(NamedTuple):
    """The claims that select a federated credential; they are not verified, and may be forged."""

    issuer: str
    subject: str
    audiences: Sequence[str]


def peek_claim(token: UnverifiedToken) -> UnverifiedClaim | None:
    """Return the claims that select a federated credential; None if one is missing or has a wrong type."""
    claims = token.claims
    try:
        return UnverifiedClaim(
            _read_text(claims, "iss"), _read_text(claims, "sub"), _read_audiences(claims)
        )
    except AadstsError:
        return None


def parse_assertion(request: TokenRequest) -> UnverifiedToken:
    """Parse the client assertion of a request. Raises AadstsError 50027."""
    try:
        return request.assertion
    except MalformedToken as exc:
        raise AadstsError(numbers.MALFORMED_ASSERTION, reason=exc.message) from exc


def read_claims(token: UnverifiedToken, algorithms: Sequence[str]) -> UnverifiedAssertion:
    """Check the header of a parsed assertion, and read its claims.

    Raises AadstsError 5002727, 5002738, 5002723, 90014, in this order.
    """
    typ = token.header.get("typ", "JWT")
    if not isinstance(typ, str) or typ.upper() not in _TYPES:
        raise AadstsError(numbers.WRONG_TOKEN_TYPE)
    if token.alg not in algorithms:
        raise AadstsError(
            numbers.UNSUPPORTED_ALGORITHM,
            alg=token.header.get("alg", ""),
            supported=",".join(algorithms),
        )
    header = token.header
    key_id = header.get("kid") or header.get("x5t") or header.get("x5t#S256")
    if not isinstance(key_id, str):
        raise AadstsError(numbers.NO_KEY_ID)
    return UnverifiedAssertion(
        issuer=_read_text(token.claims, "iss"),
        subject=_read_text(token.claims, "sub"),
        audiences=_read_audiences(token.claims),
        expires=_read_required_time(token.claims, "exp"),
        issued=_read_time(token.claims.get("iat")) or 0,
        not_before=_read_required_time(token.claims, "nbf") if "nbf" in token.claims else None,
        key_id=key_id,
        token=token,
    )


def read_pod(token: UnverifiedToken) -> str:
    """Return the name of the pod that a token of Kubernetes is bound to; empty if it is bound to none."""
    cluster = token.claims.get("kubernetes.io")
    pod = cluster.get("pod") if isinstance(cluster, Mapping) else None
    name = pod.get("name") if isinstance(pod, Mapping) else None
    return name if isinstance(name, str) else ""


def key_hex(key_id: str) -> str:
    """Format a key ID like Entra: upper-case hex of its bytes; unchanged if it is not base64url."""
    try:
        return b64decode(key_id).hex().upper()
    except MalformedToken:
        return key_id


def _read_text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    # A list that contains the issuer does not count as the issuer.
    if not isinstance(value, str) or not value:
        raise AadstsError(numbers.MISSING_CLAIM, claim=name)
    return value


def _read_audiences(claims: Mapping[str, Any]) -> tuple[str, ...]:
    value = claims.get("aud")
    audiences = [value] if isinstance(value, str) else value
    if not isinstance(audiences, list) or not audiences:
        raise AadstsError(numbers.MISSING_CLAIM, claim="aud")
    if not all(isinstance(each, str) and each for each in audiences):
        raise AadstsError(numbers.MISSING_CLAIM, claim="aud")
    return tuple(audiences)


def _read_time(value: object) -> float | None:
    # JSON true is a Python int.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value


def _read_required_time(claims: Mapping[str, Any], name: str) -> float:
    value = _read_time(claims.get(name))
    if value is None:
        raise AadstsError(numbers.MISSING_CLAIM, claim=name)
    return value
