"""Build the two public documents of an issuer, and check them before they leave this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from podpass.assertion.publishing import public_key
from podpass.assertion.publishing.model import IssuerError, IssuerKey
from podpass.crypto import jose
from podpass.kubernetes.service_account import discovery
from podpass.kubernetes.service_account.names import JWKS_PATH

DISCOVERY = jose.DISCOVERY_PATH.removeprefix("/")
JWKS = JWKS_PATH.removeprefix("/")
# Most hosts of files serve both types; verifiers accept this one for both documents.
CONTENT_TYPE = "application/json"
MAX_DOCUMENT_BYTES = 64 * 1024
# RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1: the members of a private or symmetric key.
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerDocuments:
    """The documents as bytes."""

    discovery: bytes
    jwks: bytes


def build(issuer: str, keys: Sequence[IssuerKey]) -> IssuerDocuments:
    """Build the documents of an issuer.

    Raises IssuerError if a document would contain more than public keys.
    """
    public = [
        jose.PublicKey(kid=key.kid, algs=frozenset({"RS256"}), key=public_key.load(key.public_pem))
        for key in keys
    ]
    jwks = discovery.jwks_document(public)
    require_public(jwks)
    return IssuerDocuments(discovery=_dump(discovery.discovery_document(issuer)), jwks=_dump(jwks))


def require_public(jwks: Mapping[str, Any]) -> None:
    """Refuse a JWKS with a member of a private key.

    Raises IssuerError, which names the member and not its value.
    """
    for key in jwks["keys"]:
        if private := _PRIVATE_MEMBERS.intersection(key):
            raise IssuerError(
                f"the JWKS would contain a private key: member {min(private)!r}",
                hint="nothing was published; report this as a bug in podpass",
            )


def key_ids(jwks: bytes) -> list[str]:
    """Return the key IDs of a published JWKS. Raises IssuerError if it is not a JWKS."""
    try:
        entries = jose.loads_object(jwks).get("keys")
    except jose.MalformedToken as exc:
        raise _not_a_document(JWKS) from exc
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _not_a_document(JWKS)
    return [str(entry.get("kid", "")) for entry in entries]


def issuer_of(document: bytes) -> str:
    """Return the issuer of a published discovery document.

    Raises IssuerError if it is not a discovery document.
    """
    try:
        issuer = jose.loads_object(document).get("issuer")
    except jose.MalformedToken as exc:
        raise _not_a_document(DISCOVERY) from exc
    if not isinstance(issuer, str):
        raise _not_a_document(DISCOVERY)
    return issuer


def _not_a_document(path: str) -> IssuerError:
    return IssuerError(
        f"the published {path} is not a document of an issuer",
        hint="check the target; `podpass issuer publish --replace` overwrites what is there",
    )


def _dump(document: object) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
