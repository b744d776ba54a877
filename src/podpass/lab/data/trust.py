"""Trust stores for clients: the CA of the instance and the public CAs.

Clients also connect to public hosts through the gateway, so a store with only the instance's CA would break
these connections. There are three forms: a PEM bundle, a folder with hashed names, a Java trust store.
"""

import os
import re
import ssl
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from podpass.crypto.x509 import subject_hash
from podpass.files import write_private
from podpass.lab.data.datadir import DataDir
from podpass.lab.data.environment import TRUSTSTORE_PASSWORD

_PEM = re.compile(
    rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----[^-]+-----END (?:TRUSTED )?CERTIFICATE-----"
)
_BUNDLE_HEADER = b"# podpass: the CA of an instance\n"
# Variables with which a user or a company configures other CAs.
_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def public_ca_files(environ: Mapping[str, str]) -> list[Path]:
    """Return the files of public CAs: those of the environment variables, else the system's.

    A bundle of another podpass instance is skipped, so that clients do not trust that instance.
    """
    configured = [Path(environ[name]) for name in _VARIABLES if environ.get(name)]
    found = [
        path
        for path in dict.fromkeys(configured)
        if path.is_file() and not _is_podpass_bundle(path)
    ]
    if any(environ.get(name) and Path(environ[name]) in found for name in _VARIABLES[:3]):
        return found
    default = ssl.get_default_verify_paths().openssl_cafile
    system = [path for name in (default, *_SYSTEM_BUNDLES) if (path := Path(name)).is_file()]
    return [*system[:1], *found]


def _is_podpass_bundle(path: Path) -> bool:
    if (path.parent / "ca.key").exists():
        return True
    with path.open("rb") as file:
        return file.read(len(_BUNDLE_HEADER)) == _BUNDLE_HEADER


def write_stores(data_dir: DataDir, environ: Mapping[str, str]) -> None:
    """Write the bundle, the hashed folder and the Java trust store, if their content has changed."""
    own = data_dir.ca_file.read_bytes()
    blocks = dict.fromkeys([own.strip()])
    for source in public_ca_files(environ):
        blocks |= dict.fromkeys(_PEM.findall(source.read_bytes()))
    bundle = _BUNDLE_HEADER + b"\n".join(blocks) + b"\n"
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
    """Return a PKCS#12 trust store with the certificates.

    Java trusts an entry only with Java's own attribute, which the serializer adds. Aliases must be unique.
    """
    entries = []
    with warnings.catch_warnings():
        # Some old root certificates have serial numbers that cryptography warns about.
        warnings.simplefilter("ignore")
        for number, block in enumerate(blocks):
            try:
                certificate = x509.load_pem_x509_certificate(block)
            except ValueError:
                continue  # skip a system certificate that cannot be parsed
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
