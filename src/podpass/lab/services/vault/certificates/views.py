"""What a version of a certificate shows: its key, its secret, its policy and its thumbprint. Pure."""

import base64
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from podpass.crypto import jose
from podpass.crypto.secret import Secret
from podpass.crypto.x509 import PrivateKey, encode_pem
from podpass.lab.services.vault.certificates import names
from podpass.lab.services.vault.certificates.policy import (
    AGREEMENT_USAGES,
    KEY_USAGES,
    MAX_MONTHS,
    PEM,
    PKCS12,
    UNKNOWN,
    KeyProperties,
    Policy,
    default_action,
    from_json,
    to_json,
)
from podpass.lab.services.vault.errors import BadParameter
from podpass.lab.services.vault.key_types import EC, RSA, curve_name, encode_key

# Operations of a key by the key usage of its certificate, in the order of the vault.
_OPERATIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("digitalSignature", ("sign", "verify")),
    ("nonRepudiation", ("sign", "verify")),
    ("keyCertSign", ("sign", "verify")),
    ("cRLSign", ("sign", "verify")),
    ("keyEncipherment", ("wrapKey", "unwrapKey")),
    ("dataEncipherment", ("encrypt", "decrypt")),
)
_EC_OPERATIONS = ("sign", "verify")
_SAN_TYPES: Mapping[type[x509.GeneralName], str] = {
    x509.DNSName: "dns_names",
    x509.RFC822Name: "emails",
    x509.UniformResourceIdentifier: "uris",
    x509.IPAddress: "ipAddresses",
}
_DAYS_OF_YEAR = 365.25
_ROUNDS = 2000  # as Windows writes
# What `cryptography` raises for a malformed certificate, when it is loaded or at the first use of a part.
MALFORMED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def thumbprint(certificate: x509.Certificate) -> str:
    """Return `x5t`, the SHA-1 of a certificate in base64url."""
    # SHA-1 is the definition of the member; nothing trusts it.
    return jose.b64encode(certificate.fingerprint(hashes.SHA1()))  # noqa: S303


def lifetime(certificate: x509.Certificate) -> tuple[int, int]:
    """Return `nbf` and `exp` of a certificate, in seconds since 1970."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return int(begins.timestamp()), int(ends.timestamp())


def list_operations(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the permitted operations of the certificate's key; without the extension, all of its type."""
    usages = _list_usages(certificate)
    allowed = [
        each for usage, ops in _OPERATIONS if usages is None or usage in usages for each in ops
    ]
    if not isinstance(certificate.public_key(), rsa.RSAPublicKey):
        allowed = [each for each in allowed if each in _EC_OPERATIONS]
    return tuple(dict.fromkeys(allowed))


def secret_value(
    certificates: tuple[x509.Certificate, ...], key: PrivateKey | None, content_type: str
) -> Secret:
    """Return the value of the secret: PFX in base64 without a password, or PEM.

    `certificates` has the leaf first. A key that is not exportable is None here.
    """
    if content_type == PEM:
        private = b"" if key is None else encode_key(key)
        return Secret((private + b"".join(map(encode_pem, certificates))).decode())
    leaf, *chain = certificates
    pfx = pkcs12.serialize_key_and_certificates(
        None,
        key,
        None if key is None else leaf,
        (chain if key is not None else certificates) or None,
        _without_password(),
    )
    return Secret(base64.b64encode(pfx).decode())


def convert_secret(value: Secret, content_type: str, wanted: str) -> Secret:
    """Return the value of a certificate's secret in another format. Raises BadParameter."""
    if wanted == content_type:
        return value
    if (content_type, wanted) != (PKCS12, PEM):
        raise BadParameter(f"outContentType: {content_type} is not converted to {wanted}.")
    found = pkcs12.load_pkcs12(base64.b64decode(value.reveal()), b"")
    first = [] if found.cert is None else [found.cert]
    certificates = tuple(each.certificate for each in (*first, *found.additional_certs))
    assert found.key is None or isinstance(found.key, PrivateKey)
    return secret_value(certificates, found.key, PEM)


def _without_password() -> serialization.KeySerializationEncryption:
    """Return the encryption of a PFX with the empty password, in the algorithms that Azure's vault uses.

    Go's x/crypto/pkcs12, which the CSI driver's provider uses, reads no PFX without encryption.
    `cryptography` refuses an empty password. The KDF of PKCS #12 repeats the password with its terminating
    NUL to fill a block, so one NUL derives the same keys.
    """
    builder = serialization.PrivateFormat.PKCS12.encryption_builder()
    return (
        builder.kdf_rounds(_ROUNDS)
        .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
        .hmac_hash(hashes.SHA1())  # noqa: S303 the password is empty, so nothing is protected
        .build(b"\0")
    )


def encode_sealed(key: PrivateKey) -> bytes:
    """Encode a private key for the store, which seals it."""
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def decode_sealed(der: bytes) -> PrivateKey:
    """Decode a private key that this vault encoded. Its check is omitted: it takes 0.2 s for RSA 4096."""
    key = serialization.load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, PrivateKey)
    return key


def derive_policy(certificate: x509.Certificate, content_type: str) -> Policy:
    """Return the policy of an imported certificate. Its private key is exportable.

    Raises BadParameter for a certificate that no policy can describe.
    """
    try:
        # The store checks a policy as it checks one of a request.
        return from_json(to_json(_derive_policy(certificate, content_type)))
    except ValueError as exc:
        raise BadParameter("The certificate is malformed.") from exc


def _derive_policy(certificate: x509.Certificate, content_type: str) -> Policy:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        properties = KeyProperties(kty=RSA, size=key.key_size)
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        properties = KeyProperties(kty=EC, size=None, curve=curve_name(key.curve))
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    months = round((ends - begins).days / _DAYS_OF_YEAR * 12)
    constraints = find_extension(certificate, x509.BasicConstraints)
    usages = find_extension(certificate, x509.ExtendedKeyUsage)
    return Policy(
        key=properties,
        content_type=content_type,
        subject=names.show_subject(certificate.subject),
        sans=_derive_sans(certificate),
        ekus=tuple(each.dotted_string for each in usages or ()),
        key_usage=_list_usages(certificate) or (),
        months=min(max(months, 1), MAX_MONTHS),
        ca=bool(constraints and constraints.ca),
        issuer=UNKNOWN,
        actions=(default_action(UNKNOWN),),
    )


def _derive_sans(certificate: x509.Certificate) -> dict[str, tuple[str, ...]]:
    found = find_extension(certificate, x509.SubjectAlternativeName)
    if found is None:
        return {}
    listed: dict[str, tuple[str, ...]] = {}
    for each in found:
        # A name constraint has networks, an alternative name has addresses.
        is_network = isinstance(each.value, IPv4Network | IPv6Network)
        if (name := _SAN_TYPES.get(type(each))) is not None and not is_network:
            listed[name] = (*listed.get(name, ()), str(each.value))
    return listed


def find_extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """Return an extension of a certificate; None if it is absent or malformed."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, *MALFORMED):
        return None


def _list_usages(certificate: x509.Certificate) -> tuple[str, ...] | None:
    found = find_extension(certificate, x509.KeyUsage)
    if found is None:
        return None
    return tuple(
        usage
        for usage, attribute in KEY_USAGES.items()
        if (usage not in AGREEMENT_USAGES or found.key_agreement) and getattr(found, attribute)
    )
