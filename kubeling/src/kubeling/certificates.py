"""The certificate of an API server, and the CA that has signed it. The key of the CA is not stored."""

import contextlib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from kubeling.errors import DamagedFile
from kubeling.files import write_private

if TYPE_CHECKING:
    from cryptography import x509

_VALID_DAYS = 3650
_ADDRESSES = ("127.0.0.1", "::1", "10.96.0.1")
_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """The files of a CA, of the server's certificate and of its key."""

    ca: Path
    certificate: Path
    key: Path


def open_certificates(folder: Path) -> CertificateFiles:
    """Return the certificate files of a folder; create them if there is no key.

    Raises:
        DamagedFile, OSError
    """
    files = CertificateFiles(folder / "ca.crt", folder / "tls.crt", folder / "tls.key")
    # The key is written last: if it exists, the other files are complete.
    if not files.key.exists():
        _create(files)
        return files
    # Otherwise the server would start, and every client would refuse its certificate.
    file = files.ca
    try:
        client = ssl.create_default_context(cafile=files.ca)
        file = files.certificate
        ssl.create_default_context(cafile=files.certificate)
        file = files.key
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(files.certificate, files.key)
        file = files.ca
        _handshake(client, server)
    except OSError as exc:
        cause = getattr(exc, "verify_message", "") or "it is missing or damaged"
        raise DamagedFile(
            f"{file} cannot be used: {cause}",
            hint=f"remove {files.key} to create a new CA and a new certificate",
        ) from exc
    return files


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Connect a client and a server in memory. Raises SSLError: the client refuses the certificate."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(down, up, server_hostname="localhost"),
        server.wrap_bio(up, down, server_side=True),
    )
    for _ in range(2):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()


def _create(files: CertificateFiles) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    # RSA keys would take most of the time of a start.
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = _name("kubeling")
    identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        _builder(ca_name, ca_name)
        .public_key(ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_ca=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    names = [
        *(x509.DNSName(name) for name in _NAMES),
        *(x509.IPAddress(ip_address(address)) for address in _ADDRESSES),
    ]
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    leaf = (
        _builder(_name("kube-apiserver"), ca_name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(authority, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    files.ca.write_bytes(ca.public_bytes(pem))
    files.certificate.write_bytes(leaf.public_bytes(pem))
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    write_private(files.key, key.private_bytes(pem, pkcs8, plain))


def _name(common_name: str) -> "x509.Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: "x509.Name", issuer: "x509.Name") -> "x509.CertificateBuilder":
    from cryptography import x509

    # The clocks of containers and virtual machines differ by some minutes.
    begin = datetime.now(UTC) - timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=_VALID_DAYS))
    )


def _key_usage(*, is_ca: bool) -> "x509.KeyUsage":
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
