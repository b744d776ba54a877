"""Send a flood of bad requests from one address, as a separate process that prints its counts each second.

Kinds: `issuers` (assertions of untrusted issuers), `huge` (assertions and bodies over every limit), `clients`
(unknown client ids), `slow` (connections that send one byte a second), `readers` (pipelined requests whose
responses are not read), `handshakes` (TLS handshakes without a request).
Run: python flood_process.py URL CA_FILE SOURCE KIND RATE
"""

import asyncio
import contextlib
import itertools
import json
import random
import socket
import ssl
import sys
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[2]))

from podpass.crypto import jose
from tests.soak.identities import stable_client_id
from tests.soak.token_client import TokenClient, token_form

KINDS = ("issuers", "huge", "clients", "slow", "readers", "handshakes")
_SLOW = 300
_AT_ONCE = 64


class FloodClient:
    """Sends one kind of flood at a rate."""

    def __init__(self, url: str, ca_file: Path, source: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), parts.port or 443
        self._url, self._ca_file, self._source = url, ca_file, source
        self._tls = ssl.create_default_context(cafile=ca_file)
        self.counts: Counter[str] = Counter()

    async def run(self, kind: str, rate: float) -> None:
        """Send the flood until killed."""
        async with TokenClient(self._url, self._ca_file, source=self._source) as client:
            self._client = client
            once: dict[str, Callable[[int], Awaitable[None]]] = {
                "issuers": self._issuers,
                "huge": self._huge,
                "clients": self._clients,
                "handshakes": self._handshake,
            }
            if kind in ("slow", "readers"):
                seconds = 2 * _SLOW / rate
                one = self._slow if kind == "slow" else lambda: self._read_nothing(seconds)
                await asyncio.gather(self._report_counts(), *(one() for _ in range(_SLOW)))
            await asyncio.gather(self._report_counts(), self._repeat(once[kind], rate))

    async def _report_counts(self) -> None:
        while True:
            await asyncio.sleep(1)
            print(json.dumps(self.counts), flush=True)

    async def _repeat(self, once: Callable[[int], Awaitable[None]], rate: float) -> None:
        loop, free = asyncio.get_running_loop(), asyncio.Semaphore(_AT_ONCE)
        began, tasks = loop.time(), set[asyncio.Task[None]]()

        async def guarded(number: int) -> None:
            async with free:
                with contextlib.suppress(OSError, EOFError):
                    await once(number)

        for number in itertools.count():
            if len(tasks) < 4 * _AT_ONCE:
                task = asyncio.ensure_future(guarded(number))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))

    async def _post(self, fields: dict[str, str]) -> None:
        answer = await self._client.request_token(fields)
        self.counts[str(answer.status)] += 1

    async def _issuers(self, number: int) -> None:
        claims = {"iss": f"https://{uuid.uuid4()}.test/", "sub": "s", "aud": ["a"], "exp": 4e9}
        parts = ({"alg": "RS256", "kid": str(number)}, claims)
        text = ".".join(jose.b64encode(json.dumps(part).encode()) for part in parts)
        await self._post(
            token_form(stable_client_id(number % 20), f"{text}.{jose.b64encode(b's' * 256)}")
        )

    async def _huge(self, number: int) -> None:
        size = 50_000 if number % 2 else 1_000_000
        await self._post(
            token_form(stable_client_id(0), "eyJhbGciOiJSUzI1NiJ9." + "A" * size + ".AAAA")
        )

    async def _clients(self, number: int) -> None:
        del number
        await self._post(token_form(str(uuid.uuid4()), "a.b.c"))

    async def _handshake(self, number: int) -> None:
        del number
        self.counts["tried"] += 1
        _, writer = await asyncio.open_connection(
            self._host, self._port, ssl=self._tls, local_addr=(self._source, 0)
        )
        self.counts["made"] += 1
        writer.transport.abort()

    async def _slow(self) -> None:
        """Send a request byte by byte; connect again when the service closes the connection."""
        request = b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Filler: " + b"x" * 4096
        while True:
            with contextlib.suppress(OSError, EOFError):
                self.counts["opened"] += 1
                _, writer = await asyncio.open_connection(
                    self._host, self._port, ssl=self._tls, local_addr=(self._source, 0)
                )
                for byte in request:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(1)
            await asyncio.sleep(1)

    async def _read_nothing(self, seconds: float) -> None:
        """Send pairs of pipelined requests and read no response; connect again after a disconnect."""
        # All at once would measure how long the pairs of all connections take.
        await asyncio.sleep(random.uniform(0, seconds))
        filler = b"".join(b"x%d: %b\r\n" % (number, b"a" * 120) for number in range(400))
        request = b"GET /common/discovery/v2.0/keys HTTP/1.1\r\nHost: localhost\r\n%b\r\n"
        while True:
            with contextlib.suppress(OSError, EOFError):
                sock = socket.socket()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.setblocking(False)
                sock.bind((self._source, 0))
                await asyncio.get_running_loop().sock_connect(sock, (self._host, self._port))
                _, writer = await asyncio.open_connection(
                    sock=sock, ssl=self._tls, server_hostname="localhost"
                )
                self.counts["opened"] += 1
                cast("asyncio.Transport", writer.transport).pause_reading()
                # Pairs of small requests until the responses fill all buffers, then large ones.
                for number in itertools.count():
                    writer.write(request % (filler if number > 200 else b"") * 2)
                    await writer.drain()
                    await asyncio.sleep(seconds)
            await asyncio.sleep(1)


if __name__ == "__main__":
    _url, _ca_file, _source, _kind, _rate = sys.argv[1:]
    asyncio.run(FloodClient(_url, Path(_ca_file), _source).run(_kind, float(_rate)))
