"""The CA of an instance and the certificates that it signs.

The CA signs host names of Microsoft. Its key is in the data directory; in a cluster also in the Secret of the
cloud (`identity_secret`), and nowhere else. No system trusts the CA: only programs with the variables of
`podpass env`, and containers of the namespaces that the trust webhook selects. Name constraints limit it to
the names that the instance serves: an attacker with the key can impersonate no other host to these programs.

The CA of a rotation (`podpass.lab.data.ca_rotation`) is also signed by the CA that it replaces. Servers send
that certificate with the leaf certificate, so that programs that run since before the rotation accept them.
"""

import hashlib
import ipaddress
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from podpass import names
from podpass.clock import Clock, system
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
from podpass.files import sync_folder, write_private, write_private_pair
from podpass.lab.data.datadir import DataDir, DataDirError

_log = logging.getLogger(__name__)

# The host names of all services; one leaf certificate contains all of them.
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
    names.PORTAL_HOST,
    names.VAULT_SUFFIX,
    f"*.{names.VAULT_SUFFIX}",
    f"*.{names.ISSUER_SUFFIX}",
    *(f"*.{service}.{names.STORAGE_SUFFIX}" for service in names.STORAGE_SERVICES),
)
SERVER_ADDRESSES = ("127.0.0.1", "::1")
_LOOPBACK = ("127.0.0.0/8", "::1/128")
NODE_NAME = "podpass"
ADMIN, RUNTIME, WEBHOOK, KUBELET_CLIENT = "admin", "runtime", "webhook", "apiserver-kubelet"
ETCD_CLIENT, CONTROLLERS = "apiserver-etcd", "controllers"
ETCD_CLIENT_NAME = "kube-apiserver-etcd-client"  # the only client name that etcd accepts
# Client certificates: the common name is the Kubernetes user, the organization is its group.
CLIENTS = {
    ADMIN: ("podpass-admin", "system:masters"),
    RUNTIME: (f"system:node:{NODE_NAME}", "system:nodes"),
    WEBHOOK: ("podpass-webhook", None),
    KUBELET_CLIENT: ("kube-apiserver-kubelet-client", None),
    ETCD_CLIENT: (ETCD_CLIENT_NAME, None),
    CONTROLLERS: ("system:kube-controller-manager", None),
}

_CA_DAYS = 3650
_LEAF_DAYS = 397  # the longest lifetime that all client families accept
_RENEW_DAYS = 30
_BACKDATE = timedelta(minutes=5)  # clocks of containers and virtual machines may be behind
_CA_NAME = "podpass local CA of "
# One CA may be below this one: the CA of a rotation, which it signs. That one signs leaf certificates only.
_PATH_LENGTH = 1

Certificate = x509.Certificate
PrivateKey = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class InstanceCA:
    """The certificate and the private key of the CA.

    `chain` is the PEM of the same CA signed by the CA that it replaced, empty before a rotation.
    """

    certificate: Certificate
    key: PrivateKey
    chain: bytes = b""


def ensure_certificates(
    data_dir: DataDir, clock: Clock = system, hosts: Sequence[str] = SERVER_NAMES
) -> None:
    """Create the CA, the leaf certificate and the client certificates; renew what expires or lacks a name.

    A CA that may not sign one of the names is replaced, with all that it has signed. Raises DataDirError if a
    file of the CA is damaged.
    """
    now = datetime.fromtimestamp(clock(), tz=UTC)
    ca = _load_or_create(data_dir, now, _name_constraints(hosts))
    ensure_leaf(data_dir, ca, now, hosts)
    for file, (user, group) in CLIENTS.items():
        named = [x509.SubjectAlternativeName([x509.DNSName(user)])] if file == ETCD_CLIENT else []
        if not _is_usable(data_dir, file, ca, now, *named):
            extensions = (_usage(client=True), *((name, False) for name in named))
            _issue(data_dir, file, ca, now, build_name(user, group), extensions)


def ensure_leaf(
    data_dir: DataDir, ca: InstanceCA, now: datetime, hosts: Sequence[str] = SERVER_NAMES
) -> None:
    """Issue the certificate of the servers, unless the stored one is usable."""
    dns_names: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts]
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in SERVER_ADDRESSES]
    alternatives = x509.SubjectAlternativeName([*dns_names, *addresses])
    if not _is_usable(data_dir, "leaf", ca, now, alternatives):
        extensions: tuple[Extension, ...] = (_usage(client=False), (alternatives, False))
        _issue(data_dir, "leaf", ca, now, build_name("podpass"), extensions, chain=ca.chain)
        _log.info("leaf_certificate_issued", extra={"names": len(hosts)})


def _load_or_create(
    data_dir: DataDir, now: datetime, constraints: x509.NameConstraints
) -> InstanceCA:
    certificate = data_dir.ca_file
    if not certificate.exists():
        return _create(data_dir, now, constraints)
    found = load(data_dir, now)
    required = (constraints, x509.BasicConstraints(ca=True, path_length=_PATH_LENGTH))
    if not all(_has_extension(found.certificate, each) for each in required):
        return _create(data_dir, now, constraints)
    return found


def load(data_dir: DataDir, now: datetime) -> InstanceCA:
    """Read the CA. Raises DataDirError if a file is damaged, or the CA is not valid at this time."""
    certificate, key = data_dir.ca_file, data_dir.path("ca", "ca.key")
    try:
        read = x509.load_pem_x509_certificate(certificate.read_bytes())
        found = InstanceCA(read, _load_key(key), _read_chain(data_dir, read, now))
    except (OSError, ValueError, TypeError) as exc:
        raise _damaged(certificate, "it cannot be read") from exc
    if found.certificate.public_key() != found.key.public_key():
        raise _damaged(certificate, "the key belongs to another certificate")
    begins, ends = found.certificate.not_valid_before_utc, found.certificate.not_valid_after_utc
    if not begins <= now < ends:
        raise DataDirError(
            f"the CA certificate in {certificate.parent} is valid from {begins} to {ends}, but the clock of"
            f" this machine is {now}",
            hint=f"correct the clock; if it is correct, remove the folder {certificate.parent}: the next"
            " start creates a new CA",
        )
    return found


def _damaged(certificate: Path, reason: str) -> DataDirError:
    return DataDirError(
        f"the CA in {certificate.parent} is damaged: {reason}",
        hint=f"remove the folder {certificate.parent}; the next start creates a new CA",
    )


def _read_chain(data_dir: DataDir, ca: Certificate, now: datetime) -> bytes:
    """Return the certificate from the replaced CA, or nothing if there is none for this CA and time."""
    try:
        pem = data_dir.replaced_ca_chain.read_bytes()
        certificate = x509.load_pem_x509_certificate(pem)
    except (OSError, ValueError):
        return b""
    is_valid = now < certificate.not_valid_after_utc
    return pem if is_valid and certificate.public_key() == ca.public_key() else b""


def build(
    data_dir: DataDir, now: datetime, constraints: x509.NameConstraints | None = None
) -> InstanceCA:
    """Return a new CA, which is not stored."""
    key = ec.generate_private_key(ec.SECP256R1())
    # The suffix makes the name unique: clients find a CA by its name, and a folder may get a second CA.
    suffix = hashlib.sha256(_spki(key)).hexdigest()[:8]
    certificate = build_certificate(
        subject=build_name(f"{_CA_NAME}{data_dir.id}-{suffix}", "podpass"),
        key=key,
        validity=(now - _BACKDATE, now + timedelta(days=_CA_DAYS)),
        extensions=_ca_extensions(key, constraints or _name_constraints(SERVER_NAMES)),
    )
    return InstanceCA(certificate, key)


def cross_sign(new: InstanceCA, old: InstanceCA, now: datetime) -> bytes:
    """Return the PEM of the new CA, signed by the old one."""
    extensions = [
        (x509.BasicConstraints(ca=True, path_length=0), True)
        if isinstance(each.value, x509.BasicConstraints)
        else (each.value, each.critical)
        for each in new.certificate.extensions
    ]
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(old.key.public_key())
    certificate = build_certificate(
        subject=new.certificate.subject,
        key=new.key,
        validity=(now - _BACKDATE, old.certificate.not_valid_after_utc),
        extensions=(*extensions, (issuer_key, False)),
        issuer=old.certificate.subject,
        signing_key=old.key,
    )
    return encode_pem(certificate)


def store(data_dir: DataDir, ca: InstanceCA) -> None:
    """Write the key and the certificate of a CA."""
    write_private(data_dir.path("ca", "ca.key"), encode_key(ca.key))
    write_private(data_dir.ca_file, encode_pem(ca.certificate))


def _create(data_dir: DataDir, now: datetime, constraints: x509.NameConstraints) -> InstanceCA:
    made = build(data_dir, now, constraints)
    # After a crash in between there is no certificate, and the next start creates a CA. A certificate without
    # its key, also an earlier one, would be reported as damaged.
    data_dir.ca_file.unlink(missing_ok=True)
    sync_folder(data_dir.ca_file.parent)
    store(data_dir, made)
    subject = made.certificate.subject.rfc4514_string()
    _log.info("certificate_authority_created", extra={"subject": subject})
    return made


def _ca_extensions(key: PrivateKey, constraints: x509.NameConstraints) -> tuple[Extension, ...]:
    return (
        subject_key_id(key),
        basic_constraints(ca=True, path_length=_PATH_LENGTH),
        key_usage(key_cert_sign=True, crl_sign=True),
        (constraints, True),
    )


def _issue(
    data_dir: DataDir,
    file: str,
    ca: InstanceCA,
    now: datetime,
    subject: x509.Name,
    extensions: Sequence[Extension],
    *,
    chain: bytes = b"",
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = build_certificate(
        subject=subject,
        key=key,
        validity=(now - _BACKDATE, now + timedelta(days=_LEAF_DAYS)),
        extensions=(
            subject_key_id(key),
            basic_constraints(ca=False),
            key_usage(digital_signature=True),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), False),
            *extensions,
        ),
        issuer=ca.certificate.subject,
        signing_key=ca.key,
    )
    write_private_pair(
        (data_dir.key(file), encode_key(key)),
        (data_dir.certificate(file), encode_pem(certificate) + chain),
    )


def _is_usable(
    data_dir: DataDir,
    file: str,
    ca: InstanceCA,
    now: datetime,
    names: x509.SubjectAlternativeName | None = None,
) -> bool:
    """Return whether a stored certificate is signed by this CA, has all names and does not expire soon."""
    try:
        certificate = x509.load_pem_x509_certificate(data_dir.certificate(file).read_bytes())
        certificate.verify_directly_issued_by(ca.certificate)
        pem = data_dir.key(file).read_bytes()
        key = parse_key(pem)
        if key.public_key() != certificate.public_key() or encode_key(key) != pem:
            return False
        if names is not None and not _has_extension(certificate, names):
            return False
    except Exception:  # noqa: BLE001 whatever the damage is, the certificate is issued again
        return False
    renew_after = certificate.not_valid_after_utc - timedelta(days=_RENEW_DAYS)
    return certificate.not_valid_before_utc <= now < renew_after


def _usage(*, client: bool) -> Extension:
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
    return x509.ExtendedKeyUsage([purpose]), False


def _has_extension(certificate: Certificate, wanted: x509.ExtensionType) -> bool:
    return any(extension.value == wanted for extension in certificate.extensions)


def _name_constraints(hosts: Sequence[str]) -> x509.NameConstraints:
    """Return the names that the CA may sign: these hosts and what is below them, and loopback addresses."""
    domains = dict.fromkeys(host.removeprefix("*.") for host in (*hosts, ETCD_CLIENT_NAME))
    networks = [x509.IPAddress(ipaddress.ip_network(network)) for network in _LOOPBACK]
    return x509.NameConstraints([*map(x509.DNSName, domains), *networks], excluded_subtrees=None)


def _spki(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _load_key(path: Path) -> PrivateKey:
    return parse_key(path.read_bytes())


def parse_key(pem: bytes) -> PrivateKey:
    """Parse a private key. Raises ValueError, TypeError."""
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not an EC private key")
    return key
