"""Trust stores for programs: the instance's authority beside the public ones they trusted before.

With a proxy in front, a program still meets public hosts, so a store that holds our authority alone would
break them. Written for each family: one PEM bundle, a hashed folder, a Java trust store.
"""

import hashlib
import os
import re
import ssl
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from podpass.files import write_private
from podpass.local.datadir import DataDir
from podpass.local.environment import TRUSTSTORE_PASSWORD

_PEM = re.compile(
    rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----[^-]+-----END (?:TRUSTED )?CERTIFICATE-----"
)
_MARK = b"# podpass: the instance's own authority\n"
# Variables through which a user, often a company, has named other authorities.
_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
_USUAL = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def public_sources(environ: Mapping[str, str]) -> list[Path]:
    """Find the files of public authorities: those the environment names, else the system's.

    A bundle of another podpass instance is left out: it would make that instance trusted here.
    """
    named = [Path(environ[name]) for name in _VARIABLES if environ.get(name)]
    found = [path for path in dict.fromkeys(named) if path.is_file() and not _is_ours(path)]
    if any(environ.get(name) and Path(environ[name]) in found for name in _VARIABLES[:3]):
        return found
    default = ssl.get_default_verify_paths().openssl_cafile
    usual = [path for name in (default, *_USUAL) if (path := Path(name)).is_file()]
    return [*usual[:1], *found]


def _is_ours(path: Path) -> bool:
    if (path.parent / "ca.key").exists():
        return True
    with path.open("rb") as file:
        return file.read(len(_MARK)) == _MARK


def write_stores(data_dir: DataDir, environ: Mapping[str, str]) -> None:
    """Write bundle, hashed folder and Java trust store, where they differ from what is there."""
    own = data_dir.ca_file.read_bytes()
    blocks = dict.fromkeys([own.strip()])
    for source in public_sources(environ):
        blocks |= dict.fromkeys(_PEM.findall(source.read_bytes()))
    bundle = _MARK + b"\n".join(blocks) + b"\n"
    _write_folder(data_dir.certs, own)
    if (
        data_dir.truststore.exists()
        and data_dir.bundle.exists()
        and (data_dir.bundle.read_bytes() == bundle)
    ):
        return
    write_private(data_dir.truststore, java_truststore(blocks))
    write_private(data_dir.bundle, bundle)


def java_truststore(blocks: Iterable[bytes]) -> bytes:
    """Pack certificates as a PKCS#12 trust store.

    Shapes:  Java takes an entry for trusted only with its own attribute on it, which is what the
             serializer adds; aliases must differ.
    """
    entries = []
    with warnings.catch_warnings():
        # Old roots have serial numbers that today's rules would refuse; that is not our affair.
        warnings.simplefilter("ignore")
        for number, block in enumerate(blocks):
            try:
                certificate = x509.load_pem_x509_certificate(block)
            except ValueError:
                continue  # one odd certificate of the system does not cost us the rest
            entries.append(pkcs12.PKCS12Certificate(certificate, f"podpass-{number}".encode()))
    return pkcs12.serialize_java_truststore(
        entries, serialization.BestAvailableEncryption(TRUSTSTORE_PASSWORD.encode())
    )


def _write_folder(folder: Path, own: bytes) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    name = f"{subject_hash(x509.load_pem_x509_certificate(own)):08x}.0"
    wanted = {"podpass.pem": own, name: own}
    for entry in os.scandir(folder):
        if entry.name not in wanted:
            Path(entry.path).unlink()
    for file, content in wanted.items():
        path = folder / file
        if not path.exists() or path.read_bytes() != content:
            write_private(path, content)


def subject_hash(certificate: x509.Certificate) -> int:
    """Compute the name under which OpenSSL looks a certificate up in a folder.

    Source:  OpenSSL x509_name_canon: each attribute as UTF8String, lower case, spaces folded, without
             the outer SEQUENCE; the first four bytes of its SHA-1, little end first.
    """
    canonical = b""
    for rdn in certificate.subject.rdns:
        for attribute in rdn:
            text = " ".join(str(attribute.value).lower().split()).encode()
            oid = _oid(attribute.oid.dotted_string)
            canonical += _der(0x31, _der(0x30, _der(0x06, oid) + _der(0x0C, text)))
    digest = hashlib.sha1(canonical, usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "little")


def _der(tag: int, content: bytes) -> bytes:
    assert len(content) < 128, "our own subject is short"
    return bytes([tag, len(content)]) + content


def _oid(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    assert all(part < 128 for part in rest), "attributes of a name are 2.5.4.x"
    return bytes([first * 40 + second, *rest])
