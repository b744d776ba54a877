"""Create keys and certificates in the format of azure-workload-identity: each can replace the other.

RSA, with keys as PKCS#1: azure-workload-identity cannot sign with any other key.
"""

import hashlib
import threading
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from podpass import names
from podpass.admission.certificates.model import (
    CertificateAuthority,
    LeafCertificate,
    RotationPolicy,
)
from podpass.crypto.x509 import (
    Extension,
    basic_constraints,
    build_certificate,
    build_name,
    encode_key,
    encode_pem,
    key_usage,
    subject_key_id,
)

_BITS = 2048
# A machine whose clock is up to this many seconds slow accepts a new certificate.
BACKDATE_SECONDS = 3600
_MAX_COMMON_NAME = 64
_warnings_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaCertificateIssuer:
    """Creates CAs and leaf certificates, all with the same time of issue.

    `host` is the DNS name that API servers call: `SERVICE.NAMESPACE.svc`. Units: `now` in seconds since the
    epoch.
    """

    host: str
    now: float
    policy: RotationPolicy

    def create_ca(self) -> CertificateAuthority:
        """Create a CA and its key; this takes a tenth of a second, so call it in a thread."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
        subject = build_name(names.CA_NAME, names.CA_ORGANIZATION)
        ends = self.now + self.policy.ca_seconds
        certificate = build_certificate(
            subject=subject,
            key=key,
            validity=self._validity(ends),
            extensions=(
                subject_key_id(key),
                basic_constraints(ca=True),
                key_usage(digital_signature=True, key_encipherment=True, key_cert_sign=True),
                # azure-workload-identity checks that a CA has this DNS name.
                _build_alternative_name(names.CA_NAME),
            ),
        )
        return CertificateAuthority(
            id=compute_fingerprint(certificate),
            certificate=encode_pem(certificate),
            key=encode_key(key),
            not_before=certificate.not_valid_before_utc.timestamp(),
            not_after=certificate.not_valid_after_utc.timestamp(),
        )

    def sign_leaf(self, ca: CertificateAuthority) -> LeafCertificate:
        """Create a serving certificate that expires no later than its CA."""
        issuer = load_certificate(ca.certificate)
        signer = serialization.load_pem_private_key(ca.key, password=None)
        assert isinstance(signer, rsa.RSAPrivateKey)
        key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
        short = self.host if len(self.host) <= _MAX_COMMON_NAME else self.host.partition(".")[0]
        ends = min(self.now + self.policy.leaf_seconds, ca.not_after)
        certificate = build_certificate(
            subject=build_name(short, names.CA_ORGANIZATION),
            key=key,
            validity=self._validity(ends),
            extensions=(
                subject_key_id(key),
                basic_constraints(ca=False),
                key_usage(digital_signature=True, key_encipherment=True),
                (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
                _build_alternative_name(self.host),
                # All CAs have the same name: this extension lets a client find the right one.
                (_build_authority_key_id(issuer), False),
            ),
            issuer=issuer.subject,
            signing_key=signer,
        )
        return LeafCertificate(
            ca_id=ca.id,
            chain=encode_pem(certificate),
            key=encode_key(key),
            not_before=certificate.not_valid_before_utc.timestamp(),
            not_after=certificate.not_valid_after_utc.timestamp(),
        )

    def _validity(self, ends: float) -> tuple[datetime, datetime]:
        return _to_datetime(self.now - BACKDATE_SECONDS), _to_datetime(ends)


def load_certificate(pem: bytes) -> x509.Certificate:
    """Load a certificate from PEM. Raises ValueError."""
    # NOTE: the CAs of azure-workload-identity have the serial number 0, and cryptography warns about it.
    # Warning filters are shared by all threads, hence the lock.
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return x509.load_pem_x509_certificate(pem)


def compute_fingerprint(certificate: x509.Certificate) -> str:
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def _to_datetime(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), tz=UTC)


def _build_alternative_name(name: str) -> Extension:
    return x509.SubjectAlternativeName([x509.DNSName(name)]), False


def _build_authority_key_id(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        found = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        key = issuer.public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found.value)
