"""Build the CA bundles that containers read: the public roots and the CA of the cloud together. Pure.

Most variables replace the default roots of a client, so every form but `ca.crt` has the public roots, too.
The forms are files of one folder: PEM, names by which OpenSSL finds a certificate, and a trust store for
Java. The same input always gives the same bytes.
"""

import hashlib
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from podpass.crypto.x509 import encode_der, encode_pem, subject_hash
from podpass.errors import Error

BUNDLE, CA, TRUST_STORE = "ca-certificates.crt", "ca.crt", "truststore.p12"
# The API server stores at most 1 MiB in a ConfigMap, names of the keys included.
MAX_BYTES = 1024 * 1024
_PEM = re.compile(
    rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----[^-]+-----END (?:TRUSTED )?CERTIFICATE-----"
)


class BadBundle(Error):
    """The certificates do not make a usable bundle."""

    code = "bad_trust_bundle"
    hint = "give a PEM file with the public root certificates, such as Debian's ca-certificates.crt"


@dataclass(frozen=True, slots=True)
class _Root:
    certificate: x509.Certificate
    pem: bytes


def build(public_roots: bytes, ca: bytes) -> dict[str, bytes]:
    """Build the files of the bundle by name, as the data of a ConfigMap.

    Both arguments are PEM; a public root that cannot be parsed is left out. Raises BadBundle if one of them
    has no certificate, or if the files are too large together.
    """
    own, public = _parse(ca), _parse(public_roots)
    if not own or not public:
        raise BadBundle(f"the {'public roots' if own else 'CA'} have no certificate in PEM")
    # The own CA is first: some clients stop at the first certificate that matches.
    roots = list({root.pem: root for root in (*own, *public)}.values())
    files = {
        BUNDLE: b"".join(root.pem for root in roots),
        CA: b"".join(root.pem for root in own),
        TRUST_STORE: _build_trust_store(roots),
        **_name_by_hash(roots),
    }
    size = measure(files)
    if size > MAX_BYTES:
        raise BadBundle(
            f"the bundle of {len(roots)} certificates has {size} bytes; a ConfigMap stores {MAX_BYTES}",
            hint="give fewer public root certificates",
        )
    return files


def measure(files: Mapping[str, bytes]) -> int:
    """Return the size of files as the API server counts that of a ConfigMap."""
    return sum(len(name) + len(content) for name, content in files.items())


def fingerprint(files: Mapping[str, bytes]) -> str:
    """Return a short digest of the files, which differs for each bundle."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:32]


def _parse(pem: bytes) -> list[_Root]:
    roots = []
    with warnings.catch_warnings():
        # Some old root certificates have serial numbers that cryptography warns about.
        warnings.simplefilter("ignore")
        for block in _PEM.findall(pem):
            try:
                certificate = x509.load_pem_x509_certificate(block)
                # Reading the names finds certificates that later steps could not read.
                assert certificate.subject is not None
            except ValueError:
                continue
            roots.append(_Root(certificate, encode_pem(certificate)))
    return roots


def _build_trust_store(roots: Iterable[_Root]) -> bytes:
    """Return a PKCS#12 store; Java reads it with any password or none, and also as type JKS.

    It is not encrypted, because certificates are public: so the bytes depend on nothing random, and no
    program derives a key at its start. The serializer adds the attribute without which Java trusts no entry.
    """
    entries = [
        pkcs12.PKCS12Certificate(root.certificate, f"podpass-{number}".encode())
        for number, root in enumerate(roots)
    ]
    return _drop_mac(pkcs12.serialize_java_truststore(entries, serialization.NoEncryption()))


def _drop_mac(store: bytes) -> bytes:
    """Return a PKCS#12 store without its MAC: version and content only (RFC 7292, 4).

    The MAC has a random salt. Its password is empty, so Java would accept no other password.
    """
    start, _ = _read_der(store, 0)
    _, version_end = _read_der(store, start)
    _, content_end = _read_der(store, version_end)
    return encode_der(0x30, store[start:content_end])


def _read_der(data: bytes, position: int) -> tuple[int, int]:
    """Return where the content of a DER value begins and where it ends."""
    first, start = data[position + 1], position + 2
    if first < 0x80:
        return start, start + first
    count = first & 0x7F
    return start + count, start + count + int.from_bytes(data[start : start + count], "big")


def _name_by_hash(roots: Iterable[_Root]) -> dict[str, bytes]:
    """Return the certificates by OpenSSL's names: the hash of the subject, and a number for equal hashes."""
    files: dict[str, bytes] = {}
    for root in roots:
        number, name = 0, f"{subject_hash(root.certificate):08x}"
        while f"{name}.{number}" in files:
            number += 1
        files[f"{name}.{number}"] = root.pem
    return files
