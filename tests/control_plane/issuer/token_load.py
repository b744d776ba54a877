"""Clients that request tokens, review them at the API server and exchange them, many times a second."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from podpass import names
from podpass.kubernetes.client import KubeClient, KubeError
from tests.control_plane.background_loop import BackgroundLoop

AUDIENCE = "api://AzureADTokenExchange"
API_AUDIENCE = "https://kubernetes.default.svc"
_TOKENS = "/api/v1/namespaces/default/serviceaccounts/web/token"
_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
_SECONDS = 120
# Short against the seconds in which a rotation could be wrong. Without it, the load takes all CPU time.
_PAUSE_SECONDS = 0.05


@dataclass
class TokenLoad:
    """The clients, and what they have seen.

    `rejected` has each token that a verifier refused. `outages` has the seconds without a signature.
    """

    kubeconfig: Path
    token_url: str
    client_id: str
    ca_file: Path
    signed: int = 0
    exchanged: int = 0
    rejected: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    outages: list[float] = field(default_factory=list)
    kids: set[str] = field(default_factory=set)
    is_restarting: bool = False
    _is_stopping: bool = False
    _rounds: list[int] = field(default_factory=list)

    @contextmanager
    def running(self, workers: int) -> Iterator["TokenLoad"]:
        """Run the clients until the context ends."""
        background = BackgroundLoop()
        tasks = background.run(self._start(workers))
        try:
            yield self
        finally:
            self._is_stopping = True
            background.run(_join(tasks))
            background.close()

    async def _start(self, workers: int) -> "list[asyncio.Task[None]]":
        self._rounds = [0] * workers
        return [asyncio.create_task(self._work(number)) for number in range(workers)]

    def replace_tokens(self) -> None:
        """Return when each client uses only tokens that were signed after the call."""
        before = list(self._rounds)
        deadline = time.monotonic() + _SECONDS
        while any(now < then + 2 for now, then in zip(self._rounds, before, strict=True)):
            assert time.monotonic() < deadline, (self.failures, self.rejected)
            time.sleep(0.01)

    async def _work(self, number: int) -> None:
        trust = ssl.create_default_context(cafile=str(self.ca_file))
        connector = aiohttp.TCPConnector(ssl=trust)
        previous: list[str] = []
        async with (
            KubeClient.from_kubeconfig(self.kubeconfig) as client,
            aiohttp.ClientSession(connector=connector) as session,
        ):
            while not self._is_stopping:
                tokens = [
                    await self._sign(client, AUDIENCE),
                    await self._sign(client, API_AUDIENCE),
                ]
                # Tokens of the round before are still valid, whatever key signs now.
                for exchanged, reviewed in (tokens, previous or tokens):
                    await self._exchange(session, exchanged)
                    await self._review(client, reviewed)
                previous = tokens
                self._rounds[number] += 1
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _sign(self, client: KubeClient, audience: str) -> str:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [audience], "expirationSeconds": 600},
        }
        begin = time.monotonic()
        made = await self._repeat(client, _TOKENS, body)
        self.outages.append(time.monotonic() - begin)
        self.signed += 1
        token: str = made["status"]["token"]
        return token

    async def _review(self, client: KubeClient, token: str) -> None:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token},
        }
        found = await self._repeat(client, _REVIEWS, body)
        if not found["status"].get("authenticated"):
            self.rejected.append(f"API server: {found['status']}")

    async def _repeat(self, client: KubeClient, path: str, body: Any) -> Any:
        """Send a request until the API server answers; only while it restarts may it not answer."""
        while True:
            was_restarting = self.is_restarting
            try:
                return await client.create(path, body)
            except KubeError as exc:
                if not (was_restarting or self.is_restarting):
                    self.failures.append(exc.message)
                if self._is_stopping:
                    raise
                await asyncio.sleep(0.02)

    async def _exchange(self, session: aiohttp.ClientSession, token: str) -> None:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_assertion": token,
            "client_assertion_type": names.JWT_BEARER,
            "scope": "https://vault.azure.net/.default",
        }
        async with session.post(self.token_url, data=form) as answer:
            body = await answer.json()
            if answer.status != 200:
                self.rejected.append(f"token service: {body.get('error_description')}")
                return
        self.exchanged += 1


async def _join(tasks: "list[asyncio.Task[None]]") -> None:
    for task in tasks:
        with contextlib.suppress(KubeError):
            await task
