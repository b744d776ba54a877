"""Compact JWS and JWK on top of `cryptography`: RS256/384/512 and ES256/384 only.

All input is untrusted. The length is checked before a token is split; tokens with five parts, in JSON form,
with `crit`, or with duplicate members are refused; keys named in a header (`jwk`, `jku`, `x5u`, `x5c`) are
ignored.

Source: RFC 7515, 7517, 7518, 8725.
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
# With the larger bounds of 8192 and 64 bits, one verification takes 0.8 ms; with these it takes 0.1 ms.
MAX_RSA_BITS = 4096
MAX_EXPONENT_BITS = 32
MAX_KEYS = 100  # as many as Entra stores for one issuer
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
# Characters that are not base64url become characters that are not base64.
_FROM_URL = bytes.maketrans(b"-_+/=", b"+/!!!")
# By the number of bytes in an incomplete last group: the last characters whose unused bits are zero.
_LAST = {1: "AQgw", 2: "AEIMQUYcgkosw048"}


class MalformedToken(Error):
    """The text is not a valid compact JWS."""

    code = "malformed_token"
    status = 400


class BadSignature(Error):
    """The signature is not valid for this text and this key."""

    code = "bad_signature"
    status = 401


class BadKey(Error):
    """A key has a type or size that is not accepted."""

    code = "bad_key"
    status = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedToken:
    """A parsed token whose signature and claims are not verified yet.

    `header` and `claims` are JSON objects with unique members.
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
    """A key that verifies tokens; `algs` are the algorithms that it may be used with."""

    kid: str | None
    algs: frozenset[str]
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """An RSA key that signs with RS256, and the `kid` that it is published with."""

    kid: str
    key: rsa.RSAPrivateKey = field(repr=False)

    def sign(self, claims: Mapping[str, Any], header: Mapping[str, Any] | None = None) -> str:
        """Sign claims as a compact JWS; `header` adds members to `alg` and `kid`."""
        text = self.signing_input(claims, header)
        return attach_signature(text, self.signature(text))

    def signing_input(
        self, claims: Mapping[str, Any], header: Mapping[str, Any] | None = None
    ) -> str:
        """Return the JWS signing input (RFC 7515): the encoded header and the encoded claims."""
        head = {"alg": "RS256", "kid": self.kid, **(header or {})}
        return f"{b64encode(dumps(head))}.{b64encode(dumps(claims))}"

    def signature(self, text: str) -> bytes:
        """Sign a JWS signing input."""
        return self.key.sign(text.encode(), _PKCS1, _RSA_HASHES["RS256"])


def attach_signature(text: str, signature: bytes) -> str:
    """Append the signature to a JWS signing input, which makes a compact JWS."""
    return f"{text}.{b64encode(signature)}"


def dumps(value: object) -> bytes:
    """Serialize JSON without spaces, as in tokens."""
    return orjson.dumps(value)


def b64encode(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL, b"=").decode()


def b64decode(text: str) -> bytes:
    """Decode base64url without padding; refuse a text that is not the canonical encoding of its bytes."""
    try:
        raw = text.encode("ascii").translate(_FROM_URL)
        data = binascii.a2b_base64(raw + b"=" * (-len(raw) % 4), strict_mode=True)
    except ValueError as exc:
        raise MalformedToken("not base64url") from exc
    # Unused bits at the end would give one token many encodings; only the last character has such bits.
    if (rest := len(data) % 3) and text[-1] not in _LAST[rest]:
        raise MalformedToken("not canonical base64url")
    return data


def _remove_padding(text: str) -> str:
    """Remove the padding of base64url; refuse a text with less or more than its length requires."""
    bare = text.rstrip("=")
    if text != bare + "=" * (-len(bare) % 4):
        raise MalformedToken("not padded base64url")
    return bare


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedToken("a JSON member occurs twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_members)


def loads_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object: UTF-8, unique members, no NaN or Infinity."""
    try:
        # orjson is strict on UTF-8, surrogates, NaN and 1e400; the second parser is strict on unique members
        # and keeps long integers exact. A text that orjson serializes unchanged needs no second parser: the
        # output of orjson has no duplicate members and no inexact numbers.
        value = orjson.loads(data)
        if orjson.dumps(value) != data:
            value = _DECODER.decode(data.decode())
    except MalformedToken:
        raise
    except (ValueError, TypeError, RecursionError) as exc:  # TypeError: too deep for orjson.dumps
        raise MalformedToken("not a JSON object") from exc
    if not isinstance(value, dict):
        raise MalformedToken("not a JSON object")
    return value


@lru_cache(maxsize=256)  # all tokens of one key have the same header
def _parse_header(text: str) -> Mapping[str, Any]:
    return MappingProxyType(loads_object(b64decode(text)))


def parse(token: str, *, padded: bool = False) -> UnverifiedToken:
    """Parse a compact JWS without verifying it.

    With `padded`, each part has the padding of base64, which RFC 7515 omits. Raises MalformedToken, which
    names the part that is not valid and never contains the token.
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
    signed = f"{head}.{body}".encode()
    if padded:
        head, body, tail = map(_remove_padding, (head, body, tail))
    header = _parse_header(head)
    # RFC 7515 4.1.11: an unsupported critical extension makes the token invalid; none is supported here.
    if "crit" in header or "b64" in header:
        raise MalformedToken("a critical header extension is not supported")
    return UnverifiedToken(
        header=header,
        claims=loads_object(b64decode(body)),
        signed=signed,
        signature=b64decode(tail),
    )


def verify(token: UnverifiedToken, key: PublicKey) -> None:
    """Verify the signature with a key that may be used with the token's algorithm. Raises BadSignature."""
    alg = token.alg
    # Without this check a public key could be used as an HMAC secret.
    if alg not in key.algs:
        raise BadSignature("the key must not be used with the algorithm", alg=alg)
    try:
        # `algs` implies the key's type; isinstance of an abstract class is slow.
        if (digest := _RSA_HASHES.get(alg)) is not None:
            cast("rsa.RSAPublicKey", key.key).verify(token.signature, token.signed, _PKCS1, digest)
        else:
            _verify_ec(cast("ec.EllipticCurvePublicKey", key.key), token, alg)
    except (InvalidSignature, ValueError) as exc:
        raise BadSignature("the signature is not valid") from exc


def _verify_ec(key: ec.EllipticCurvePublicKey, token: UnverifiedToken, alg: str) -> None:
    _, _, digest, size = _EC[alg]
    if len(token.signature) != 2 * size:
        raise BadSignature("the signature has the wrong length")
    r = int.from_bytes(token.signature[:size])
    s = int.from_bytes(token.signature[size:])
    key.verify(encode_dss_signature(r, s), token.signed, ec.ECDSA(digest))


def public_key_id(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    """Return the key ID that kube-apiserver uses: base64url of SHA-256 over the DER SubjectPublicKeyInfo."""
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return b64encode(hashlib.sha256(der).digest())


def rsa_jwk(key: rsa.RSAPublicKey, kid: str, **more: object) -> dict[str, object]:
    """Return a public RSA key as a JWK for signatures."""
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
    """Load the signing keys of a JWKS; skip keys of other types, uses or sizes.

    Raises BadKey if the document is not a JWKS.
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
    """Load one public key.

    Raises BadKey if it is not for signatures, of another type, too small, too large or not on its curve.
    """
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list):
        raise BadKey("the key is not for signatures")
    if "verify" not in operations:
        raise BadKey("the key is not for verifying signatures")
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
    return PublicKey(kid=kid, algs=_restrict_algorithms(algs, jwk), key=key)


def _restrict_algorithms(algs: frozenset[str], jwk: Mapping[str, Any]) -> frozenset[str]:
    named = jwk.get("alg")
    if named is None:
        return algs
    if not isinstance(named, str) or named not in algs:
        raise BadKey("alg is not an algorithm of the key type", alg=str(named))
    return frozenset({named})


def _decode_integer(jwk: Mapping[str, Any], name: str, max_bytes: int) -> int:
    text = jwk.get(name)
    if not isinstance(text, str) or len(text) > max_bytes * 2:
        raise BadKey(f"{name} is missing or too long")
    return int.from_bytes(b64decode(text))


def _load_rsa(jwk: Mapping[str, Any]) -> rsa.RSAPublicKey:
    n, e = _decode_integer(jwk, "n", MAX_RSA_BITS // 8 + 1), _decode_integer(jwk, "e", 8)
    check_rsa_numbers(n, e)
    try:
        return rsa.RSAPublicNumbers(e, n).public_key()
    except ValueError as exc:
        raise BadKey("not an RSA key") from exc


def check_rsa_numbers(n: int, e: int) -> None:
    """Check the modulus and the exponent of a public RSA key that a caller or an issuer chose.

    Raises BadKey.
    """
    # Without the upper bounds, a hostile issuer could make each verification take milliseconds.
    if not MIN_RSA_BITS <= n.bit_length() <= MAX_RSA_BITS:
        raise BadKey(f"the RSA modulus must have {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
    if n % 2 == 0:
        raise BadKey("the RSA modulus is even")
    if e < 3 or e % 2 == 0 or e.bit_length() > MAX_EXPONENT_BITS:
        raise BadKey(f"the RSA exponent must be odd, from 3 to {MAX_EXPONENT_BITS} bits")


def _load_ec(jwk: Mapping[str, Any], kid: str | None) -> PublicKey:
    for alg, (name, curve, _, size) in _EC.items():
        if jwk.get("crv") == name:
            x, y = _decode_integer(jwk, "x", size), _decode_integer(jwk, "y", size)
            try:
                key = ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
            except ValueError as exc:
                raise BadKey("the point is not on its curve") from exc
            return PublicKey(kid=kid, algs=_restrict_algorithms(frozenset({alg}), jwk), key=key)
    raise BadKey("the curve is not accepted", crv=str(jwk.get("crv")))


def generate_rsa(bits: int = MIN_RSA_BITS) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def private_key_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_private_pem(pem: bytes) -> rsa.RSAPrivateKey:
    """Load an RSA private key. Raises BadKey for any other text."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as exc:
        raise BadKey("not a PEM private key") from exc
    if not isinstance(key, rsa.RSAPrivateKey):
        raise BadKey("not an RSA private key")
    return key
