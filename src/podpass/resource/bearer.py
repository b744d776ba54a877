"""How an API of one's own reads the authority's keys: HTTPS, through the proxy the environment names.

The address is the owner's own setting, so it may lead anywhere the owner's other clients go; what comes
back is bounded all the same, and redirects are not followed. `podpass.http.fetcher` is for addresses that
strangers choose.
"""

import asyncio
import ssl
from typing import Any

from podpass.crypto import jose
from podpass.http.fetcher import FetchError

_MAX_BYTES = 256 * 1024
_SECONDS = 5.0


class WebFetcher:
    """Fetch JSON objects as the process's own clients would: its proxy, its certificate store."""

    async def get_json(self, url: str) -> dict[str, Any]:
        """Fetch one JSON object.

        Errors:  FetchError.
        """
        try:
            async with asyncio.timeout(_SECONDS):
                body = await _read(url)
            return jose.loads_object(body)
        except TimeoutError as exc:
            raise FetchError("the answer took too long", reason="timeout") from exc
        except jose.MalformedToken as exc:
            raise FetchError("the answer is no JSON object", reason="not_json") from exc


async def _read(url: str) -> bytes:
    import aiohttp  # late, as in podpass.http.fetcher: a tenth of a second

    if not url.startswith("https://"):
        raise FetchError("want a URL with https", reason="url")
    # Made anew each time, once an hour: the store may have changed, and aiohttp's own dates from its import.
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context())
    try:
        async with (
            aiohttp.ClientSession(connector=connector, trust_env=True) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise FetchError("the answer is not 200", reason="status")
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > _MAX_BYTES:
                    raise FetchError("the answer is too large", reason="too_large")
            return bytes(body)
    except (aiohttp.ClientError, OSError, ValueError) as exc:
        raise FetchError(
            "the address cannot be read", reason="unreachable", cause=type(exc).__name__
        ) from exc
