"""An embedded cluster that uvicorn serves over TLS, and a client for it."""

import asyncio
import base64
import io
import json
import os
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
from hypothesis import HealthCheck, settings

from kubeling.cluster import ClusterConfig, EmbeddedCluster, UserInfo
from kubeling.server import listen, serving
from kubeling.service_account.signer import RsaSigner
from tests.apiserver.webhook_server import WebhookServer
from tests.examples import examples

pytest_plugins = ("tests.process_reaper",)

# Tests that run pytest themselves must not inherit the options of this run.
os.environ.pop("PYTEST_ADDOPTS", None)

# Hypothesis judges answers, not how fast a busy machine is. In CI it draws the same examples in each run.
settings.register_profile(
    "shared",
    max_examples=examples(50),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
settings.load_profile("shared")


ISSUER = "https://oidc.example/issuer/"
USERS = {
    "admin-token": UserInfo(name="admin", uid="admin", groups=("system:masters",)),
    "alice-token": UserInfo(name="alice", uid="alice", groups=("devs",)),
}


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Store the result for `.ci/run`, which repeats failed tests only if all others ran."""
    config: Any = session.config
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    has_cache = config.pluginmanager.has_plugin("cacheprovider")
    if has_cache and reporter is not None and not hasattr(config, "workerinput"):
        counts = {kind: len(reporter.stats.get(kind, ())) for kind in ("failed", "error", "passed")}
        failed = counts["failed"] + counts["error"]
        config.cache.set("run/ended", f"{int(exitstatus)} {failed} {counts['passed']}")


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

    async def run_pod(self, namespace: str, name: str, address: str) -> None:
        """Create a pod with an address, as if a kubelet ran it."""
        pods = f"/api/v1/namespaces/{namespace}/pods"
        spec = {"containers": [{"name": "c", "image": "i"}]}
        made = await self.call("POST", pods, {"metadata": {"name": name}, "spec": spec})
        assert made.status == 201, made.text
        status = {"phase": "Running", "podIP": address}
        written = await self.call(
            "PATCH",
            f"{pods}/{name}/status",
            {"status": status},
            content_type="application/merge-patch+json",
        )
        assert written.status == 200, written.text

    def kubeconfig(self, token: str = "admin-token") -> Path:
        """Write a kubeconfig for a token."""
        path = self.folder / f"kubeconfig-{token[-32:]}"
        entry = {"name": "test"}
        cluster = {"server": self.server, "certificate-authority": str(self.ca_file)}
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "clusters": [{**entry, "cluster": cluster}],
                    "users": [{**entry, "user": {"token": token}}],
                    "contexts": [{**entry, "context": {"cluster": "test", "user": "test"}}],
                }
            )
        )
        return path


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def signer() -> RsaSigner:
    return RsaSigner()


def write_leaf(ca: trustme.CA, path: Path, name: str) -> tuple[Path, Path]:
    """Write a certificate for the loopback address and a name, and its key."""
    leaf, pem, key = (ca.issue_cert("127.0.0.1", name), *map(path.with_suffix, (".pem", ".key")))
    leaf.cert_chain_pems[0].write_to_path(str(pem))
    leaf.private_key_pem.write_to_path(str(key))
    return pem, key


@pytest.fixture
async def serve(
    tmp_path: Path, ca: trustme.CA, signer: RsaSigner
) -> AsyncIterator[Callable[..., Any]]:
    """Start a cluster on a free port; the settings are those of ClusterConfig."""
    ca_file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(ca_file))
    pem, key = write_leaf(ca, tmp_path / "leaf", "localhost")
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Live:
            defaults: dict[str, Any] = {
                "database": tmp_path / "kubernetes.db",
                "issuer": ISSUER,
                "signer": signer,
            }
            config = ClusterConfig(**(defaults | {"ca_file": ca_file, "tokens": USERS} | settings))
            cluster = await stack.enter_async_context(EmbeddedCluster(config))
            server = await stack.enter_async_context(serving(cluster.app, listen(), pem, key))
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


@pytest.fixture
async def hook(ca: trustme.CA, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Start webhook servers, each on its own port."""
    pem, key = write_leaf(ca, tmp_path / "hook", "hooks.one.svc")
    bundle = base64.b64encode(ca.cert_pem.bytes()).decode()
    async with AsyncExitStack() as stack:

        async def start(response: Any = None) -> WebhookServer:
            sock = listen()
            made = WebhookServer(f"https://127.0.0.1:{sock.getsockname()[1]}/mutate", bundle)
            made.response = response or made.response
            await stack.enter_async_context(serving(made.app, sock, pem, key))
            return made

        yield start
