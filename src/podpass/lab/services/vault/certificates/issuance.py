"""Make keys, certificates and certificate requests by a policy. Pure, apart from random numbers.

The caller runs `generate_key` outside of the event loop: a large RSA key takes seconds.
"""

import ipaddress
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier

from podpass.crypto.x509 import (
    Extension,
    PrivateKey,
    build_certificate,
    build_name,
    encode_der,
    subject_key_id,
)
from podpass.crypto.x509 import basic_constraints as constraints_of
from podpass.crypto.x509 import key_usage as usage_of
from podpass.lab.services.vault.certificates.policy import KEY_USAGES, KeyProperties, Policy
from podpass.lab.services.vault.errors import BadParameter
from podpass.lab.services.vault.key_types import CURVES, RSA, curve_name
from podpass.lab.services.vault.months import add_months

# Azure's certificates begin this long before their creation.
BACKDATE = timedelta(minutes=10)
_UPN = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
# Names of the attributes as Windows writes them, apart from those of RFC 4514.
_ATTRIBUTES = {
    "E": NameOID.EMAIL_ADDRESS,
    "EMAIL": NameOID.EMAIL_ADDRESS,
    "S": NameOID.STATE_OR_PROVINCE_NAME,
    "SERIALNUMBER": NameOID.SERIAL_NUMBER,
    "G": NameOID.GIVEN_NAME,
    "SN": NameOID.SURNAME,
    "T": NameOID.TITLE,
}
_SHOWN = {NameOID.EMAIL_ADDRESS: "E", NameOID.STATE_OR_PROVINCE_NAME: "S"}
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
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


def parse_subject(text: str) -> x509.Name:
    """Parse a subject such as `CN=www.contoso.com, O=Contoso`. Raises BadParameter."""
    try:
        return x509.Name.from_rfc4514_string(_normalize(text), _ATTRIBUTES)
    except (ValueError, TypeError) as exc:
        raise BadParameter(
            "x509_props.subject is not an X.500 name.", hint="write CN=www.contoso.com, O=Contoso"
        ) from exc


def _normalize(text: str) -> str:
    r"""Return a name as RFC 4514 writes it: no blanks around attributes, `\,` instead of quotes."""
    parts, quoted, escaped = [""], False, False
    for character in text:
        if escaped:
            parts[-1], escaped = parts[-1] + character, False
        elif character == "\\":
            parts[-1], escaped = parts[-1] + character, True
        elif character == '"':
            quoted = not quoted
        elif character in ",;" and not quoted:
            parts.append("")
        else:
            parts[-1] += f"\\{character}" if quoted and character in ",+<>;=#" else character
    pairs = [part.partition("=") for part in parts if part.strip()]
    return ",".join(f"{name.strip().upper()}={value.strip()}" for name, _, value in pairs)


def show_subject(name: x509.Name) -> str:
    """Return a name as Azure writes it: the most specific attribute first, separated by `, `."""
    return ", ".join(each.rfc4514_string(_SHOWN) for each in reversed(name.rdns))


def validity(policy: Policy, now: datetime) -> tuple[datetime, datetime]:
    """Return when a certificate of this policy begins and ends if it is created now."""
    now = now.replace(microsecond=0)
    return now - BACKDATE, add_months(now, policy.months)


def build_self_signed(policy: Policy, key: PrivateKey, now: datetime) -> x509.Certificate:
    """Build the certificate of a policy, signed with its own key. Raises BadParameter."""
    return build_certificate(
        subject=parse_subject(policy.subject),
        key=key,
        validity=validity(policy, now),
        extensions=(*_extensions(policy), subject_key_id(key), _authority(key)),
    )


def build_request(policy: Policy, key: PrivateKey) -> x509.CertificateSigningRequest:
    """Build the certificate request of a policy. Raises BadParameter."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(parse_subject(policy.subject))
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
            ours: wire in policy.key_usage for ours, wire in zip(_USAGES, KEY_USAGES, strict=True)
        }
        # X.509 defines the last two for key agreement only.
        if not flags["key_agreement"]:
            flags |= {"encipher_only": False, "decipher_only": False}
        found.append((x509.KeyUsage(**flags), True))
    if policy.ekus:
        usages = [ObjectIdentifier(each) for each in policy.ekus]
        found.append((x509.ExtendedKeyUsage(usages), False))
    if names := _alternative_names(policy):
        found.append((x509.SubjectAlternativeName(names), not policy.subject))
    found.append((x509.BasicConstraints(ca=policy.ca, path_length=None), policy.ca))
    return found


def _alternative_names(policy: Policy) -> list[x509.GeneralName]:
    makers: Mapping[str, Callable[[str], x509.GeneralName]] = {
        "dns_names": x509.DNSName,
        "emails": x509.RFC822Name,
        "upns": lambda each: x509.OtherName(_UPN, encode_der(0x0C, each.encode())),
        "uris": x509.UniformResourceIdentifier,
        "ipAddresses": lambda each: x509.IPAddress(ipaddress.ip_address(each)),
    }
    try:
        return [make(each) for name, make in makers.items() for each in policy.sans.get(name, ())]
    except ValueError as exc:
        raise BadParameter("A name in x509_props.sans is not ASCII or is malformed.") from exc
