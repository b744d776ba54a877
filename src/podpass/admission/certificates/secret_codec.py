"""Decode and encode the contents of the Secret, and the PEM of a `caBundle`. Pure.

`ca.crt` has every CA that API servers must trust; `ca.key` is the key of the first one.
azure-workload-identity uses only the first one, and copies the complete `ca.crt` into `caBundle`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from podpass import names
from podpass.admission.certificates.model import (
    CertificateAuthority,
    LeafCertificate,
    StoredCertificates,
)
from podpass.admission.certificates.x509 import compute_fingerprint, load_certificate

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\n?.*?-----END \1-----", re.DOTALL)
_CERTIFICATE = b"CERTIFICATE"
_PKCS1 = b"-----BEGIN RSA PRIVATE KEY-----"
_OWNED = (names.CA_CERTIFICATE, names.CA_KEY, names.TLS_CERTIFICATE, names.TLS_KEY)


class _UnusableError(Exception):
    """A part of the Secret is unusable; the text is the reason."""


def decode_secret(data: Mapping[str, bytes], host: str) -> StoredCertificates:
    """Decode the contents of the Secret; leave out unusable parts and list the reasons in `faults`.

    `host` is the DNS name that the leaf must have.
    """
    if not any(data.get(name) for name in _OWNED):
        return StoredCertificates()
    found = decode_bundle(data.get(names.CA_CERTIFICATE, b""))
    try:
        current = _decode_current(data, found)
    except _UnusableError as exc:
        return StoredCertificates(old=found, faults=(str(exc),))
    added = _find_added(data.get(names.ADDED_CA_KEY, b""), found[1:])
    old = tuple(each for each in found[1:] if added is None or each.id != added.id)
    try:
        leaf = _decode_leaf(data, current, host)
    except _UnusableError as exc:
        return StoredCertificates(current=current, added=added, old=old, faults=(str(exc),))
    return StoredCertificates(current=current, leaf=leaf, added=added, old=old)


def encode_secret(certificates: StoredCertificates) -> dict[str, bytes]:
    """Return the values of podpass's keys in the Secret; a key with an empty value is to be deleted."""
    assert certificates.current is not None
    leaf = certificates.leaf
    return {
        names.CA_CERTIFICATE: encode_bundle(certificates.cas),
        names.CA_KEY: certificates.current.key,
        names.TLS_CERTIFICATE: b"" if leaf is None else leaf.chain,
        names.TLS_KEY: b"" if leaf is None else leaf.key,
        names.ADDED_CA_KEY: b"" if certificates.added is None else certificates.added.key,
    }


def encode_bundle(found: Sequence[CertificateAuthority]) -> bytes:
    """Concatenate CA certificates in PEM, as a `caBundle` contains them."""
    return b"".join(each.certificate for each in found)


@lru_cache(maxsize=16)  # every reconcile decodes the same bundles
def decode_bundle(pem: bytes) -> tuple[CertificateAuthority, ...]:
    """Return the certificates of a bundle without duplicates; skip invalid blocks."""
    found: dict[str, CertificateAuthority] = {}
    for match in _BLOCK.finditer(pem):
        if match[1] == _CERTIFICATE:
            try:
                each = _convert_ca(_load_certificate(match[0]))
            except _UnusableError:
                continue
            found.setdefault(each.id, each)
    return tuple(found.values())


def build_desired_bundle(
    certificates: StoredCertificates, present: Sequence[CertificateAuthority]
) -> bytes | None:
    """Return the desired `caBundle`, or None if the present one has the same CAs in any order.

    CAs that podpass did not create stay: a migration from or to cert-manager needs both.
    """
    others = tuple(each for each in present if not each.is_own)
    want = {each.id: each for each in (*certificates.cas, *others)}
    if want.keys() == {each.id for each in present}:
        return None
    return encode_bundle(tuple(want.values()))


def _decode_current(
    data: Mapping[str, bytes], found: Sequence[CertificateAuthority]
) -> CertificateAuthority:
    pem, key_pem = data.get(names.CA_CERTIFICATE, b""), data.get(names.CA_KEY, b"")
    first = _BLOCK.search(pem)
    if first is None or first[1] != _CERTIFICATE:
        raise _UnusableError("ca.crt does not begin with a certificate")
    certificate = _load_certificate(first[0])
    _check_key(certificate, key_pem, "ca.key", "ca.crt")
    if not key_pem.lstrip().startswith(_PKCS1):
        raise _UnusableError(
            "ca.key is not in PKCS#1 format: azure-workload-identity cannot sign with it"
        )
    try:
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        has_ca_name = names.CA_NAME in _list_dns_names(certificate)
    except (ValueError, x509.ExtensionNotFound) as exc:
        raise _UnusableError("ca.crt lacks an extension that a CA certificate needs") from exc
    if not is_ca:
        raise _UnusableError("ca.crt is not a CA certificate")
    if not has_ca_name:
        raise _UnusableError(f"ca.crt is not for {names.CA_NAME}")
    ca = _convert_ca(certificate)
    assert ca.id == found[0].id
    return replace(ca, key=key_pem)


def _find_added(
    key_pem: bytes, rest: Sequence[CertificateAuthority]
) -> CertificateAuthority | None:
    """Return the CA that this key belongs to, or None if it belongs to no CA in the list."""
    for each in rest if key_pem else ():
        try:
            _check_key(
                _load_certificate(each.certificate), key_pem, "the key of the added CA", "its CA"
            )
        except _UnusableError:
            continue
        return replace(each, key=key_pem)
    return None


def _decode_leaf(
    data: Mapping[str, bytes], current: CertificateAuthority, host: str
) -> LeafCertificate | None:
    chain, key = data.get(names.TLS_CERTIFICATE, b""), data.get(names.TLS_KEY, b"")
    if not chain and not key:
        return None
    certificate = _load_certificate(chain)
    _check_key(certificate, key, "tls.key", "tls.crt")
    try:
        certificate.verify_directly_issued_by(_load_certificate(current.certificate))
    except Exception as exc:  # cryptography raises exceptions without a common base class
        raise _UnusableError("tls.crt is not signed by the first CA of ca.crt") from exc
    try:
        is_named = host in _list_dns_names(certificate)
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.ExtensionNotFound) as exc:
        raise _UnusableError("tls.crt lacks an extension that a server certificate needs") from exc
    if not is_named:
        raise _UnusableError(f"tls.crt is not for {host}")
    if ExtendedKeyUsageOID.SERVER_AUTH not in usage:
        raise _UnusableError("tls.crt is not a server certificate")
    return LeafCertificate(
        ca_id=current.id,
        chain=chain,
        key=key,
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
    )


def _load_certificate(pem: bytes) -> x509.Certificate:
    try:
        return load_certificate(pem)
    except ValueError as exc:
        raise _UnusableError("a certificate cannot be read") from exc


def _convert_ca(certificate: x509.Certificate) -> CertificateAuthority:
    try:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return CertificateAuthority(
            id=compute_fingerprint(certificate),
            certificate=certificate.public_bytes(serialization.Encoding.PEM),
            not_before=certificate.not_valid_before_utc.timestamp(),
            not_after=certificate.not_valid_after_utc.timestamp(),
            is_own=any(each.value == names.CA_NAME for each in common),
        )
    except ValueError as exc:
        raise _UnusableError("a certificate cannot be read") from exc


def _check_key(certificate: x509.Certificate, key_pem: bytes, key_name: str, name: str) -> None:
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
        public = certificate.public_key()
    except Exception as exc:  # any error makes the pair unusable
        raise _UnusableError(f"{key_name} cannot be read") from exc
    if key.public_key() != public:
        raise _UnusableError(f"{key_name} does not belong to {name}")


def _list_dns_names(certificate: x509.Certificate) -> Sequence[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return found.value.get_values_for_type(x509.DNSName)
