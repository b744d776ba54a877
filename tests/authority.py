"""A fake authority that publishes keys and signs version 1 access tokens, and a manual clock."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import orjson

from podpass.crypto import jose
from podpass.directory.model import Identity
from podpass.http.server import Receive, Scope, Send, respond

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"


class ManualClock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now


@dataclass
class Authority:
    """An authority that publishes keys and signs version 1 access tokens."""

    clock: ManualClock
    signing: list[jose.SigningKey]
    fetches: int = 0
    down: bool = False
    delay: float = 0

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.fetches += 1
        await asyncio.sleep(self.delay)
        found = not self.down and scope["path"] == "/common/discovery/v2.0/keys"
        await respond(send, 200 if found else 503, self.document())

    def document(self) -> bytes:
        """Return the published keys as JSON."""
        keys = [jose.rsa_jwk(key.key.public_key(), key.kid) for key in self.signing]
        return orjson.dumps({"keys": keys})

    def claims(self, who: Identity, **changes: Any) -> dict[str, Any]:
        now = int(self.clock())
        claims = {
            "aud": "https://vault.azure.net",
            "iss": f"https://sts.windows.net/{TENANT}/",
            "iat": now,
            "nbf": now - 300,
            "exp": now + 3600,
            "appid": who.client_id,
            "oid": who.object_id,
            "sub": who.object_id,
            "tid": TENANT,
            "idtyp": "app",
            "ver": "1.0",
        }
        claims |= changes
        return {name: value for name, value in claims.items() if value is not None}

    def mint(self, who: Identity, **changes: Any) -> str:
        return self.signing[0].sign(self.claims(who, **changes), {"typ": "JWT"})
