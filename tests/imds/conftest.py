"""A sidecar with a real authority, and a metadata service of its own."""

import gzip
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yarl

from podpass.http.server import Receive, Scope, Send, bind, read_body, respond, serving
from podpass.imds.app import ImdsApp
from podpass.imds.authority import Authority, Binding
from podpass.imds.entra_client import EntraClient
from podpass.imds.forwarder import Forwarder
from podpass.imds.metrics import ProxyMetrics
from podpass.imds.token_cache import TokenCache
from podpass.servers.proxy.proxy import LIMITS
from tests.exchange.conftest import key_folders, start, world
from tests.exchange.world import World

Answer = tuple[int, str, Mapping[str, str]]

__all__ = ["key_folders", "start", "world"]


@dataclass
class MetadataService:
    """Records requests and answers them with their path, compressed for those who accept it."""

    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    body: bytes | None = None
    status: int = 203

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        query = scope["query_string"].decode()
        body = await read_body(receive, 10**6)
        target = scope["raw_path"].decode() + (f"?{query}" if query else "")
        self.seen.append((scope["method"], target, headers, body))
        text = target.encode() if self.body is None else self.body
        answered = [(b"content-type", b"text/x"), (b"x-own", b"1"), (b"server", b"IMDS")]
        if self.body is None and "gzip" in headers.get("accept-encoding", ""):
            text = gzip.compress(text)
            answered.append((b"content-encoding", b"gzip"))
        await respond(send, self.status, text, tuple(answered))


@dataclass
class Sidecar:
    """A running sidecar, its authority and its metadata service."""

    url: str
    token_file: Path
    world: World
    metadata: MetadataService
    metrics: ProxyMetrics
    session: aiohttp.ClientSession

    async def get(self, path: str, method: str = "GET", **options: Any) -> Answer:
        """Send a request with exactly this path; return status, body and headers."""
        url = yarl.URL(self.url + path, encoded=True)
        async with self.session.request(method, url, allow_redirects=False, **options) as answer:
            return answer.status, await answer.text(), answer.headers

    async def token(self, query: str = "", **options: Any) -> Answer:
        """Send a token request for the vault."""
        resource = "" if "resource=" in query else "resource=https://vault.azure.net&"
        return await self.get(f"/metadata/identity/oauth2/token?{resource}{query}", **options)


def authority_at(url: str, world: World, token_file: Path) -> Authority:
    """Return an authority at a URL whose certificate is of the world's CA."""
    binding = Binding(url=url, ca_file=str(world.ca_file))
    host = "https://login.microsoftonline.com/"
    return Authority.from_urls(host, world.TENANT, token_file, binding)


@pytest.fixture
def options() -> dict[str, Any]:
    """Options of the sidecar; a test module may override them."""
    return {}


@pytest.fixture
def token_file(world: World, tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(world.mint())
    return path


@pytest.fixture
async def sidecar(
    world: World, token_file: Path, options: dict[str, Any]
) -> AsyncIterator[Sidecar]:
    async with running_sidecar(world, authority_at(world.url, world, token_file), options) as made:
        yield made


@asynccontextmanager
async def running_sidecar(
    world: World, authority: Authority, options: Mapping[str, Any] | None = None
) -> AsyncIterator[Sidecar]:
    """Run a sidecar that gets its tokens from this authority."""
    metadata = MetadataService()
    async with AsyncExitStack() as stack:
        metadata_sock, sock = bind("127.0.0.1", 0), bind("127.0.0.1", 0)
        forwarder = Forwarder(f"http://127.0.0.1:{metadata_sock.getsockname()[1]}")
        cache = TokenCache(EntraClient(authority, world.clock).request_token, world.clock)
        stack.push_async_callback(cache.close)
        metrics = ProxyMetrics(cache, world.clock)
        defaults = {"client_id": world.CLIENT, "strict": False, "imds_errors": False}
        settings: dict[str, Any] = {**defaults, **(options or {})}
        app = ImdsApp(cache, forwarder, metrics, world.clock, server="test", **settings)
        await stack.enter_async_context(serving(metadata, metadata_sock))
        await stack.enter_async_context(serving(app, sock, limits=LIMITS))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        yield Sidecar(url, authority.token_file, world, metadata, metrics, session)
