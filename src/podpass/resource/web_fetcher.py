"""Fetch the authority's keys for the guard of an API: over HTTPS, through the proxy in the environment.

The URL is a setting of the API's owner, so every address is allowed; the size of the response is limited, and
redirects are not followed. `podpass.http.fetcher` is for URLs that a caller chooses.
"""

import asyncio
import ssl
from typing import Any

from podpass.crypto import jose
from podpass.http.fetcher import FetchError

_MAX_BYTES = 256 * 1024
_SECONDS = 5.0


class WebFetcher:
    """Fetches JSON objects with the proxy and the certificate store of the process."""

    async def get_json(self, url: str) -> dict[str, Any]:
        """Fetch one JSON object. Raises FetchError."""
        try:
            async with asyncio.timeout(_SECONDS):
                body = await _read(url)
            return jose.loads_object(body)
        except TimeoutError as exc:
            raise FetchError("the response took too long", reason="timeout") from exc
        except jose.MalformedToken as exc:
            raise FetchError("the response is not a JSON object", reason="not_json") from exc


async def _read(url: str) -> bytes:
    import aiohttp  # imported late, because it costs 0.1 s

    if not url.startswith("https://"):
        raise FetchError("the URL must have the scheme https", reason="url")
    # A new context for each hourly fetch, because the certificate store may have changed.
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context())
    try:
        async with (
            aiohttp.ClientSession(connector=connector, trust_env=True) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise FetchError("the status of the response is not 200", reason="status")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > _MAX_BYTES:
                    raise FetchError("the response is too large", reason="too_large")
            return bytes(body)
    except (aiohttp.ClientError, OSError, ValueError) as exc:
        raise FetchError(
            "the URL cannot be fetched", reason="unreachable", cause=type(exc).__name__
        ) from exc
