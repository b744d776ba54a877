"""A cluster and a kubelet in one process, with the operations of a cluster user."""

import asyncio
import contextlib
import inspect
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from kubeling.api import Api, ApiError, Event
from kubeling.cluster import ClusterConfig, EmbeddedCluster, UserInfo
from kubeling.kubelet.images import ImageConfig, ImageUnavailable
from kubeling.kubelet.kubelet import Kubelet, KubeletConfig
from kubeling.kubelet.lifecycle import RestartBackOff
from kubeling.server import listen, serving
from kubeling.service_account.signer import RsaSigner
from tests import process_reaper

NODE = "node"
KUBELET_USER = f"system:node:{NODE}"  # a node gets tokens only of its own pods
PODS = "/api/v1/namespaces/default/pods"
TOKENS = {
    "admin-token": UserInfo(name="admin", uid="admin", groups=("system:masters",)),
    "node-token": UserInfo(name=KUBELET_USER, uid="node", groups=("system:nodes",)),
}
# The programs of the machine that pods of these tests may use. A test that needs bubblewrap adds it.
PROGRAMS = ("sh", "sleep", "cat", "ls", "env", "echo", "true", "false", "stat", "sed")

Pod = dict[str, Any]
Object = dict[str, Any]


class Images:
    """The images that tests have added, each with its command."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[str, ...]] = {"none": ()}

    def resolve(self, image: str, _policy: str) -> ImageConfig:
        if (command := self.known.get(image)) is None:
            raise ImageUnavailable(f"image {image} is unknown", reason="ImageUnknown", image=image)
        return ImageConfig(command=command)

    async def pull(self, image: str) -> str:
        raise AssertionError(image)


class Connection:
    """The API of a kubelet, which tests can disconnect: requests fail, and watches are late."""

    def __init__(self, api: Api) -> None:
        self._api, self._connected = api, asyncio.Event()
        self._connected.set()
        self.server = api.server

    def disconnect(self) -> None:
        self._connected.clear()

    def connect(self) -> None:
        self._connected.set()

    def __getattr__(self, name: str) -> Any:
        if not self._connected.is_set():
            return self._refuse
        return getattr(self._api, name)

    async def _refuse(self, *_: Any, **__: Any) -> Any:
        raise ApiError(503, "Unreachable", "the test has disconnected the kubelet")

    async def watch(self, path: str, *, metadata_only: bool = False) -> AsyncIterator[Event]:
        async for event in self._api.watch(path, metadata_only=metadata_only):
            await self._connected.wait()
            yield event


@dataclass(kw_only=True)
class KubeletCluster:
    """A served cluster, and kubelets for it."""

    folder: Path
    server: str
    cluster: EmbeddedCluster
    ca: trustme.CA
    client: Api
    connection: Connection
    session: aiohttp.ClientSession
    images: Images = field(default_factory=Images)
    kubelet: Kubelet | None = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def config(self, **changes: Any) -> KubeletConfig:
        given: dict[str, Any] = {
            "node_name": NODE,
            "folder": self.folder / "pods",
            "images": self.images,
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
        """Run a kubelet in the process of the API server."""
        async with Kubelet(self.config(**changes), self.connection) as kubelet:
            self.cluster.kubelets[NODE] = kubelet.app
            yield kubelet

    @asynccontextmanager
    async def disconnected(self) -> AsyncIterator[None]:
        """Disconnect the kubelet from the API server for the duration of the context."""
        self.connection.disconnect()
        yield
        self.connection.connect()

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

    async def until_object(self, path: str, holds: Callable[[Object], Any]) -> Object:
        """Wait until an object exists and a condition holds for it; return the object."""
        found: Object = {}

        async def check() -> bool:
            with contextlib.suppress(ApiError):
                found.clear()
                found.update(await self.client.get(path))
            return bool(found) and bool(holds(found))

        await eventually(check, 30)
        return found

    async def wait_until_exists(self, name: str, other_than: str = "") -> Pod:
        """Wait until a pod exists whose uid is another one."""
        return await self.until_object(
            f"{PODS}/{name}", lambda pod: pod["metadata"]["uid"] != other_than
        )

    async def phase(self, name: str, *phases: str) -> Pod:
        return await self.until(name, lambda pod: pod["status"].get("phase") in phases)

    async def wait_until_deleted(self, name: str, seconds: float = 20.0) -> None:
        """Wait until a pod is deleted."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    await self.get(name)
                except ApiError as exc:
                    assert exc.status == 404
                    return
                await asyncio.sleep(0.03)

    async def log(self, name: str, **query: str) -> str:
        headers = {"authorization": "Bearer admin-token"}
        url = f"{self.server}{PODS}/{name}/log"
        async with self.session.get(url, params=query, headers=headers) as response:
            text = await response.text()
            if response.status >= 300:
                raise ApiError(response.status, "", text)
            return text

    async def events(self, name: str) -> list[Object]:
        found = await self.client.list("/api/v1/namespaces/default/events")
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
    folder: Path, ca: trustme.CA, signer: RsaSigner
) -> AsyncIterator[KubeletCluster]:
    """Serve a cluster over TLS."""
    write_certificates(folder, ca)
    config = ClusterConfig(
        database=folder / "kubernetes.db",
        issuer="https://oidc.example/issuer/",
        signer=signer,
        ca_file=folder / "ca.pem",
        tokens=TOKENS,
    )
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        cluster = await enter(EmbeddedCluster(config))
        files = folder / "leaf.pem", folder / "leaf.key"
        server = await enter(serving(cluster.app, listen(), *files))
        stack.callback(cluster.drain)
        admin = cluster.api(TOKENS["admin-token"], server)
        tls = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        session = await enter(aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)))
        served = KubeletCluster(
            folder=folder,
            server=server,
            cluster=cluster,
            ca=ca,
            client=admin,
            connection=Connection(cluster.api(TOKENS["node-token"], server)),
            session=session,
        )
        await _grant_kubelet(admin)
        await enter(served.stack)
        yield served


async def _grant_kubelet(admin: Api) -> None:
    """Grant a kubelet what it needs as the only scheduler."""
    group = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [""], "resources": ["pods/binding"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]},
    ]
    role = {"metadata": {"name": "scheduler"}, "rules": rules}
    await admin.create(f"/apis/{group}/v1/clusterroles", role)
    for name in ("scheduler", "system:node"):
        binding = {
            "metadata": {"name": f"test:{name}"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": KUBELET_USER}],
        }
        await admin.create(f"/apis/{group}/v1/clusterrolebindings", binding)


def outside_address() -> str:
    """Return an address of this machine that is not its loopback; skip the test if there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but its loopback")
        return str(trial.getsockname()[0])
