"""The algorithms of keys, one table for signatures and one for encryption. Pure.

Signatures are over a digest that the caller computes; those of EC keys are r and s with a fixed length, and
not DER. Wrapping of keys is encryption.

Source: RFC 7518 sections 3 and 4; RFC 8812; https://learn.microsoft.com/azure/key-vault/keys/about-keys-details
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    NoDigestInfo,
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)

from podpass.crypto.x509 import PrivateKey
from podpass.lab.services.vault.errors import BadParameter
from podpass.lab.services.vault.key_types import EC, RSA, curve_name
from podpass.lab.services.vault.keys.jwk import PublicKey, coordinate_bytes

# PKCS #1 version 1.5 adds at least this many bytes.
_PKCS1_BYTES = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaSignature:
    """A signature with an RSA key; without a hash, the value is signed without a DigestInfo."""

    padding: padding.PKCS1v15 | padding.PSS
    hash: hashes.HashAlgorithm | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EcSignature:
    """A signature with a key on one curve."""

    curve: str
    hash: hashes.HashAlgorithm


def _rsa(digest: hashes.HashAlgorithm, *, pss: bool = False) -> RsaSignature:
    salted = padding.PSS(padding.MGF1(digest), digest.digest_size)
    return RsaSignature(padding=salted if pss else padding.PKCS1v15(), hash=digest)


def _oaep(digest: hashes.HashAlgorithm) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(digest), digest, None)


SIGNATURES: Mapping[str, RsaSignature | EcSignature] = {
    "RS256": _rsa(hashes.SHA256()),
    "RS384": _rsa(hashes.SHA384()),
    "RS512": _rsa(hashes.SHA512()),
    "PS256": _rsa(hashes.SHA256(), pss=True),
    "PS384": _rsa(hashes.SHA384(), pss=True),
    "PS512": _rsa(hashes.SHA512(), pss=True),
    "RSNULL": RsaSignature(padding=padding.PKCS1v15(), hash=None),
    "ES256": EcSignature(curve="P-256", hash=hashes.SHA256()),
    "ES384": EcSignature(curve="P-384", hash=hashes.SHA384()),
    "ES512": EcSignature(curve="P-521", hash=hashes.SHA512()),
    "ES256K": EcSignature(curve="P-256K", hash=hashes.SHA256()),
}
ENCRYPTION: Mapping[str, padding.AsymmetricPadding] = {
    "RSA1_5": padding.PKCS1v15(),
    # SHA-1 is the definition of the algorithm; its use in OAEP is not affected by collisions.
    "RSA-OAEP": _oaep(hashes.SHA1()),  # noqa: S303
    "RSA-OAEP-256": _oaep(hashes.SHA256()),
}


def sign(key: PrivateKey, algorithm: str, digest: bytes) -> bytes:
    """Sign a digest. Raises BadParameter."""
    scheme = _find_scheme(key, algorithm)
    _check_digest(key, scheme, digest)
    if isinstance(scheme, EcSignature):
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(scheme.hash))))
        size = coordinate_bytes(key.curve)
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.sign(digest, scheme.padding, _prehashed(scheme))


def verify(key: PublicKey, algorithm: str, digest: bytes, signature: bytes) -> bool:
    """Return whether a signature is that of a digest. Raises BadParameter."""
    scheme = _find_scheme(key, algorithm)
    _check_digest(key, scheme, digest)
    try:
        if isinstance(scheme, EcSignature):
            assert isinstance(key, ec.EllipticCurvePublicKey)
            size = coordinate_bytes(key.curve)
            if len(signature) != 2 * size:
                return False
            r, s = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
            key.verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(scheme.hash)))
        else:
            assert isinstance(key, rsa.RSAPublicKey)
            # The stubs of `verify` lack NoDigestInfo.
            key.verify(signature, digest, scheme.padding, cast("Prehashed", _prehashed(scheme)))
    except InvalidSignature:
        return False
    return True


def encrypt(key: PublicKey, algorithm: str, value: bytes) -> bytes:
    """Encrypt a value with an RSA key. Raises BadParameter."""
    scheme, public = _find_padding(algorithm), _require_rsa(key, algorithm)
    assert isinstance(public, rsa.RSAPublicKey)
    try:
        return public.encrypt(value, scheme)
    except ValueError as exc:
        raise BadParameter(f"'value' is too long for {algorithm} with this key.") from exc


def decrypt(key: PrivateKey, algorithm: str, value: bytes) -> bytes:
    """Decrypt a value with an RSA key. Raises BadParameter.

    With RSA1_5, a ciphertext with wrong padding decrypts to random bytes: an error would be an oracle for the
    attack of Bleichenbacher.
    """
    scheme, private = _find_padding(algorithm), _require_rsa(key, algorithm)
    assert isinstance(private, rsa.RSAPrivateKey)
    try:
        return private.decrypt(value, scheme)
    except ValueError as exc:
        raise BadParameter("'value' cannot be decrypted with this key and algorithm.") from exc


def _find_padding(algorithm: str) -> padding.AsymmetricPadding:
    if (found := ENCRYPTION.get(algorithm)) is None:
        raise BadParameter(f"'alg' must be one of {', '.join(ENCRYPTION)}.")
    return found


def _find_scheme(key: PrivateKey | PublicKey, algorithm: str) -> RsaSignature | EcSignature:
    if (found := SIGNATURES.get(algorithm)) is None:
        raise BadParameter(f"'alg' must be one of {', '.join(SIGNATURES)}.")
    if isinstance(found, RsaSignature):
        _require_rsa(key, algorithm)
    elif isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        raise _incompatible(f"is of type '{RSA}'", algorithm, f"of type '{EC}'")
    elif (curve := curve_name(key.curve)) != found.curve:
        raise _incompatible(f"uses curve '{curve}'", algorithm, f"on curve '{found.curve}'")
    return found


def _require_rsa(
    key: PrivateKey | PublicKey, algorithm: str
) -> rsa.RSAPrivateKey | rsa.RSAPublicKey:
    if not isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        raise _incompatible(f"is of type '{EC}'", algorithm, f"of type '{RSA}'")
    return key


def _incompatible(found: str, algorithm: str, needed: str) -> BadParameter:
    return BadParameter(
        f"Key and algorithm are incompatible: the key {found}, and '{algorithm}' needs a key {needed}."
    )


def _check_digest(
    key: PrivateKey | PublicKey, scheme: RsaSignature | EcSignature, digest: bytes
) -> None:
    if scheme.hash is None:
        most = key.key_size // 8 - _PKCS1_BYTES
        if not 0 < len(digest) <= most:
            raise BadParameter(f"The value to sign must have 1 to {most} bytes.")
    elif len(digest) != scheme.hash.digest_size:
        raise BadParameter(
            f"The digest must have {scheme.hash.digest_size} bytes, and has {len(digest)}."
        )


def _prehashed(scheme: RsaSignature) -> Prehashed | NoDigestInfo:
    return NoDigestInfo() if scheme.hash is None else Prehashed(scheme.hash)
