"""Read the documents of an issuer from its URL, as a verifier does."""

from podpass.assertion.publishing.status import PublicDocuments
from podpass.crypto.jose import DISCOVERY_PATH
from podpass.http.fetcher import Fetcher
from podpass.kubernetes.service_account.discovery import issuer_base


async def read(fetcher: Fetcher, issuer: str) -> PublicDocuments:
    """Fetch both documents. Raises FetchError."""
    discovery = await fetcher.get_json(issuer_base(issuer) + DISCOVERY_PATH)
    jwks = await fetcher.get_json(str(discovery.get("jwks_uri", "")))
    return PublicDocuments(discovery=discovery, jwks=jwks)
