"""OIDC discovery of an issuer: read its discovery document, then its keys by key ID.

The document must name this issuer, byte for byte, and a JWKS on an origin where an issuer may publish keys.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from podpass.crypto import jose
from podpass.crypto.key_cache import KeysById
from podpass.errors import Error
from podpass.http.fetcher import TrustedUrls
from podpass.kubernetes.service_account.names import JWKS_PATH

# Two keys of one ID are legal (an RSA key and an EC key). With a hundred, each token would cost a hundred
# verifications.
MAX_KEYS_PER_ID = 3


class JsonFetcher(Protocol):
    """Fetches JSON objects from addresses that are not trusted."""

    async def get_json(self, url: str) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterIssuer:
    """The issuer of a cluster whose API server serves both documents, at fixed paths.

    `issuer` is the exact `iss` of its tokens. `server` is the origin of the API server, or empty if it is the
    issuer's own origin.
    """

    issuer: str
    server: str = ""
    ca_file: Path | None = None
    token_file: Path | None = None

    @property
    def document_url(self) -> str:
        return self._origin + jose.DISCOVERY_PATH

    @property
    def jwks_url(self) -> str:
        return self._origin + JWKS_PATH

    @property
    def trusted(self) -> TrustedUrls:
        """Return the rules for a fetch of both documents; the token is sent only to these URLs."""
        urls = frozenset((self.document_url, self.jwks_url))
        return TrustedUrls(urls=urls, ca_file=self.ca_file, token_file=self.token_file)

    @property
    def _origin(self) -> str:
        return self.server or _origin(self.issuer)


class IssuerUnavailable(Error):
    """An issuer's keys cannot be fetched, or its documents are not valid; `reason` is a stable slug."""

    code = "issuer_unavailable"
    status = 502


async def fetch_keys(
    fetcher: JsonFetcher,
    issuer: str,
    jwks_origins: Sequence[str],
    cluster: ClusterIssuer | None = None,
) -> KeysById:
    """Fetch an issuer's keys by OIDC discovery.

    By default an API server names its own node's address in `jwks_uri`, whatever the issuer is. The keys of
    `cluster` therefore come from the fixed path, and its `jwks_uri` is not used.

    Raises IssuerUnavailable for documents that are not valid; the errors of the fetcher.
    """
    if cluster is not None and issuer == cluster.issuer:
        check_issuer(await fetcher.get_json(cluster.document_url), issuer)
        jwks_uri = cluster.jwks_url
    else:
        document = await fetcher.get_json(issuer.removesuffix("/") + jose.DISCOVERY_PATH)
        check_document(document, issuer, jwks_origins)
        jwks_uri = document["jwks_uri"]
    keys: dict[str, list[jose.PublicKey]] = {}
    for key in jose.load_jwks(await fetcher.get_json(jwks_uri)):
        if key.kid is not None:
            keys.setdefault(key.kid, []).append(key)
    if any(len(same_id) > MAX_KEYS_PER_ID for same_id in keys.values()):
        raise IssuerUnavailable(
            f"the JWKS has more than {MAX_KEYS_PER_ID} keys with one kid", reason="too_many_keys"
        )
    return keys


def check_issuer(document: Mapping[str, Any], issuer: str) -> None:
    """Check that a discovery document names this issuer. Raises IssuerUnavailable."""
    if document.get("issuer") != issuer:
        raise IssuerUnavailable("the document names another issuer", reason="issuer_mismatch")


def check_document(document: Mapping[str, Any], issuer: str, jwks_origins: Sequence[str]) -> None:
    """Check that a discovery document names this issuer and a JWKS on an allowed origin.

    Entra rejects a document with an empty authorization_endpoint or an empty list of subject types, so this
    service rejects it too: an issuer that works here works with Entra.

    Raises IssuerUnavailable.
    """
    check_issuer(document, issuer)
    jwks_uri = document.get("jwks_uri")
    if not isinstance(jwks_uri, str):
        raise IssuerUnavailable("the document has no jwks_uri", reason="no_jwks_uri")
    if _origin(jwks_uri) not in (_origin(issuer), *jwks_origins):
        raise IssuerUnavailable(
            "the keys are on another origin than the issuer", reason="jwks_origin"
        )
    if document.get("authorization_endpoint", "-") == "" or (
        document.get("subject_types_supported", "-") == []
    ):
        raise IssuerUnavailable(
            "the document has an empty member that may not be empty", reason="empty_member"
        )


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}" + ("" if port == 443 else f":{port}")
