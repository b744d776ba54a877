"""What an issuer publishes, read by discovery: its document, then its keys by key id.

The document must speak for this issuer, byte for byte, and name keys where an issuer may have them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

from podpass.crypto import jose
from podpass.errors import Error

Keys = Mapping[str, Sequence[jose.PublicKey]]


class Source(Protocol):
    """Whatever fetches JSON objects from addresses that others chose."""

    async def get_json(self, url: str) -> dict[str, Any]: ...


class IssuerDown(Error):
    """An issuer's keys cannot be had, or its documents are unfit; `reason` is a stable slug."""

    code = "issuer_down"
    status = 502


async def fetch_keys(source: Source, issuer: str, jwks_origins: Sequence[str]) -> Keys:
    """Read an issuer's keys by discovery, by key id.

    Errors:  IssuerDown for unfit documents; what the source raises.
    """
    document = await source.get_json(issuer.removesuffix("/") + jose.DISCOVERY_PATH)
    check_document(document, issuer, jwks_origins)
    keys: dict[str, list[jose.PublicKey]] = {}
    for key in jose.load_jwks(await source.get_json(document["jwks_uri"])):
        if key.kid is not None:
            keys.setdefault(key.kid, []).append(key)
    return keys


def check_document(document: Mapping[str, Any], issuer: str, jwks_origins: Sequence[str]) -> None:
    """Check that a discovery document speaks for this issuer and names keys where they may be.

    Errors:  IssuerDown. Entra cannot read documents with an empty authorization_endpoint or an empty list
             of subject types either, so an issuer that works here works there.
    """
    if document.get("issuer") != issuer:
        raise IssuerDown("the document names another issuer", reason="issuer_mismatch")
    where = document.get("jwks_uri")
    if not isinstance(where, str):
        raise IssuerDown("the document names no jwks_uri", reason="no_jwks_uri")
    if _origin(where) not in (_origin(issuer), *jwks_origins):
        raise IssuerDown("the keys are on another origin than the issuer", reason="jwks_origin")
    if document.get("authorization_endpoint", "-") == "" or (
        document.get("subject_types_supported", "-") == []
    ):
        raise IssuerDown(
            "the document has an empty member that may not be empty", reason="empty_member"
        )


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}" + ("" if port == 443 else f":{port}")
