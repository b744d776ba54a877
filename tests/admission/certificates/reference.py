"""The behaviour of the reference: the Secret that it writes, and its check of a stored Secret."""

import ssl
import warnings
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.admission.certificates.lab import HOST

CA_NAME = "azure-workload-identity-ca"
LOOK_AHEAD = timedelta(days=90)
_SHA256_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")


def create_secret(
    now: float, *, ca_days: float = 3650, leaf_days: float = 365, host: str = HOST
) -> dict[str, bytes]:
    """Build the four keys of its Secret: RSA in PKCS#1, serial number 0 for the CA, 1 for the leaf."""
    moment = datetime.fromtimestamp(int(now), tz=UTC)
    ca_key, key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "azure-workload-identity"),
            x509.NameAttribute(NameOID.COMMON_NAME, CA_NAME),
        ]
    )
    ca = (
        _builder(subject, subject, ca_key, moment, ca_days)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(CA_NAME)]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    common = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    leaf = (
        _builder(common, subject, key, moment, leaf_days)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return {
        "ca.crt": _pem(_with_serial_zero(ca, ca_key)),
        "ca.key": pkcs1(ca_key),
        "tls.crt": leaf.public_bytes(serialization.Encoding.PEM),
        "tls.key": pkcs1(key),
    }


def find_outdated(data: dict[str, bytes], now: float, host: str = HOST) -> str:
    """Return what the reference would replace: `nothing`, `leaf` or `everything`."""
    at = datetime.fromtimestamp(now, tz=UTC) + LOOK_AHEAD
    ca = _first(data["ca.crt"])
    if not _is_valid(ca, ca, data["ca.crt"], data["ca.key"], CA_NAME, at):
        return "everything"
    # It signs only with the first key, and only in PKCS#1.
    assert data["ca.key"].startswith(b"-----BEGIN RSA PRIVATE KEY-----")
    leaf = _first(data["tls.crt"])
    works = _is_valid(ca, leaf, data["tls.crt"], data["tls.key"], host, at)
    return "nothing" if works else "leaf"


def _is_valid(
    root: x509.Certificate | None,
    certificate: x509.Certificate | None,
    pem: bytes,
    key: bytes,
    host: str,
    at: datetime,
) -> bool:
    if root is None or certificate is None or not pem or not key:
        return False
    private = serialization.load_pem_private_key(key, password=None)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    for each in (root, certificate):
        if not each.not_valid_before_utc <= at <= each.not_valid_after_utc:
            return False
    certificate.verify_directly_issued_by(root)
    return (
        private.public_key() == certificate.public_key()
        and host in names.get_values_for_type(x509.DNSName)
        and root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    )


def _first(pem: bytes) -> x509.Certificate | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the serial number 0
        return x509.load_pem_x509_certificate(pem) if pem else None


def pkcs1(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, now: datetime, days: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    every = ("content_commitment", "data_encipherment", "key_agreement", "crl_sign")
    off = dict.fromkeys((*every, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=True, key_encipherment=True, key_cert_sign=signs, **off)


def _with_serial_zero(certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> bytes:
    """Sign a certificate again with the serial number 0, which no builder accepts; return DER."""
    signed = certificate.tbs_certificate_bytes.replace(b"\x02\x01\x01", b"\x02\x01\x00", 1)
    signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    return _der(0x30, signed + _SHA256_RSA + _der(0x03, b"\0" + signature))


def _der(tag: int, body: bytes) -> bytes:
    return bytes([tag, 0x82]) + len(body).to_bytes(2, "big") + body


def _pem(der: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(der).encode()
