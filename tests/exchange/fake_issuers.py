"""A fake web of issuers' documents, for tests that set the clock."""

import asyncio
from typing import Any

from podpass.crypto import jose
from podpass.http.fetcher import FetchError
from tests import rsa_keys

ISSUER = "https://oidc.test/x/"
JWKS = "https://oidc.test/x/openid/v1/jwks"
KEY = jose.rsa_jwk(rsa_keys.KEY.public_key(), "first")


class FakeIssuers:
    """Documents by URL, a record of the requests, and a clock.

    `gates` block requests by URL prefix; `in_flight` and `most` count concurrent requests.
    """

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.add(ISSUER)
        self.asked: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.down = False
        self.now = 1000.0
        self.in_flight = self.most = 0

    def clock(self) -> float:
        return self.now

    def add(self, issuer: str, *keys: Any) -> None:
        jwks = f"{issuer}openid/v1/jwks"
        document = {"issuer": issuer, "jwks_uri": jwks}
        self.documents[f"{issuer}.well-known/openid-configuration"] = document
        self.documents[jwks] = {"keys": [*(keys or [KEY])]}

    def hold(self, prefix: str = "") -> asyncio.Event:
        gate = self.gates[prefix] = asyncio.Event()
        return gate

    @property
    def fetches(self) -> int:
        return sum(url.endswith("openid-configuration") for url in self.asked)

    async def get_json(self, url: str) -> dict[str, Any]:
        self.asked.append(url)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            for prefix, gate in self.gates.items():
                if url.startswith(prefix):
                    await gate.wait()
        finally:
            self.in_flight -= 1
        if self.down or url not in self.documents:
            raise FetchError("no answer", reason="unreachable")
        return dict(self.documents[url])


async def settle() -> None:
    """Wait until the background tasks are done."""
    for _ in range(10):
        await asyncio.sleep(0)
