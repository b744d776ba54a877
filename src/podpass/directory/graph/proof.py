"""The proof by which an application rolls its own certificates: a token signed by one it has. Pure.

Source: https://learn.microsoft.com/graph/application-rollkey-prooftoken
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from podpass.crypto import jose
from podpass.directory.graph.refusals import BadRequest
from podpass.directory.model import KeyCredential

AUDIENCE = "00000002-0000-0000-c000-000000000000"
LIFETIME = 600
_LEEWAY = 300
_ALGS = frozenset({"RS256", "RS384", "RS512"})


def check(
    proof: object, keys: Iterable[KeyCredential], issuers: Collection[str], now: float
) -> KeyCredential:
    """Find the certificate whose key signed a proof that is good now.

    Shapes:  `issuers` are the ids of the application, or of the service principal, in lower case.
    Errors:  BadRequest.
    """
    if not isinstance(proof, str):
        raise BadRequest("'proof' is missing: a token signed by a key that is there already.")
    try:
        token = jose.parse(proof)
    except jose.MalformedToken as exc:
        raise _refused("it is no signed token") from exc
    signer = next((key for key in keys if _is_good(key, now) and _signed(token, key)), None)
    if signer is None:
        raise _refused("no certificate of the object that is valid now has signed it")
    claims = token.claims
    if claims.get("aud") != AUDIENCE:
        raise _refused(f"its audience has to be {AUDIENCE}")
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or issuer.lower() not in issuers:
        raise _refused("its issuer has to be the id of the object")
    begin, end = _time(claims, "nbf"), _time(claims, "exp")
    # A proof is for one change: a long one would be a key that cannot be taken back.
    if not begin - _LEEWAY <= now < end or end - begin > LIFETIME + _LEEWAY:
        raise _refused(f"it is not valid now, or for more than {LIFETIME} seconds")
    return signer


def _time(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    if type(value) is not int:
        raise _refused(f"it has to hold {name}, in seconds")
    return value


def _is_good(key: KeyCredential, now: float) -> bool:
    return key.begins <= now < key.expires


def _signed(token: jose.UnverifiedToken, one: KeyCredential) -> bool:
    key = x509.load_der_x509_certificate(one.certificate).public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        return False
    try:
        jose.verify(token, jose.PublicKey(kid=None, algs=_ALGS, key=key))
    except jose.BadSignature:
        return False
    return True


def _refused(why: str) -> BadRequest:
    return BadRequest(
        f"The proof is not accepted: {why}.", wire_code="Authentication_MissingOrMalformed"
    )
