"""Keys and certificates as the reference makes them, so that either may go on with the other's.

RSA, keys as PKCS#1: the reference cannot sign with anything else.
"""

import hashlib
import threading
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from podpass import names
from podpass.admission.certificates.model import Authority, Leaf, Plan

_BITS = 2048
BACKDATE_SECONDS = 3600  # a clock that is behind by less takes a new certificate for valid
_MAX_COMMON_NAME = 64
_quiet = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaMaker:
    """Makes authorities and leaves at one moment.

    Shapes:  `host` is the name API servers call: `SERVICE.NAMESPACE.svc`.
    Units:   `now` in seconds since the epoch.
    """

    host: str
    now: float
    plan: Plan

    def authority(self) -> Authority:
        """Make an authority and its key: a tenth of a second, for which another thread is the place."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
        subject = _name(names.CA_NAME)
        ends = self.now + self.plan.ca_seconds
        certificate = (
            self._builder(subject, subject, key, ends)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            # The reference verifies an authority for its own name.
            .add_extension(_alternative(names.CA_NAME), critical=False)
            .sign(key, hashes.SHA256())
        )
        return Authority(
            id=fingerprint(certificate),
            certificate=_pem(certificate),
            key=_key_pem(key),
            not_before=certificate.not_valid_before_utc.timestamp(),
            not_after=certificate.not_valid_after_utc.timestamp(),
        )

    def leaf(self, authority: Authority) -> Leaf:
        """Make a serving certificate that ends no later than its authority."""
        issuer = load(authority.certificate)
        signer = serialization.load_pem_private_key(authority.key, password=None)
        assert isinstance(signer, rsa.RSAPrivateKey)
        key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
        short = self.host if len(self.host) <= _MAX_COMMON_NAME else self.host.partition(".")[0]
        ends = min(self.now + self.plan.leaf_seconds, authority.not_after)
        certificate = (
            self._builder(_name(short), issuer.subject, key, ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(_alternative(self.host), critical=False)
            # Authorities have one name: this tells a client which of them to look at.
            .add_extension(_issued_by(issuer), critical=False)
            .sign(signer, hashes.SHA256())
        )
        return Leaf(
            authority=authority.id,
            chain=_pem(certificate),
            key=_key_pem(key),
            not_before=certificate.not_valid_before_utc.timestamp(),
            not_after=certificate.not_valid_after_utc.timestamp(),
        )

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, ends: float
    ) -> x509.CertificateBuilder:
        public = key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_moment(self.now - BACKDATE_SECONDS))
            .not_valid_after(_moment(ends))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )


def load(pem: bytes) -> x509.Certificate:
    """Read a certificate as PEM.

    Errors:  ValueError.
    """
    # NOTE: the reference's authorities have the serial number 0, of which cryptography warns. What is to be
    # shown of warnings is one thing for all threads, hence the lock.
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return x509.load_pem_x509_certificate(pem)


def fingerprint(certificate: x509.Certificate) -> str:
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), tz=UTC)


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, names.CA_ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.DNSName(name)])


def _issued_by(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        found = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        key = issuer.public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found.value)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
