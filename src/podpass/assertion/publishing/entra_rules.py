"""What Entra requires of an issuer and of its keys; pure."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from podpass.assertion.publishing import public_key
from podpass.assertion.publishing.documents import MAX_DOCUMENT_BYTES
from podpass.assertion.publishing.model import IssuerKey
from podpass.crypto import jose

_MAX_ISSUER_CHARS = 600


def check_issuer(issuer: str) -> list[str]:
    """Return the problems of an issuer URL."""
    problems = []
    try:
        parts = urlsplit(issuer)
        host, port = parts.hostname, parts.port
    except ValueError:
        return [f"the issuer {issuer!r} is not a URL"]
    if parts.scheme != "https" or not host:
        problems.append(f"the issuer {issuer!r} is not an https URL")
    if parts.query or parts.fragment or "?" in issuer or "#" in issuer or "@" in parts.netloc:
        problems.append(f"the issuer {issuer!r} has a user, a query or a fragment")
    if not issuer.isascii() or not issuer.isprintable() or " " in issuer:
        problems.append(f"the issuer {issuer!r} has characters other than printable ASCII")
    if len(issuer) > _MAX_ISSUER_CHARS:
        problems.append(f"the issuer is longer than {_MAX_ISSUER_CHARS} characters")
    if port is not None and port == 0:
        problems.append(f"the issuer {issuer!r} has the port 0")
    return problems


def check_same_issuer(expected: str, found: str, where: str) -> list[str]:
    """Return a problem if an issuer differs in any byte; Entra compares it with the federated credential."""
    if found == expected:
        return []
    if found.rstrip("/") == expected.rstrip("/"):
        return [f"{where} has the issuer {found!r}: the slash at the end differs from {expected!r}"]
    return [f"{where} has the issuer {found!r}, not {expected!r}"]


def check_keys(keys: Sequence[IssuerKey]) -> list[str]:
    """Return the problems of the keys to publish."""
    problems = []
    for key in keys:
        numbers = public_key.load(key.public_pem).public_numbers()
        try:
            jose.check_rsa_numbers(numbers.n, numbers.e)
        except jose.BadKey as exc:
            problems.append(f"key {key.kid}: {exc.message}")
    if len(keys) > jose.MAX_KEYS:
        problems.append(f"there are {len(keys)} keys; Entra stores {jose.MAX_KEYS}")
    return problems


def check_size(path: str, body: bytes) -> list[str]:
    """Return a problem if a document is larger than verifiers read."""
    if len(body) <= MAX_DOCUMENT_BYTES:
        return []
    return [f"{path} has {len(body)} bytes; verifiers read {MAX_DOCUMENT_BYTES}"]
