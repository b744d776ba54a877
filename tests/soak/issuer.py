"""A token issuer as a separate process that can be stopped, with keys that can be replaced.

Every path below its origin is an issuer with the same keys, so there is always an issuer that no client has
used yet. Run: python issuer.py FOLDER PORT
"""

import asyncio
import functools
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubeling.service_account.claims import ObjectRef, make_claims

from podpass import names
from podpass.assertion import app as issuer_app
from podpass.assertion.keys import KeyRing
from podpass.http import server

MAIN = "cluster"


class IssuerProcess:
    """The issuer's keys in this process; another process serves its documents."""

    def __init__(self, folder: Path, port: int) -> None:
        self.ring = KeyRing.open(folder / "issuer")
        self._folder = folder
        self._port = port
        self._process: subprocess.Popen[str] | None = None

    def url(self, name: str = MAIN) -> str:
        """Return the URL of one of the issuers."""
        return f"https://localhost:{self._port}/{name}/"

    def start(self) -> None:
        command = [sys.executable, __file__, str(self._folder), str(self._port)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", "the issuer did not start"

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def assertion(
        self, account: str, *, name: str = MAIN, changes: Mapping[str, Any] | None = None
    ) -> str:
        """Sign a projected token for an account in the namespace `default`; None omits a claim."""
        claims = make_claims(
            issuer=self.url(name),
            namespace="default",
            account=ObjectRef(name=account, uid=str(uuid.uuid4())),
            audiences=[names.EXCHANGE_AUDIENCE],
            seconds=3600,
            now=time.time(),
            jti=str(uuid.uuid4()),
        )
        claims.update(changes or {})
        return self.ring.sign({k: v for k, v in claims.items() if v is not None})


async def _serve(folder: Path, port: int) -> None:
    @functools.lru_cache(maxsize=1)
    def ring_of(_files: tuple[str, ...]) -> KeyRing:
        return KeyRing.open(folder / "issuer")

    async def app(scope: server.Scope, receive: server.Receive, send: server.Send) -> None:
        # Read the folder for each request: another process replaces the keys.
        ring = ring_of(tuple(sorted(each.name for each in (folder / "issuer").glob("*.pem"))))
        name = scope["path"].split("/")[1]
        issuer = f"https://localhost:{port}/{name}/"
        await issuer_app.create_app(issuer, ring)(scope, receive, send)

    tls = server.server_tls(str(folder / "localhost.pem"), str(folder / "localhost.pem"))
    async with server.serving(app, server.bind("127.0.0.1", port), tls):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
