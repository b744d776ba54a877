"""The instance's certificate authority and every certificate under it.

The authority signs names that belong to Microsoft. Its key never leaves the data dir, and nothing here
installs it anywhere: programs trust it only through the variables of `podpass env`.
"""

import hashlib
import ipaddress
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from podpass import names
from podpass.clock import Clock, system
from podpass.files import write_private
from podpass.local.datadir import DataDir, DataDirError

_log = logging.getLogger(__name__)

# Every name a service of the instance answers to; one leaf carries them all.
SERVER_NAMES = (
    "localhost",
    names.DIRECT_VAULT_SUFFIX,
    f"*.{names.DIRECT_VAULT_SUFFIX}",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    *names.LOGIN_ALIASES,
    names.ARM_HOST,
    names.GRAPH_HOST,
    names.VAULT_SUFFIX,
    f"*.{names.VAULT_SUFFIX}",
    f"*.{names.ISSUER_SUFFIX}",
)
SERVER_ADDRESSES = ("127.0.0.1", "::1")
NODE_NAME = "podpass"
ADMIN, RUNTIME, WEBHOOK, KUBELET_CLIENT = "admin", "runtime", "webhook", "apiserver-kubelet"
ETCD_CLIENT, CONTROLLERS = "apiserver-etcd", "controllers"
STORE_NAME = "kube-apiserver-etcd-client"  # whom a real control plane's store lets in
# Client certificates: common name is the Kubernetes user, organisation its group.
CLIENTS = {
    ADMIN: ("podpass-admin", "system:masters"),
    RUNTIME: (f"system:node:{NODE_NAME}", "system:nodes"),
    WEBHOOK: ("podpass-webhook", None),
    KUBELET_CLIENT: ("kube-apiserver-kubelet-client", None),
    ETCD_CLIENT: (STORE_NAME, None),
    CONTROLLERS: ("system:kube-controller-manager", None),
}

_CA_DAYS = 3650
_LEAF_DAYS = 397  # the longest that every client family accepts
_RENEW_DAYS = 30
_BACKDATE = timedelta(minutes=5)  # clocks of containers and virtual machines lag
_CA_NAME = "podpass local CA of "

Certificate = x509.Certificate
PrivateKey = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority: its certificate and the key that signs."""

    certificate: Certificate
    key: PrivateKey


def ensure(data_dir: DataDir, clock: Clock = system, hosts: Sequence[str] = SERVER_NAMES) -> None:
    """Make the authority, the leaf and the client certificates; renew what is old or lacks a name.

    Errors:  DataDirError when a file of the authority is damaged.
    """
    now = datetime.fromtimestamp(clock(), tz=UTC)
    authority = _authority(data_dir, now)
    alternatives = _alternative_names(hosts)
    if not _fits(data_dir, "leaf", authority, now, alternatives):
        extensions = [_usage(client=False), alternatives]
        _issue(data_dir, "leaf", authority, now, "podpass", None, extensions)
        _log.info("leaf_certificate_issued", extra={"names": len(hosts)})
    for name, (user, group) in CLIENTS.items():
        named = [x509.SubjectAlternativeName([x509.DNSName(user)])] if name == ETCD_CLIENT else []
        if not _fits(data_dir, name, authority, now, *named):
            _issue(data_dir, name, authority, now, user, group, [_usage(client=True), *named])


def _authority(data_dir: DataDir, now: datetime) -> Authority:
    certificate, key = data_dir.ca_file, data_dir.path("ca", "ca.key")
    if not certificate.exists():
        return _create(data_dir, now)
    try:
        found = Authority(x509.load_pem_x509_certificate(certificate.read_bytes()), _load_key(key))
    except (OSError, ValueError, TypeError) as exc:
        raise _damaged(certificate, "it cannot be read") from exc
    if found.certificate.public_key() != found.key.public_key():
        raise _damaged(certificate, "the key belongs to another certificate")
    begins, ends = found.certificate.not_valid_before_utc, found.certificate.not_valid_after_utc
    if not begins <= now < ends:
        raise DataDirError(
            f"the certificate authority in {certificate.parent} is valid from {begins} to {ends}, and this"
            f" machine's clock says {now}",
            hint=f"set the clock; if it is right, remove the folder {certificate.parent}, and the next"
            " `podpass up` makes a new one",
        )
    return found


def _damaged(certificate: Path, why: str) -> DataDirError:
    return DataDirError(
        f"the certificate authority in {certificate.parent} is damaged: {why}",
        hint=f"remove the folder {certificate.parent}; the next `podpass up` makes a new one",
    )


def _create(data_dir: DataDir, now: datetime) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    # The random tail keeps two authorities of one folder apart, where clients look them up by name.
    tail = hashlib.sha256(_spki(key)).hexdigest()[:8]
    name = _name(f"{_CA_NAME}{data_dir.id}-{tail}", "podpass")
    certificate = (
        _builder(name, name, key, now, _CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    # The key first: a certificate without its key would be taken for damage.
    write_private(data_dir.path("ca", "ca.key"), _pem(key))
    write_private(data_dir.ca_file, certificate.public_bytes(serialization.Encoding.PEM))
    _log.info("certificate_authority_created", extra={"subject": name.rfc4514_string()})
    return Authority(certificate, key)


def _issue(
    data_dir: DataDir,
    file: str,
    authority: Authority,
    now: datetime,
    user: str,
    group: str | None,
    extensions: Sequence[x509.ExtensionType],
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    builder = (
        _builder(_name(user, group), issuer.subject, key, now, _LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    certificate = builder.sign(authority.key, hashes.SHA256())
    write_private(data_dir.key(file), _pem(key))
    write_private(data_dir.certificate(file), certificate.public_bytes(serialization.Encoding.PEM))


def _fits(
    data_dir: DataDir,
    file: str,
    authority: Authority,
    now: datetime,
    wanted: x509.SubjectAlternativeName | None = None,
) -> bool:
    """Tell whether a certificate on disk is ours, whole, fresh enough and carries every name."""
    try:
        certificate = x509.load_pem_x509_certificate(data_dir.certificate(file).read_bytes())
        certificate.verify_directly_issued_by(authority.certificate)
        if _load_key(data_dir.key(file)).public_key() != certificate.public_key():
            return False
        if wanted is not None:
            found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            if found.value != wanted:
                return False
    except Exception:  # noqa: BLE001 whatever is wrong with it, a new one is the cure
        return False
    fresh_until = certificate.not_valid_after_utc - timedelta(days=_RENEW_DAYS)
    return certificate.not_valid_before_utc <= now < fresh_until


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common: str, organisation: str | None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organisation:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(parts)


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _usage(*, client: bool) -> x509.ExtendedKeyUsage:
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
    return x509.ExtendedKeyUsage([purpose])


def _alternative_names(hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    named: list[x509.GeneralName] = [x509.DNSName(name) for name in hosts]
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in SERVER_ADDRESSES]
    return x509.SubjectAlternativeName([*named, *addresses])


def _spki(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _load_key(path: Path) -> PrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not an EC private key")
    return key
