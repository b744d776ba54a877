"""A cluster and a kubelet over real TLS, with the operations of a cluster user."""

import asyncio
import contextlib
import inspect
import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
import yaml

from podpass.assertion.keys import KeyRing
from podpass.cloud import ca as certificates
from podpass.http.server import bind, server_tls, serving
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.cluster import ClusterConfig, EmbeddedCluster, UserInfo
from podpass.kubernetes.kubelet.kubelet import Kubelet, KubeletConfig
from podpass.kubernetes.kubelet.lifecycle import RestartBackOff
from podpass.kubernetes.kubelet.server import API_SERVER_CLIENT
from podpass.local import registration
from podpass.local.image_source import InstanceImages
from podpass.local.samples.cache import SampleCache
from tests import process_reaper

NODE = certificates.NODE_NAME  # a node gets tokens only of its own pods
KUBELET_USER = certificates.CLIENTS[certificates.RUNTIME][0]
PODS = "/api/v1/namespaces/default/pods"
TOKENS = {
    "admin-token": UserInfo(name="admin", uid="admin", groups=("system:masters",)),
    "node-token": UserInfo(name=KUBELET_USER, uid="node", groups=("system:nodes",)),
}
# The programs of the machine that pods of these tests may use. A test that needs bubblewrap adds it.
PROGRAMS = ("sh", "sleep", "cat", "ls", "env", "echo", "true", "false", "stat", "sed")

Pod = dict[str, Any]
Object = dict[str, Any]


class ApiServerProxy:
    """A TCP proxy between the kubelet and the API server, which tests can disconnect."""

    def __init__(self, port: int) -> None:
        self._target_port, self._writers = port, set[asyncio.StreamWriter]()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def connect(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def disconnect(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await eventually(lambda: not self._writers)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        both = {writer, server_writer}
        self._writers |= both
        with contextlib.suppress(OSError):
            await asyncio.gather(_copy(reader, server_writer), _copy(server_reader, writer))
        for each in both:
            each.transport.abort()
        self._writers -= both


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    raise ConnectionResetError  # the end of one direction closes both connections


@dataclass(kw_only=True)
class KubeletCluster:
    """A served cluster, and kubelets for it."""

    folder: Path
    server: str
    cluster: EmbeddedCluster
    ca: trustme.CA
    client: KubeClient
    proxy: ApiServerProxy
    port: int = 0
    kubelet: Kubelet | None = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def config(self, **changes: Any) -> KubeletConfig:
        given: dict[str, Any] = {
            "kubeconfig": kubeconfig(self.folder, self.proxy.url, "node-token"),
            "node_name": NODE,
            "folder": self.folder / "pods",
            "images": InstanceImages(
                self.folder / "images.json",
                SampleCache(self.folder / "samples", programs(self.folder)),
            ),
            "environment": lambda own: {
                "SSL_CERT_FILE": str(self.ca_file),
                "NO_PROXY": ",".join(["localhost", *own]),
                # A run that is killed together with the kubelet's own reaper must leave no container.
                **process_reaper.run_mark(),
            },
            "path": programs(self.folder),
            "restarts": RestartBackOff(first=0.3, last=1.0),
            "refresh_seconds": 0.3,
            "stop_seconds": 1.0,
            # Paths are rewritten unless a test adds bubblewrap to the programs, or names another kind.
            "sandboxes": ["bubblewrap"],
        }
        return KubeletConfig(**given | changes)

    @asynccontextmanager
    async def running(self, **changes: Any) -> AsyncIterator[Kubelet]:
        """Run a kubelet and serve its application, as the local instance does."""
        sock = bind("127.0.0.1", 0)
        self.port = sock.getsockname()[1]
        async with (
            Kubelet(self.config(port=self.port, **changes)) as kubelet,
            serving(kubelet.app, sock, server_context(self.folder)),
        ):
            yield kubelet

    @asynccontextmanager
    async def disconnected(self) -> AsyncIterator[None]:
        """Disconnect the kubelet from the API server for the duration of the context."""
        await self.proxy.disconnect()
        yield
        await self.proxy.connect()

    async def start(self, **changes: Any) -> Kubelet:
        """Run a kubelet until the test ends."""
        self.kubelet = await self.stack.enter_async_context(self.running(**changes))
        return self.kubelet

    async def run(self, name: str, *containers: Object, **spec: Any) -> Pod:
        """Create a pod; its restart policy is Never unless given."""
        meta = {"name": name, **spec.pop("metadata", {})}
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": meta,
            "spec": {"restartPolicy": "Never", "containers": list(containers), **spec},
        }
        return await self.client.create(PODS, body)

    async def get(self, name: str) -> Pod:
        return await self.client.get(f"{PODS}/{name}")

    async def until(self, name: str, holds: Callable[[Pod], Any], seconds: float = 20.0) -> Pod:
        """Wait until a condition holds for a pod; return the pod."""
        pod: Pod = {}
        try:
            async with asyncio.timeout(seconds):
                while True:
                    pod = await self.get(name)
                    if holds(pod):
                        return pod
                    await asyncio.sleep(0.03)
        except TimeoutError:
            raise AssertionError(f"the condition does not hold: {pod.get('status')}") from None

    async def phase(self, name: str, *phases: str) -> Pod:
        return await self.until(name, lambda pod: pod["status"].get("phase") in phases)

    async def wait_until_deleted(self, name: str, seconds: float = 20.0) -> None:
        """Wait until a pod is deleted."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    await self.get(name)
                except KubeError as exc:
                    assert exc.status == 404
                    return
                await asyncio.sleep(0.03)

    async def log(self, name: str, **query: str) -> str:
        return await self.client.text(f"{PODS}/{name}/log", query)

    async def events(self, name: str) -> list[Object]:
        found, _ = await self.client.list("/api/v1/namespaces/default/events")
        return [each for each in found if each["involvedObject"]["name"] == name]

    async def event(self, name: str, reason: str) -> Object:
        """Wait for an event about a pod."""
        async with asyncio.timeout(10):
            while True:
                for each in await self.events(name):
                    if each["reason"] == reason:
                        return each
                await asyncio.sleep(0.05)

    async def config_map(self, name: str, **data: str) -> Object:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        return await self.client.create("/api/v1/namespaces/default/configmaps", body)

    async def secret(self, name: str, **data: str) -> Object:
        meta = {"name": name}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": data}
        return await self.client.create("/api/v1/namespaces/default/secrets", body)


async def eventually(check: Callable[[], Any], seconds: float = 10) -> None:
    """Wait until a check returns a true value; the check may be a coroutine function."""
    async with asyncio.timeout(seconds):
        while True:
            found = check()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)


def shell(script: str, name: str = "app", **more: Any) -> Object:
    """Return a container that runs a shell script."""
    return {"name": name, "image": "none", "command": ["sh", "-c", script], **more}


def state(pod: Pod, name: str = "app") -> Object:
    """Return the state of a container."""
    return dict(status_of(pod, name).get("state") or {})


def status_of(pod: Pod, name: str = "app") -> Object:
    status = pod.get("status") or {}
    both = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return next((each for each in both if each["name"] == name), {})


def condition(pod: Pod, kind: str) -> str:
    found = (pod.get("status") or {}).get("conditions") or []
    return next((str(each["status"]) for each in found if each["type"] == kind), "")


def programs(folder: Path, *more: str) -> str:
    """Create a folder that contains only the programs that pods may use."""
    programs_folder = folder / "bin"
    programs_folder.mkdir(exist_ok=True)
    for name in (*PROGRAMS, *more):
        found = shutil.which(name)
        if found and not (programs_folder / name).exists():
            (programs_folder / name).symlink_to(found)
    return str(programs_folder)


def kubeconfig(folder: Path, server: str, token: str) -> Path:
    path = folder / f"{token}.kubeconfig"
    cluster = {"server": server, "certificate-authority": str(folder / "ca.pem")}
    context = {"cluster": "test", "user": "test"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": context}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


def server_context(folder: Path) -> ssl.SSLContext:
    leaf, key = str(folder / "leaf.pem"), str(folder / "leaf.key")
    return server_tls(leaf, key, client_ca=str(folder / "ca.pem"))


def write_certificates(folder: Path, ca: trustme.CA) -> None:
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    leaf = ca.issue_cert("127.0.0.1", "localhost")
    leaf.cert_chain_pems[0].write_to_path(str(folder / "leaf.pem"))
    leaf.private_key_pem.write_to_path(str(folder / "leaf.key"))


def client_context(folder: Path, ca: trustme.CA, name: str | None) -> ssl.SSLContext:
    """Return the TLS context of a client, with a certificate for the common name if given."""
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if name is not None:
        ca.issue_cert("client.example", common_name=name).configure_cert(context)
    return context


@asynccontextmanager
async def serve_cluster(
    folder: Path, ca: trustme.CA, ring: KeyRing
) -> AsyncIterator[KubeletCluster]:
    """Serve a cluster over TLS."""
    write_certificates(folder, ca)
    config = ClusterConfig(
        database=folder / "kubernetes.db",
        issuer="https://oidc.example/issuer/",
        signer=ring,
        ca_file=folder / "ca.pem",
        tokens=TOKENS,
        kubelet_tls=client_context(folder, ca, API_SERVER_CLIENT),
    )
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(EmbeddedCluster(config))
        sock = bind("127.0.0.1", 0)
        server = f"https://127.0.0.1:{sock.getsockname()[1]}"
        await stack.enter_async_context(serving(cluster.app, sock, server_context(folder)))
        stack.callback(cluster.drain)
        admin = KubeClient.from_kubeconfig(kubeconfig(folder, server, "admin-token"))
        await stack.enter_async_context(admin)
        await registration.apply_rbac(admin)
        proxy = ApiServerProxy(sock.getsockname()[1])
        await proxy.connect()
        stack.push_async_callback(proxy.disconnect)
        served = KubeletCluster(
            folder=folder, server=server, cluster=cluster, ca=ca, client=admin, proxy=proxy
        )
        await stack.enter_async_context(served.stack)
        yield served
