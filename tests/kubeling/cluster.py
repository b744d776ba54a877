"""An embedded cluster on the HTTP server of an instance, and a client for it."""

import asyncio
import io
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
import yaml
from kubeling.cluster import ClusterConfig, EmbeddedCluster, UserInfo
from kubeling.service_account.signer import RsaSigner

from podpass.assertion.keys import KeyRing
from podpass.http.server import bind, server_tls, serving
from podpass.http.websocket_scopes import websocket_scopes
from podpass.lab.cluster.kubeling_adapters import RingSigner
from tests.kubeconfigs import build_kubeconfig

ISSUER = "https://oidc.example/issuer/"
USERS = {
    "admin-token": UserInfo(name="admin", uid="admin", groups=("system:masters",)),
    "alice-token": UserInfo(name="alice", uid="alice", groups=("devs",)),
}


@dataclass(kw_only=True)
class Reply:
    """A complete HTTP response."""

    status: int
    headers: dict[str, str]
    text: str
    warnings: list[str] = field(default_factory=list)

    @property
    def body(self) -> Any:
        return json.loads(self.text)


async def send(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    body: Any = None,
    *,
    token: str | None = "admin-token",
    **headers: str,
) -> Reply:
    """Send a request; header names have underscores instead of hyphens."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        sent["authorization"] = f"Bearer {token}"
    if body is not None:
        sent.setdefault("content-type", "application/json")
    data = body if isinstance(body, bytes | str | io.BytesIO | None) else json.dumps(body)
    async with session.request(method, url, data=data, headers=sent) as response:
        return Reply(
            status=response.status,
            headers={name.lower(): value for name, value in response.headers.items()},
            text=(await response.read()).decode(),
            warnings=list(response.headers.getall("warning", [])),
        )


def build_config(folder: Path, users: dict[str, UserInfo], **settings: Any) -> ClusterConfig:
    """Return the settings of a cluster with its database in a folder, which has `ca.pem` too."""
    defaults: dict[str, Any] = {
        "database": folder / "kubernetes.db",
        "issuer": ISSUER,
        "signer": RsaSigner(),
        "ca_file": folder / "ca.pem",
        "tokens": users,
    }
    return ClusterConfig(**(defaults | settings))


async def start_cluster(
    stack: AsyncExitStack, config: ClusterConfig, tls: ssl.SSLContext | None = None
) -> tuple[EmbeddedCluster, str]:
    """Serve a cluster on loopback until the stack exits; return it and its address."""
    cluster = await stack.enter_async_context(EmbeddedCluster(config))
    sock = bind("127.0.0.1", 0)
    await stack.enter_async_context(serving(websocket_scopes(cluster.app), sock, tls))
    stack.callback(cluster.drain)
    return cluster, f"{'https' if tls else 'http'}://127.0.0.1:{sock.getsockname()[1]}"


@dataclass(kw_only=True)
class Live:
    """A served cluster, with a client session."""

    cluster: EmbeddedCluster
    config: ClusterConfig
    server: str
    ca_file: Path
    ca: trustme.CA
    folder: Path
    session: aiohttp.ClientSession

    async def call(self, method: str, path: str, body: Any = None, **how: Any) -> Reply:
        """Send a request as `send` does, by default as an administrator."""
        return await send(self.session, method, self.server + path, body, **how)

    def kubeconfig(self, token: str = "admin-token") -> Path:
        """Write a kubeconfig for a token."""
        path = self.folder / f"kubeconfig-{token[-32:]}"
        trust = {"certificate-authority": str(self.ca_file)}
        config = build_kubeconfig(self.server, {"token": token}, name="podpass", **trust)
        path.write_text(yaml.safe_dump(config))
        return path


@pytest.fixture(scope="session")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return KeyRing.open(tmp_path_factory.mktemp("issuer"))


@pytest.fixture
async def serve(tmp_path: Path, ca: trustme.CA, ring: KeyRing) -> AsyncIterator[Callable[..., Any]]:
    """Start a cluster on a free port; the settings are those of ClusterConfig."""
    ca_file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(ca_file))
    leaf = ca.issue_cert("127.0.0.1", "localhost")
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "leaf.pem"))
    leaf.private_key_pem.write_to_path(str(tmp_path / "leaf.key"))
    tls = server_tls(str(tmp_path / "leaf.pem"), str(tmp_path / "leaf.key"), client_ca=str(ca_file))
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Live:
            given: dict[str, Any] = {"signer": RingSigner(ring), **settings}
            config = build_config(tmp_path, USERS, **given)
            cluster, server = await start_cluster(stack, config, tls)
            client = ssl.create_default_context(cafile=str(ca_file))
            session = await stack.enter_async_context(
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client))
            )
            stack.push_async_callback(asyncio.sleep, 0)
            return Live(
                cluster=cluster,
                config=config,
                server=server,
                ca_file=ca_file,
                ca=ca,
                folder=tmp_path,
                session=session,
            )

        yield start


@pytest.fixture
async def live(serve: Callable[..., Any]) -> Live:
    """Yield a cluster with default settings."""
    found: Live = await serve()
    return found
