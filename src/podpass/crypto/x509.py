"""Build X.509 certificates. Importing this module costs 9 MB; processes that only verify tokens avoid it."""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Extension = tuple[x509.ExtensionType, bool]
"""An extension, and whether it is critical."""


def build_certificate(
    *,
    subject: x509.Name,
    key: PrivateKey,
    validity: tuple[datetime, datetime],
    extensions: Sequence[Extension] = (),
    issuer: x509.Name | None = None,
    signing_key: PrivateKey | None = None,
) -> x509.Certificate:
    """Return a certificate for `key`, signed with SHA-256; without an issuer it is self-signed."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signing_key or key, hashes.SHA256())


def build_name(common_name: str, organization: str | None = None) -> x509.Name:
    """Return a distinguished name: the organization, if given, then the common name."""
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def subject_key_id(key: PrivateKey) -> Extension:
    """Return the extension that identifies the key of a certificate."""
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False


def basic_constraints(*, ca: bool, path_length: int = 0) -> Extension:
    """Return the extension that marks a CA or a leaf certificate.

    `path_length` is the number of CAs below the CA; by default it may sign leaf certificates only.
    """
    return x509.BasicConstraints(ca=ca, path_length=path_length if ca else None), True


def key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> Extension:
    """Return the extension with the permitted usages of a key."""
    usage = x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
    return usage, True


def encode_pem(certificate: x509.Certificate) -> bytes:
    """Encode a certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM)


def encode_key(key: PrivateKey) -> bytes:
    """Encode a private key as PEM, without encryption.

    The label names the key's type: Fabric8's Java client reads any key in PKCS #8 as RSA. .NET reads both.
    """
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def subject_hash(certificate: x509.Certificate) -> int:
    """Compute the file name with which OpenSSL finds a certificate in a folder.

    Source:  OpenSSL x509_name_canon: each set of attributes in DER order, text as UTF8String, lower case,
             spaces folded, without the outer SEQUENCE; the first four bytes of its SHA-1, little-endian.
    """
    canonical = b""
    for rdn in certificate.subject.rdns:
        attributes = sorted(_encode_attribute(attribute) for attribute in rdn)
        canonical += encode_der(0x31, b"".join(attributes))
    digest = hashlib.sha1(canonical, usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "little")


def _encode_attribute(attribute: x509.NameAttribute[str | bytes]) -> bytes:
    oid = encode_der(0x06, _encode_oid(attribute.oid.dotted_string))
    value = attribute.value
    if isinstance(value, bytes):  # a bit string, which OpenSSL leaves as it is
        return encode_der(0x30, oid + encode_der(0x03, b"\x00" + value))
    folded = " ".join(_SPACES.split(value.translate(_LOWER))).strip(" ")
    return encode_der(0x30, oid + encode_der(0x0C, folded.encode()))


_SPACES = re.compile(r"[ \t-\r]+")
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def _encode_oid(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    encoded = b""
    for part in (first * 40 + second, *rest):
        digits = [part & 0x7F]
        while part := part >> 7:
            digits.insert(0, 0x80 | part & 0x7F)
        encoded += bytes(digits)
    return encoded


def encode_der(tag: int, content: bytes) -> bytes:
    """Encode a value by tag, length and content."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content
