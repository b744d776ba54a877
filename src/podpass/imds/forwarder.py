"""Forward requests for other paths to the metadata service of the machine, as the reference does.

An instance on a laptop turns this off: its machine may be a virtual machine of the real Azure.
"""

import asyncio
from collections.abc import Iterable

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from podpass.http.reply import Reply
from podpass.imds.limited_read import read_limited
from podpass.imds.responses import text_error

ADDRESS = "http://169.254.169.254:80"
MAX_BODY_BYTES = 1024 * 1024
_SECONDS = 10.0
# Headers of one connection, and those that depend on the connection of the other side.
_HOP_HEADERS = frozenset(
    (
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"),
        *("upgrade", "host", "content-length"),
    )
)
# aiohttp adds these. With its Accept-Encoding, a program that cannot decompress would get compressed bodies.
_ADDED_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")

HeaderPairs = Iterable[tuple[bytes, bytes]]


class Forwarder:
    """Sends requests to the metadata service directly, without a proxy of the environment."""

    def __init__(self, address: str = ADDRESS, *, is_enabled: bool = True) -> None:
        self._address, self._is_enabled = address, is_enabled
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def forward(self, method: str, target: str, headers: HeaderPairs, body: bytes) -> Reply:
        """Forward one request; a failure becomes an error response."""
        if not self._is_enabled:
            return text_error(404, "this sidecar answers token requests only")
        if not target.startswith("/"):
            # Text in front of the path would become a part of the host name.
            return text_error(400, "the target of the request is not a path")
        if self._session is None:
            # The address is link-local: a proxy would reach the metadata service of another machine.
            self._session = aiohttp.ClientSession(
                trust_env=False, auto_decompress=False, skip_auto_headers=_ADDED_HEADERS
            )
        sent = CIMultiDict(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in headers
        )
        for name in _HOP_HEADERS & {each.lower() for each in sent}:
            del sent[name]
        try:
            async with (
                asyncio.timeout(_SECONDS),
                self._session.request(
                    method,
                    URL(self._address + target, encoded=True),
                    headers=sent,
                    data=body or None,
                    allow_redirects=False,
                ) as response,
            ):
                data = await read_limited(response.content, MAX_BODY_BYTES + 1)
        except TimeoutError:
            return text_error(
                500, f"the metadata service did not answer within {_SECONDS:.0f} seconds"
            )
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            return text_error(500, f"the metadata service cannot be reached: {type(exc).__name__}")
        if len(data) > MAX_BODY_BYTES:
            return text_error(
                500, f"the answer of the metadata service is over {MAX_BODY_BYTES} bytes"
            )
        kept = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in response.headers.items()
            if name.lower() not in _HOP_HEADERS
        ]
        return Reply(response.status, tuple(kept), data)
