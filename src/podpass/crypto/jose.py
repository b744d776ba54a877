"""Compact JWS and JWK on `cryptography`: RS256/384/512 and ES256/384, nothing else.

What enters is untrusted. Length is capped before anything is split; five-part, JSON-form, `crit`-bearing
and duplicate-member tokens are refused; keys named inside a header (`jwk`, `jku`, `x5u`, `x5c`) are never
looked at. Source: RFC 7515, 7517, 7518, 8725.
"""

import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, cast

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from podpass.errors import Error

MAX_TOKEN_BYTES = 16 * 1024
MAX_HEADER_BYTES = 4 * 1024
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
MAX_EXPONENT_BITS = 64
MAX_KEYS = 100  # as many as Entra stores of one issuer
# The path of an issuer's discovery document, after its own URL: OpenID Connect Discovery 1.0 section 4.
DISCOVERY_PATH = "/.well-known/openid-configuration"

_RSA_HASHES: dict[str, hashes.HashAlgorithm] = {
    "RS256": hashes.SHA256(),
    "RS384": hashes.SHA384(),
    "RS512": hashes.SHA512(),
}
_EC: dict[str, tuple[str, ec.EllipticCurve, hashes.HashAlgorithm, int]] = {
    "ES256": ("P-256", ec.SECP256R1(), hashes.SHA256(), 32),
    "ES384": ("P-384", ec.SECP384R1(), hashes.SHA384(), 48),
}
_PKCS1 = padding.PKCS1v15()
_TO_URL = bytes.maketrans(b"+/", b"-_")
# What is no sign of base64url becomes none of base64.
_FROM_URL = bytes.maketrans(b"-_+/=", b"+/!!!")
# By the bytes of an unfinished group: the signs that it may end with, whose unused bits are zero.
_LAST = {1: "AQgw", 2: "AEIMQUYcgkosw048"}


class MalformedToken(Error):
    """The text is not a compact JWS that we read."""

    code = "malformed_token"
    status = 400


class BadSignature(Error):
    """The signature does not fit key and text."""

    code = "bad_signature"
    status = 401


class BadKey(Error):
    """A JWK is of a kind or size that is not accepted."""

    code = "bad_key"
    status = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedToken:
    """A parsed token of which nothing has been proved yet.

    Shapes:  `header` and `claims` are JSON objects with unique members.
    """

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def alg(self) -> str:
        alg = self.header.get("alg")
        return alg if isinstance(alg, str) else ""

    @property
    def kid(self) -> str | None:
        kid = self.header.get("kid")
        return kid if isinstance(kid, str) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A key a token can be checked with; `algs` are those that fit its type."""

    kid: str | None
    algs: frozenset[str]
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """An RSA key that signs RS256, under the `kid` it is published with."""

    kid: str
    key: rsa.RSAPrivateKey = field(repr=False)

    def sign(self, claims: Mapping[str, Any], header: Mapping[str, Any] | None = None) -> str:
        """Sign claims as a compact JWS with `alg`, `kid` and what `header` adds."""
        text = self.text(claims, header)
        return attach(text, self.signature(text))

    def text(self, claims: Mapping[str, Any], header: Mapping[str, Any] | None = None) -> str:
        """Write what is to be signed: a compact JWS but for its last part."""
        head = {"alg": "RS256", "kid": self.kid, **(header or {})}
        return f"{b64encode(dumps(head))}.{b64encode(dumps(claims))}"

    def signature(self, text: str) -> bytes:
        """Sign such a text."""
        return self.key.sign(text.encode(), _PKCS1, _RSA_HASHES["RS256"])


def attach(text: str, signature: bytes) -> str:
    """Make a compact JWS of a text and its signature."""
    return f"{text}.{b64encode(signature)}"


def dumps(value: object) -> bytes:
    """Write JSON without spaces, as it stands in tokens."""
    return orjson.dumps(value)


def b64encode(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL, b"=").decode()


def b64decode(text: str) -> bytes:
    """Decode base64url without padding; refuse any text that does not encode back to itself."""
    try:
        raw = text.encode("ascii").translate(_FROM_URL)
        data = binascii.a2b_base64(raw + b"=" * (-len(raw) % 4), strict_mode=True)
    except ValueError as exc:
        raise MalformedToken("not base64url") from exc
    # Bits left over at the end would give one token many spellings; only the last sign can have them.
    if (rest := len(data) % 3) and text[-1] not in _LAST[rest]:
        raise MalformedToken("not canonical base64url")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedToken("a JSON member stands twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def loads_object(data: bytes) -> dict[str, Any]:
    """Read a JSON object with unique members, UTF-8, no NaN or Infinity."""
    try:
        # The first reader is strict on UTF-8, surrogates, NaN and 1e400, the second on unique members;
        # it also keeps long integers exact. What the first writes back as it stands needs no second
        # reader: a written object has no member twice, and no number that was not exact.
        value = orjson.loads(data)
        if orjson.dumps(value) != data:
            value = _DECODER.decode(data.decode())
    except MalformedToken:
        raise
    except (ValueError, TypeError, RecursionError) as exc:  # TypeError: too deep to be written back
        raise MalformedToken("not a JSON object") from exc
    if not isinstance(value, dict):
        raise MalformedToken("not a JSON object")
    return value


@lru_cache(maxsize=256)  # the tokens of one key share theirs
def _header(text: str) -> Mapping[str, Any]:
    return MappingProxyType(loads_object(b64decode(text)))


def parse(token: str) -> UnverifiedToken:
    """Split and read a compact JWS without trusting any of it.

    Errors:  MalformedToken, with the part that is wrong; never the token.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise MalformedToken(f"longer than {MAX_TOKEN_BYTES} bytes")
    head, _, rest = token.partition(".")
    body, dot, tail = rest.partition(".")
    if not dot or "." in tail:
        raise MalformedToken("not three parts")
    if len(head) > MAX_HEADER_BYTES:
        raise MalformedToken(f"header longer than {MAX_HEADER_BYTES} bytes")
    if not token.isascii():
        raise MalformedToken("not base64url")
    header = _header(head)
    # RFC 7515 4.1.11: an extension that is not understood makes the token invalid; we know none.
    if "crit" in header or "b64" in header:
        raise MalformedToken("a critical header extension is not understood")
    return UnverifiedToken(
        header=header,
        claims=loads_object(b64decode(body)),
        signed=f"{head}.{body}".encode(),
        signature=b64decode(tail),
    )


def verify(token: UnverifiedToken, key: PublicKey) -> None:
    """Check the signature with a key whose type fits the token's algorithm.

    Errors:  BadSignature.
    """
    alg = token.alg
    # Algorithm and key type must fit, or a public key could serve as an HMAC secret.
    if alg not in key.algs:
        raise BadSignature("the key does not fit the algorithm", alg=alg)
    try:
        # What `algs` names fits the key's type, which is slow to ask of an abstract class.
        if (digest := _RSA_HASHES.get(alg)) is not None:
            cast("rsa.RSAPublicKey", key.key).verify(token.signature, token.signed, _PKCS1, digest)
        else:
            _verify_ec(cast("ec.EllipticCurvePublicKey", key.key), token, alg)
    except (InvalidSignature, ValueError) as exc:
        raise BadSignature("the signature does not fit") from exc


def _verify_ec(key: ec.EllipticCurvePublicKey, token: UnverifiedToken, alg: str) -> None:
    _, _, digest, size = _EC[alg]
    if len(token.signature) != 2 * size:
        raise BadSignature("the signature has a wrong length")
    r = int.from_bytes(token.signature[:size])
    s = int.from_bytes(token.signature[size:])
    key.verify(encode_dss_signature(r, s), token.signed, ec.ECDSA(digest))


def kid_of(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    """Name a key as kube-apiserver does: base64url of SHA-256 over its DER SubjectPublicKeyInfo."""
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return b64encode(hashlib.sha256(der).digest())


def rsa_jwk(key: rsa.RSAPublicKey, kid: str, **more: object) -> dict[str, object]:
    """Write a public RSA key as a JWK for signatures."""
    numbers = key.public_numbers()
    return {
        "use": "sig",
        "kty": "RSA",
        "kid": kid,
        "alg": "RS256",
        "n": b64encode(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8)),
        "e": b64encode(numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8)),
        **more,
    }


def load_jwks(document: Mapping[str, Any]) -> Sequence[PublicKey]:
    """Read the signing keys of a JWKS; keys of other kinds, uses or sizes are left out.

    Errors:  BadKey when the document is not a JWKS at all.
    """
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise BadKey("the document has no list of keys")
    found = []
    for entry in entries[:MAX_KEYS]:
        if isinstance(entry, dict):
            try:
                found.append(load_jwk(entry))
            except (BadKey, MalformedToken):
                continue
    return found


def load_jwk(jwk: Mapping[str, Any]) -> PublicKey:
    """Read one public key.

    Errors:  BadKey when it is not for signatures, of another type, too small, too large or off its curve.
    """
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list):
        raise BadKey("the key is not for signatures")
    if "verify" not in operations:
        raise BadKey("the key is not for checking signatures")
    kid = jwk.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise BadKey("kid is not text")
    match jwk.get("kty"):
        case "RSA":
            key, algs = _load_rsa(jwk), frozenset(_RSA_HASHES)
        case "EC":
            return _load_ec(jwk, kid)
        case other:
            raise BadKey("the key type is not accepted", kty=str(other))
    return PublicKey(kid=kid, algs=_narrow(algs, jwk), key=key)


def _narrow(algs: frozenset[str], jwk: Mapping[str, Any]) -> frozenset[str]:
    named = jwk.get("alg")
    if named is None:
        return algs
    if not isinstance(named, str) or named not in algs:
        raise BadKey("alg does not fit the key type", alg=str(named))
    return frozenset({named})


def _number(jwk: Mapping[str, Any], name: str, max_bytes: int) -> int:
    text = jwk.get(name)
    if not isinstance(text, str) or len(text) > max_bytes * 2:
        raise BadKey(f"{name} is missing or too long")
    return int.from_bytes(b64decode(text))


def _load_rsa(jwk: Mapping[str, Any]) -> rsa.RSAPublicKey:
    n, e = _number(jwk, "n", MAX_RSA_BITS // 8 + 1), _number(jwk, "e", 8)
    # The upper bound keeps a hostile issuer from making each check cost milliseconds.
    if not MIN_RSA_BITS <= n.bit_length() <= MAX_RSA_BITS:
        raise BadKey("the RSA modulus is too small or too large", bits=n.bit_length())
    if n % 2 == 0:
        raise BadKey("the RSA modulus is even")
    if e < 3 or e % 2 == 0 or e.bit_length() > MAX_EXPONENT_BITS:
        raise BadKey("the RSA exponent is not accepted")
    try:
        return rsa.RSAPublicNumbers(e, n).public_key()
    except ValueError as exc:
        raise BadKey("not an RSA key") from exc


def _load_ec(jwk: Mapping[str, Any], kid: str | None) -> PublicKey:
    for alg, (name, curve, _, size) in _EC.items():
        if jwk.get("crv") == name:
            x, y = _number(jwk, "x", size), _number(jwk, "y", size)
            try:
                key = ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
            except ValueError as exc:
                raise BadKey("the point is not on its curve") from exc
            return PublicKey(kid=kid, algs=_narrow(frozenset({alg}), jwk), key=key)
    raise BadKey("the curve is not accepted", crv=str(jwk.get("crv")))


def generate_rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def load_private_pem(pem: bytes) -> rsa.RSAPrivateKey:
    """Read an RSA private key.

    Errors:  BadKey when it is something else.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as exc:
        raise BadKey("not a PEM private key") from exc
    if not isinstance(key, rsa.RSAPrivateKey):
        raise BadKey("not an RSA private key")
    return key
