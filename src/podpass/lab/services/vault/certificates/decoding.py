"""Decode an imported certificate: PFX or PEM, with its private key and its chain. Pure.

`decoder` runs this in a process of its own. OpenSSL holds the interpreter's lock while it derives keys from a
password, and an encrypted PFX may contain iteration counts that nothing sees before the decryption.
"""

import base64
import binascii
import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from podpass.crypto.x509 import PrivateKey
from podpass.lab.services.vault.certificates import views
from podpass.lab.services.vault.certificates.policy import PEM, PKCS12
from podpass.lab.services.vault.certificates.views import MALFORMED
from podpass.lab.services.vault.errors import BadParameter
from podpass.lab.services.vault.key_types import KEY_SIZES
from podpass.lab.services.vault.keys.jwk import PublicKey

MAX_VALUE_CHARS = 128 * 1024
MAX_CHAIN = 20
# OpenSSL writes 2048, Windows 2000; 600 000 are recommended for passwords.
MAX_ITERATIONS = 1_000_000
# What `cryptography` raises.
_MALFORMED = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)
_UNREADABLE = (
    "The certificate cannot be decoded: the password is wrong, or the value is neither PFX nor PEM."
)
_PEM_MARK = b"-----BEGIN "
# A PEM may contain the parameters of a curve too.
_MAX_BLOCKS = MAX_CHAIN + 4
# The bytes of a number in an RSA key of 4096 bits, with the byte for the sign.
_MAX_INTEGER = 4096 // 8 + 1
_MAX_DEPTH = 24
_MAX_NODES = 20_000
_SEQUENCE, _INTEGER, _OCTETS = 0x30, 0x02, 0x04
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----\s.*?-----END \1-----", re.DOTALL)
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1, ec.SECP256K1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """An imported certificate: the leaf first, then the chain; `content_type` is that of the value."""

    key: PrivateKey
    certificates: tuple[x509.Certificate, ...]
    content_type: str


def decode(value: str, password: str, *, preserve_order: bool) -> Decoded:
    """Decode a PFX in base64, or a PEM as text or in base64.

    Without `preserve_order`, the chain is sorted from the leaf to the root. Raises BadParameter.
    """
    data = _to_bytes(value)
    content_type = PEM if _PEM_MARK in data else PKCS12
    try:
        key, found = _decode_pem(data) if content_type == PEM else _decode_pfx(data, password)
        usable = _check_key(key)
        leaf = _find_leaf(usable.public_key(), found)
        if leaf is None:
            raise BadParameter("No certificate of the value belongs to the private key.")
        views.lifetime(leaf)  # decode the lifetime now: it can be malformed
        rest = [each for each in found if each is not leaf]
        chain = rest if preserve_order else sort_chain(leaf, rest)
    except MALFORMED as exc:
        raise BadParameter(_UNREADABLE) from exc
    return Decoded(key=usable, certificates=(leaf, *chain), content_type=content_type)


def check_before_work(value: str, password: str) -> None:
    """Check what is visible without the password: sizes, the length of the chain, the iterations of a PFX.

    A value that is certainly no certificate is refused here, before a process starts for it.
    Raises BadParameter.
    """
    if len(value) > MAX_VALUE_CHARS:
        raise BadParameter(f"The value is larger than {MAX_VALUE_CHARS} characters.")
    if "\0" in password:
        # `cryptography` panics for it.
        raise BadParameter("The password must not contain a NUL character.")
    data = _to_bytes(value)
    if _PEM_MARK in data:
        _split_pem(data)
    elif data[:1] != bytes([_SEQUENCE]):
        raise BadParameter(_UNREADABLE)
    else:
        _check_der(data)


def _to_bytes(value: str) -> bytes:
    if _PEM_MARK.decode() in value:
        return value.encode()
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise BadParameter("The value is neither a PEM nor base64.") from exc


def _split_pem(data: bytes) -> tuple[bytes, list[bytes]]:
    """Return the private key and the certificates of a PEM, not decoded. Raises BadParameter."""
    # The pattern searches the end of each block: with very many begin lines, this would take long.
    if data.count(_PEM_MARK) > _MAX_BLOCKS:
        raise BadParameter(f"The PEM has more than {_MAX_BLOCKS} blocks.")
    keys: list[bytes] = []
    certificates: list[bytes] = []
    for block in _BLOCK.finditer(data):
        label = block.group(1)
        if label == b"PRIVATE KEY":
            keys.append(block.group())
        elif label.endswith(b"PRIVATE KEY"):
            raise BadParameter(
                "The private key must be PKCS #8 without a password (BEGIN PRIVATE KEY);"
                " `openssl pkcs8 -topk8 -nodes` converts it."
            )
        elif label == b"CERTIFICATE":
            certificates.append(block.group())
    if len(keys) != 1:
        raise BadParameter("The PEM must have one private key.")
    _check_length(certificates)
    with contextlib.suppress(binascii.Error, ValueError):
        # The decoder refuses what is not base64.
        _check_der(base64.b64decode(b"".join(keys[0].splitlines()[1:-1])))
    return keys[0], certificates


def _decode_pem(data: bytes) -> tuple[object, list[x509.Certificate]]:
    key, certificates = _split_pem(data)
    return (
        serialization.load_pem_private_key(key, None),
        [x509.load_pem_x509_certificate(each) for each in certificates],
    )


def _decode_pfx(data: bytes, password: str) -> tuple[object, list[x509.Certificate]]:
    # A PFX without a password may be encrypted with an empty one, or not at all.
    found = pkcs12.load_pkcs12(data, password.encode())
    first = [] if found.cert is None else [found.cert]
    certificates = [each.certificate for each in (*first, *found.additional_certs)]
    _check_length(certificates)
    return found.key, certificates


def _check_length(certificates: Sequence[object]) -> None:
    if not 1 <= len(certificates) <= MAX_CHAIN:
        raise BadParameter(f"The value must have 1 to {MAX_CHAIN} certificates.")


def _check_key(key: object) -> PrivateKey:
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size in KEY_SIZES:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, _CURVES):
        return key
    if key is None:
        raise BadParameter("The value has no private key.")
    raise BadParameter(
        "The private key must be RSA of 2048, 3072 or 4096 bits, or EC on P-256, P-384, P-521, P-256K."
    )


def _find_leaf(public: PublicKey, found: Sequence[x509.Certificate]) -> x509.Certificate | None:
    """Return the certificate of a public key. Raises the errors of MALFORMED if its names are malformed."""
    for each in found:
        # A chain may have keys of a type that the vault does not know.
        with contextlib.suppress(UnsupportedAlgorithm):
            if each.public_key() == public and each.subject is not None:
                return each
    return None


def sort_chain(
    leaf: x509.Certificate, others: Sequence[x509.Certificate]
) -> list[x509.Certificate]:
    """Return the issuers of a leaf up to the root, then the certificates that issued none of them."""
    left = list(others)
    chain: list[x509.Certificate] = []
    last = leaf
    while (found := next((each for each in left if each.subject == last.issuer), None)) is not None:
        left.remove(found)
        chain.append(found)
        last = found
    return [*chain, *left]


def _check_der(data: bytes) -> None:
    """Check what is visible of a private key or a PFX: the sizes of numbers, the iteration counts.

    An iteration count is the INTEGER after a salt, which is an OCTET STRING. PBKDF2, PBE and the MAC have
    such a SEQUENCE. Raises BadParameter.
    """
    nodes = 0
    todo: list[tuple[bytes, int]] = [(data, 0)]
    while todo:
        content, depth = todo.pop()
        before = 0
        for tag, value in split(content):
            nodes += 1
            if nodes > _MAX_NODES or depth > _MAX_DEPTH:
                raise BadParameter("The value is nested too deeply or has too many parts.")
            if tag == _INTEGER:
                if len(value) > _MAX_INTEGER:
                    raise BadParameter("The private key must have at most 4096 bits.")
                if before == _OCTETS:
                    _check_count(int.from_bytes(value, "big", signed=True))
            # An OCTET STRING of a PFX contains the next structure.
            if tag & 0x20 or (tag == _OCTETS and value[:1] == bytes([_SEQUENCE])):
                todo.append((value, depth + 1))
            before = tag


def _check_count(count: int) -> None:
    if count > MAX_ITERATIONS:
        raise BadParameter(
            f"The PFX has more than {MAX_ITERATIONS} iterations; export it with fewer."
        )


def split(content: bytes) -> list[tuple[int, bytes]]:
    """Split the content of a constructed DER value; what is not DER ends the list."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at + 2 <= len(content):
        tag, size = content[at], content[at + 1]
        at += 2
        if size & 0x80:
            length = size & 0x7F
            if not 1 <= length <= 4:
                break
            size = int.from_bytes(content[at : at + length], "big")
            at += length
        if at + size > len(content):
            break
        found.append((tag, content[at : at + size]))
        at += size
    return found


def decode_merged(given: Sequence[str], public: PublicKey) -> tuple[x509.Certificate, ...]:
    """Decode the certificates of a merge, base64 of DER each, and return the leaf and its sorted chain.

    Raises BadParameter if none of them belongs to the public key of the request.
    """
    _check_length(given)
    try:
        found = [_load_merged(each) for each in given]
        leaf = _find_leaf(public, found)
        if leaf is None:
            raise BadParameter("No certificate in 'x5c' has the public key of the pending request.")
        views.lifetime(leaf)
        return (leaf, *sort_chain(leaf, [each for each in found if each is not leaf]))
    except MALFORMED as exc:
        raise BadParameter("'x5c' must contain certificates as base64-encoded DER.") from exc


def _load_merged(given: str) -> x509.Certificate:
    data = base64.b64decode(given)
    # Azure accepts a certificate that is encoded twice: its SDK for Python encodes the caller's base64 again.
    if data[:1] != bytes([_SEQUENCE]):
        data = base64.b64decode(data)
    return x509.load_der_x509_certificate(data)
