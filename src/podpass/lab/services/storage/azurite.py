"""Pass requests on to Azurite, with a shared access signature of the account. Bodies are streamed.

Azurite verifies this signature. The caller's token is never passed on, because Azurite logs headers.
"""

import asyncio
import contextlib
import hashlib
import hmac
import io
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from weakref import WeakValueDictionary

from podpass.clock import Clock
from podpass.crypto.secret import Secret
from podpass.http.request_validation import Headers
from podpass.lab.services.storage.errors import ServerBusy, StorageUnavailable
from podpass.lab.services.storage.model import StorageHost

if TYPE_CHECKING:
    import aiohttp

_VERSION = "2021-12-02"
_SECONDS = 5 * 60
_PERMISSIONS, _SERVICES, _RESOURCE_TYPES = "rwdxylacuptfi", "bqt", "sco"
# The concurrent requests of one caller in one service, and how long a further request waits. All callers
# together have no limit here, because one caller could reach it alone: the server limits its connections.
CALLER_REQUESTS = 32
QUEUE_SECONDS = 5.0
_CONNECT_SECONDS = 5.0
_CLOSE_SECONDS = 1.0
# Between two reads of a response, and until Azurite has taken a part of a body; a slow client is limited by
# the server.
_STALL_SECONDS = 120.0
CHUNK_BYTES = 64 * 1024
# Headers of one connection, and those that podpass sets itself.
_HOP = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"te"),
        *(b"proxy-authorization", b"trailer", b"transfer-encoding", b"upgrade"),
    )
)
_DROPPED = _HOP | {b"host", b"authorization", b"expect", b"x-ms-copy-source-authorization"}


class Azurite:
    """The services of one Azurite, and the keys of its accounts."""

    def __init__(
        self, services: Mapping[str, str], keys: Mapping[str, Secret], clock: Clock
    ) -> None:
        self._services = services
        self._keys = keys
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._slots = WeakValueDictionary[tuple[str, str], asyncio.Semaphore]()

    async def close(self) -> None:
        """Close the connections to Azurite, also those that it does not read."""
        if self._session is not None:
            with contextlib.suppress(TimeoutError):
                # aiohttp waits until sent data is written; a stopped Azurite never reads it.
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._session.close()

    @asynccontextmanager
    async def limit_requests(self, caller: str, service: str) -> AsyncIterator[None]:
        """Limit the concurrent requests of a caller in a service; a request above the limit waits.

        Raises ServerBusy after QUEUE_SECONDS.
        """
        slots = self._slots.setdefault((caller, service), asyncio.Semaphore(CALLER_REQUESTS))
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await slots.acquire()
        except TimeoutError as exc:
            text = f"{caller} has {CALLER_REQUESTS} requests in flight in the {service} service."
            raise ServerBusy(text) from exc
        try:
            yield
        finally:
            slots.release()

    @asynccontextmanager
    async def send(
        self,
        host: StorageHost,
        method: str,
        path: str,
        query: str,
        headers: Headers,
        body: AsyncIterator[bytes] | bytes | None,
    ) -> AsyncIterator["aiohttp.ClientResponse"]:
        """Send a request; the response is open until the context ends. Raises StorageUnavailable."""
        import aiohttp
        from yarl import URL

        signature = self._sign(host.account)
        origin = self._services[host.service]
        url = URL(f"{origin}{path}?{query + '&' if query else ''}{signature}", encoded=True)
        sent = [(name.decode(), _decode(value)) for name, value in forwarded(headers)]
        if body is None or isinstance(body, bytes):
            sent = [pair for pair in sent if pair[0] != "content-length"]
        try:
            async with (
                asyncio.timeout(None) as stall,
                self._open_session().request(
                    method,
                    url,
                    # Azurite reads the account from the host name.
                    headers=[("host", host.name), *sent],
                    data=_prepare_body(body, stall),
                    allow_redirects=False,
                    skip_auto_headers=("accept", "accept-encoding", "user-agent", "content-type"),
                ) as response,
            ):
                yield response
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise StorageUnavailable(
                f"Azurite's {host.service} service does not respond.",
                hint=f"check that Azurite runs at {origin}",
            ) from exc

    def _open_session(self) -> "aiohttp.ClientSession":
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=_CONNECT_SECONDS, sock_read=_STALL_SECONDS
                ),
                read_bufsize=CHUNK_BYTES,
                trust_env=False,
            )
        return self._session

    def _sign(self, account: str) -> str:
        """Return the parameters of a shared access signature.

        Raises StorageUnavailable if the account's key is unknown.
        """
        key = self._keys.get(account)
        if key is None:
            raise StorageUnavailable(
                f"Azurite has no account {account}.",
                hint=f"start Azurite and podpass with AZURITE_ACCOUNTS='{account}:KEY'; in a cluster, add the"
                " account to the seed of `podpass cloud install`",
            )
        expiry = datetime.fromtimestamp(int(self._clock()) + _SECONDS, UTC)
        return account_signature(account, key, f"{expiry:%Y-%m-%dT%H:%M:%SZ}")


def account_signature(account: str, key: Secret, expiry: str) -> str:
    """Return the query parameters of an account's shared access signature with all permissions.

    Source: https://learn.microsoft.com/rest/api/storageservices/create-account-sas
    """
    text = "\n".join(
        (
            *(account, _PERMISSIONS, _SERVICES, _RESOURCE_TYPES, "", expiry),
            *("", "https,http", _VERSION, "", ""),
        )
    )
    signed = hmac.digest(b64decode(key.reveal()), text.encode(), hashlib.sha256)
    return urlencode(
        {
            "sv": _VERSION,
            "ss": _SERVICES,
            "srt": _RESOURCE_TYPES,
            "sp": _PERMISSIONS,
            "se": expiry,
            "spr": "https,http",
            "sig": b64encode(signed).decode(),
        }
    )


def _prepare_body(
    body: AsyncIterator[bytes] | bytes | None, stall: asyncio.Timeout
) -> AsyncIterator[bytes] | io.BytesIO | None:
    if isinstance(body, bytes):
        return io.BytesIO(body)
    return None if body is None else _limit_stall(body, stall)


async def _limit_stall(body: AsyncIterator[bytes], stall: asyncio.Timeout) -> AsyncIterator[bytes]:
    """Return a body in parts; `stall` ends the request if Azurite does not take a part in time.

    aiohttp limits only reads. A stopped Azurite would keep the request and its connection without a limit.
    """
    async for chunk in body:
        stall.reschedule(asyncio.get_running_loop().time() + _STALL_SECONDS)
        yield chunk
        if not stall.expired():
            stall.reschedule(None)


def _decode(value: bytes) -> str:
    """Decode a header value so that aiohttp, which encodes UTF-8, sends the same bytes where possible."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def forwarded(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the request headers that Azurite receives; names in lower case."""
    return without_hops(headers, _DROPPED)


def without_hops(headers: Headers, dropped: frozenset[bytes] = _HOP) -> list[tuple[bytes, bytes]]:
    """Return headers without hop-by-hop headers and without those that `Connection` names."""
    named = {
        option.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for option in value.split(b",")
    }
    excluded = dropped | (named - {b"content-length"})
    return [(name.lower(), value) for name, value in headers if name.lower() not in excluded]
