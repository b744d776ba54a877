"""A flood from another address: unknown issuers, huge tokens, clients that never finish a head or never read.

Run: python -m bench.flood PORT CA_FILE; SIGTERM ends it.
"""

import asyncio
import contextlib
import itertools
import ssl
import sys
import time
import uuid
from typing import Any, cast
from urllib.parse import urlencode

import orjson

from bench.token_requests import CLIENT, TENANT, post_request
from podpass import names
from podpass.crypto import jose

ADDRESS = "127.0.0.2"  # all of 127.0.0.0/8 is loopback
SLOW, READERS = 50, 50
PER_SECOND = 400
BYTE_SECONDS = 0.5


def _invalid_request(number: int) -> bytes:
    """Return a request that is refused: of an untrusted issuer, or too long."""
    if number % 4 == 0:
        assertion = "a." + "b" * 40_000 + ".c"
    else:
        claims: dict[str, Any] = {
            "iss": f"https://{number}.example/",
            "sub": "a",
            "aud": [names.EXCHANGE_AUDIENCE],
        }
        claims |= {"iat": int(time.time()), "exp": int(time.time()) + 600}
        parts = ({"alg": "RS256", "kid": str(number)}, claims)
        assertion = ".".join(jose.b64encode(orjson.dumps(part)) for part in parts) + ".AAAA"
    form = {
        "client_assertion": assertion,
        "client_assertion_type": names.JWT_BEARER,
        "client_id": CLIENT,
        "grant_type": "client_credentials",
        "scope": "https://vault.azure.net/.default",
    }
    return post_request(TENANT, urlencode(form).encode(), str(uuid.uuid4()))


async def _flood(port: int, trust: ssl.SSLContext) -> None:
    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(
            "127.0.0.1", port, ssl=trust, server_hostname="localhost", local_addr=(ADDRESS, 0)
        )

    async def send_request(request: bytes) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(5):
                reader, writer = await connect()
                writer.write(request)
                await reader.readline()
                writer.transport.abort()

    async def send_slowly() -> None:
        while True:
            with contextlib.suppress(OSError):
                _, writer = await connect()
                for sign in post_request(TENANT, b"", "slow"):
                    writer.write(b"%c" % sign)
                    await writer.drain()
                    await asyncio.sleep(BYTE_SECONDS)
            await asyncio.sleep(BYTE_SECONDS)

    async def read_nothing() -> None:
        """Send pairs of pipelined requests and read no response."""
        request = post_request(TENANT, b"", "reader") * 2
        while True:
            with contextlib.suppress(OSError):
                _, writer = await connect()
                cast("asyncio.Transport", writer.transport).pause_reading()
                while True:
                    writer.write(request)
                    await writer.drain()
                    await asyncio.sleep(BYTE_SECONDS)
            await asyncio.sleep(BYTE_SECONDS)

    async with asyncio.TaskGroup() as group:
        for _ in range(READERS):
            group.create_task(read_nothing())
        for _ in range(SLOW):
            group.create_task(send_slowly())
        for number in itertools.count():
            group.create_task(send_request(_invalid_request(number)))
            await asyncio.sleep(1 / PER_SECOND)


def main() -> None:
    """Send the flood until SIGTERM."""
    trust = ssl.create_default_context(cafile=sys.argv[2])
    asyncio.run(_flood(int(sys.argv[1]), trust))


if __name__ == "__main__":
    main()
