"""Fetch the documents of named issuers from the places that the user has named, and all others elsewhere.

What an entry allows, it allows for its own issuer alone: every user who can create a federated credential
chooses the issuers that the token service connects to.
"""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from podpass import files
from podpass.crypto import jose
from podpass.errors import SettingsError
from podpass.exchange.client_auth.issuer_discovery import ClusterIssuer, JsonFetcher
from podpass.http.fetcher import Fetcher, FetchError, FetchRules
from podpass.kubernetes.service_account.names import JWKS_PATH
from podpass.lab.issuers.registry import IssuerRegistry, NamedIssuer

_MAX_BYTES = 64 * 1024


class NamedIssuerFetcher:
    """Fetches the documents of the issuers of a registry itself, and all others by another fetcher."""

    def __init__(self, registry: IssuerRegistry, others: JsonFetcher) -> None:
        self._registry = registry
        self._others = others

    async def get_json(self, url: str) -> dict[str, Any]:
        """Fetch one JSON object. Raises FetchError."""
        issuer = self._find(url)
        if issuer is None:
            return await self._others.get_json(url)
        path = url.removeprefix(issuer.url.removesuffix("/"))
        if issuer.folder:
            return _read_document(Path(issuer.folder), path)
        if not issuer.server:
            return await create_fetcher(issuer).get_json(url)
        document = await create_fetcher(issuer).get_json(issuer.server + path)
        if path == JWKS_PATH:
            return document
        # An API server names its own address there, whatever the issuer is.
        return {**document, "jwks_uri": issuer.url.removesuffix("/") + JWKS_PATH}

    def _find(self, url: str) -> NamedIssuer | None:
        """Return the issuer to whose documents a URL belongs.

        The keys of an issuer may be on any path of its origin. A discovery document on another path of the
        origin belongs to another issuer: a user who creates a credential can choose that path.
        """
        issuers = self._registry.issuers.values()
        if url.endswith(jose.DISCOVERY_PATH):
            return next((each for each in issuers if _document_url(each) == url), None)
        below = [each for each in issuers if url.startswith(each.url.removesuffix("/") + "/")]
        if below:
            return max(below, key=lambda each: len(each.url))
        return next(
            (
                each
                for each in issuers
                if not each.server and not each.folder and _origin(each.url) == _origin(url)
            ),
            None,
        )


def create_fetcher(issuer: NamedIssuer) -> Fetcher:
    """Create the fetcher for the documents of one issuer. Raises FetchError if a file cannot be read."""
    ca_file = Path(issuer.ca_file) if issuer.ca_file else None
    if not issuer.server:
        rules = FetchRules(private=issuer.addresses, private_ca_file=ca_file)
    else:
        cluster = ClusterIssuer(issuer=issuer.url, server=issuer.server, ca_file=ca_file)
        rules = FetchRules(private=issuer.addresses, trusted=cluster.trusted)
    try:
        return Fetcher(rules)
    except SettingsError as exc:
        raise FetchError(exc.message, reason="ca_file") from exc


def _read_document(folder: Path, path: str) -> dict[str, Any]:
    """Read a document of a folder, in which it has the path that it has below the issuer.

    `jwks_uri` is a text of the document, so a path that leaves the folder is refused.
    """
    file = (folder / path.removeprefix("/")).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise FetchError("the document is outside the folder of its issuer", reason="url")
    try:
        return jose.loads_object(files.read_regular(file, _MAX_BYTES))
    except OSError as exc:
        raise FetchError("the file of the document cannot be read", reason="status") from exc
    except jose.MalformedToken as exc:
        raise FetchError("the file is not a JSON object", reason="not_json") from exc


def _document_url(issuer: NamedIssuer) -> str:
    return issuer.url.removesuffix("/") + jose.DISCOVERY_PATH


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()
