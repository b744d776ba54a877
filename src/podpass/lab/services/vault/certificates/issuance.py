"""Make keys, certificates and certificate requests by a policy. Pure, apart from random numbers.

The caller runs `generate_key` outside of the event loop: a large RSA key takes seconds.
"""

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from podpass.crypto.x509 import (
    Extension,
    PrivateKey,
    build_certificate,
    build_name,
    subject_key_id,
)
from podpass.crypto.x509 import basic_constraints as constraints_of
from podpass.crypto.x509 import key_usage as usage_of
from podpass.lab.services.vault.certificates import names
from podpass.lab.services.vault.certificates.policy import (
    AGREEMENT_USAGES,
    KEY_USAGES,
    KeyProperties,
    Policy,
)
from podpass.lab.services.vault.key_types import CURVES, RSA, curve_name
from podpass.lab.services.vault.months import add_months

# Azure's certificates begin this long before their creation.
BACKDATE = timedelta(minutes=10)
_CA_MONTHS = 120


def generate_key(wanted: KeyProperties) -> PrivateKey:
    """Generate a key pair."""
    if wanted.kty == RSA:
        return rsa.generate_private_key(65537, wanted.size or 2048)
    return ec.generate_private_key(CURVES[wanted.curve or "P-256"])


def matches(key: PrivateKey, wanted: KeyProperties) -> bool:
    """Return whether a key is of the wanted type and size, or curve."""
    if isinstance(key, rsa.RSAPrivateKey):
        return (wanted.kty, wanted.size) == (RSA, key.key_size)
    return wanted.curve == curve_name(key.curve)


def validity(policy: Policy, now: datetime) -> tuple[datetime, datetime]:
    """Return when a certificate of this policy begins and ends if it is created now."""
    now = now.replace(microsecond=0)
    return now - BACKDATE, add_months(now, policy.months)


def build_self_signed(policy: Policy, key: PrivateKey, now: datetime) -> x509.Certificate:
    """Build the certificate of a policy, signed with its own key. Raises BadParameter."""
    return build_certificate(
        subject=names.parse_subject(policy.subject),
        key=key,
        validity=validity(policy, now),
        extensions=(*_extensions(policy), subject_key_id(key), _authority(key)),
    )


def build_request(policy: Policy, key: PrivateKey) -> x509.CertificateSigningRequest:
    """Build the certificate request of a policy. Raises BadParameter."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        names.parse_subject(policy.subject)
    )
    for extension, critical in _extensions(policy):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key, hashes.SHA256())


def build_issuer(name: str, key: PrivateKey, now: datetime) -> x509.Certificate:
    """Build the CA certificate of a registered issuer."""
    now = now.replace(microsecond=0)
    return build_certificate(
        subject=build_name(f"podpass vault issuer {name}"[:64], "podpass"),
        key=key,
        validity=(now - BACKDATE, add_months(now, _CA_MONTHS)),
        extensions=(
            constraints_of(ca=True),
            usage_of(key_cert_sign=True, crl_sign=True),
            subject_key_id(key),
        ),
    )


def sign_request(
    request: x509.CertificateSigningRequest,
    policy: Policy,
    issuer: tuple[x509.Certificate, PrivateKey],
    now: datetime,
) -> x509.Certificate:
    """Sign a certificate request of this vault as its registered issuer; it never signs a CA.

    The certificate ends with that of the issuer at the latest.
    """
    certificate, signing_key = issuer
    begins, ends = validity(policy, now)
    builder = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(certificate.subject)
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(min(ends, certificate.not_valid_after_utc))
    )
    for each in request.extensions:
        value = each.value
        if isinstance(value, x509.BasicConstraints):
            value = x509.BasicConstraints(ca=False, path_length=None)
        builder = builder.add_extension(value, critical=each.critical)
    key_id = x509.SubjectKeyIdentifier.from_public_key(request.public_key())
    builder = builder.add_extension(key_id, critical=False)
    builder = builder.add_extension(_authority(signing_key)[0], critical=False)
    return builder.sign(signing_key, hashes.SHA256())


def _authority(key: PrivateKey) -> Extension:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False


def _extensions(policy: Policy) -> list[Extension]:
    found: list[Extension] = []
    if policy.key_usage:
        flags = {
            attribute: usage in policy.key_usage
            and (usage not in AGREEMENT_USAGES or "keyAgreement" in policy.key_usage)
            for usage, attribute in KEY_USAGES.items()
        }
        found.append((x509.KeyUsage(**flags), True))
    if policy.ekus:
        found.append((x509.ExtendedKeyUsage(names.parse_usages(policy.ekus)), False))
    if alternatives := names.parse_alternatives(policy.sans):
        found.append((x509.SubjectAlternativeName(alternatives), not policy.subject))
    found.append((x509.BasicConstraints(ca=policy.ca, path_length=None), policy.ca))
    return found
