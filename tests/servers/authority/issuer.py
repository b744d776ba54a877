"""The issuer of a cluster on loopback, in a separate thread: documents and tokens."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any, Self

import trustme
from kubeling.service_account.claims import ObjectRef, make_claims

from podpass import names
from podpass.assertion.app import create_app
from podpass.assertion.keys import KeyRing
from podpass.crypto import jose
from podpass.http import server


class Issuer:
    """An issuer that serves until the context ends."""

    def __init__(self, folder: Path, ca: trustme.CA) -> None:
        folder.mkdir(exist_ok=True)
        self._pem = folder / "issuer.pem"
        ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(self._pem)
        self.ring = KeyRing.open(folder / "issuer-keys")
        self._sock = server.bind("127.0.0.1", 0)
        self.url = f"https://localhost:{self._sock.getsockname()[1]}/"
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    async def _serve(self) -> None:
        tls = server.server_tls(str(self._pem), str(self._pem))
        async with server.serving(create_app(self.url, self.ring), self._sock, tls):
            await self._stop.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def token(self, namespace: str = "default", account: str = "web", **changes: Any) -> str:
        """Sign a token of a ServiceAccount, as `kubectl create token` prints it."""
        claims = make_claims(
            issuer=self.url,
            namespace=namespace,
            account=ObjectRef(name=account, uid="u"),
            audiences=[names.EXCHANGE_AUDIENCE],
            seconds=3600,
            now=time.time(),
            jti="j",
        )
        key = self.ring.active
        signing = jose.SigningKey(kid=key.kid, key=key.key)
        return signing.sign({**claims, **changes}, {})
