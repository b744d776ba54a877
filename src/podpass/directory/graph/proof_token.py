"""Verify the proof token with which an application rolls its own certificates. Pure.

The token is signed with the private key of a certificate that the application already has.

Source: https://learn.microsoft.com/graph/application-rollkey-prooftoken
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from podpass.crypto import jose
from podpass.directory.graph.errors import InvalidRequest
from podpass.directory.model import KeyCredential

AUDIENCE = "00000002-0000-0000-c000-000000000000"
LIFETIME = 600
_LEEWAY = 300
_ALGS = frozenset({"RS256", "RS384", "RS512"})


def verify(
    proof: object, keys: Iterable[KeyCredential], issuers: Collection[str], now: float
) -> KeyCredential:
    """Return the certificate whose key signed the proof token; the token must be valid now.

    `issuers` are the ids of the application or service principal, in lower case. Raises InvalidRequest.
    """
    if not isinstance(proof, str):
        raise InvalidRequest(
            "'proof' is missing: it is a token signed with the key of an existing certificate."
        )
    try:
        token = jose.parse(proof)
    except jose.MalformedToken as exc:
        raise _invalid_proof("it is not a signed token") from exc
    signer = next((key for key in keys if _is_valid(key, now) and _is_signed_by(token, key)), None)
    if signer is None:
        raise _invalid_proof("no valid certificate of the object signed it")
    claims = token.claims
    if claims.get("aud") != AUDIENCE:
        raise _invalid_proof(f"its audience must be {AUDIENCE}")
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or issuer.lower() not in issuers:
        raise _invalid_proof("its issuer must be the id of the object")
    begin, end = _time_claim(claims, "nbf"), _time_claim(claims, "exp")
    # A proof token is for one change. A long-lived one would be a credential that cannot be revoked.
    if not begin - _LEEWAY <= now < end or end - begin > LIFETIME + _LEEWAY:
        raise _invalid_proof(f"it is not valid now, or its lifetime is over {LIFETIME} seconds")
    return signer


def _time_claim(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    if type(value) is not int:
        raise _invalid_proof(f"it must have the claim {name}, in seconds")
    return value


def _is_valid(key: KeyCredential, now: float) -> bool:
    return key.begins <= now < key.expires


def _is_signed_by(token: jose.UnverifiedToken, one: KeyCredential) -> bool:
    key = x509.load_der_x509_certificate(one.certificate).public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        return False
    try:
        jose.verify(token, jose.PublicKey(kid=None, algs=_ALGS, key=key))
    except jose.BadSignature:
        return False
    return True


def _invalid_proof(why: str) -> InvalidRequest:
    return InvalidRequest(
        f"The proof token is not accepted: {why}.", wire_code="Authentication_MissingOrMalformed"
    )
