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

from podpass.assertion.keys import KeyRing
from podpass.http.server import bind, server_tls, serving
from podpass.http.websocket_scopes import websocket_scopes
from podpass.lab.cluster.kubeling_adapters import RingSigner

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

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "admin-token",
        **headers: str,
    ) -> Reply:
        """Send a request; header names have underscores instead of hyphens."""
        request_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            request_headers["authorization"] = f"Bearer {token}"
        if body is not None:
            request_headers.setdefault("content-type", "application/json")
        raw = isinstance(body, bytes | str | io.BytesIO | None)
        data = body if raw else json.dumps(body)
        async with self.session.request(
            method, self.server + path, data=data, headers=request_headers
        ) as response:
            text = (await response.read()).decode()
            warnings = response.headers.getall("warning", [])
            response_headers = {name.lower(): value for name, value in response.headers.items()}
            return Reply(
                status=response.status, headers=response_headers, text=text, warnings=list(warnings)
            )

    def kubeconfig(self, token: str = "admin-token") -> Path:
        """Write a kubeconfig for a token."""
        path = self.folder / f"kubeconfig-{token[-32:]}"
        entry = {"name": "podpass"}
        cluster = {"server": self.server, "certificate-authority": str(self.ca_file)}
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "podpass",
                    "clusters": [{**entry, "cluster": cluster}],
                    "users": [{**entry, "user": {"token": token}}],
                    "contexts": [{**entry, "context": {"cluster": "podpass", "user": "podpass"}}],
                }
            )
        )
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
            defaults: dict[str, Any] = {
                "database": tmp_path / "kubernetes.db",
                "issuer": ISSUER,
                "signer": RingSigner(ring),
            }
            config = ClusterConfig(**(defaults | {"ca_file": ca_file, "tokens": USERS} | settings))
            cluster = await stack.enter_async_context(EmbeddedCluster(config))
            sock = bind("127.0.0.1", 0)
            server = f"https://127.0.0.1:{sock.getsockname()[1]}"
            await stack.enter_async_context(serving(websocket_scopes(cluster.app), sock, tls))
            stack.callback(cluster.drain)
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
