"""Installs the webhook's chart with Helm on a control plane and runs its pods with our kubelet.

The replicas are real pods of the chart's Deployment. Each runs on its own node, a kubelet with its own
address of 127.0.0.0/8, like pods in the host network. The parts of a cluster that are missing are replaced
here: the scheduler (one replica per node), the EndpointSlice controller and kube-proxy. The Service's address
leads to the pods that are ready and not terminating.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubeling.kubelet.kubelet import Kubelet, KubeletConfig
from kubeling.kubelet.lifecycle import RestartBackOff
from kubeling.kubelet.process import CONTAINER_VARIABLE

from podpass import names
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.lab.cluster.image_source import InstanceImages
from podpass.lab.cluster.kubeling_adapters import HttpApi
from podpass.lab.cluster.samples.cache import SampleCache
from tests.charts.rendering import CHART, NAMESPACE, RELEASE, TENANT, Helm
from tests.control_plane.plane import PlaneThread
from tests.control_plane.service import ServiceProxy, run_service_proxy
from tests.control_plane.storm import post_renderer
from tests.run_program import run_text

NODES, REPLICAS = 4, 2
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/azure-wi-webhook-controller-manager"
_SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/{names.CERTIFICATE_SECRET}"
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
# The reference's webhook can use port 9443 only, of all addresses; its tests run at the same time.
_PORT = 19443
_TIMEOUT_SECONDS = 120
_POLL_SECONDS = 0.1

Pod = dict[str, Any]

VALUES = {
    "azureTenantID": TENANT,
    "image": {"repository": "podpass"},
    "replicaCount": REPLICAS,
    "hostNetwork": True,
    "extraEnv": [{"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}],
    "extraArgs": [
        f"--webhook-addr=$(HOST_IP):{_PORT}",
        "--health-addr=$(HOST_IP):9440",
        "--metrics-addr=$(HOST_IP):8095",
    ],
}


class InstalledWebhook:
    """The installed webhook; its methods kill and replace replicas."""

    def __init__(self, admin: KubeClient, balancer: ServiceProxy) -> None:
        self.admin, self._balancer = admin, balancer
        self.certificates: set[str] = set()

    async def replicas(self) -> list[Pod]:
        """Return the webhook's pods that are not terminating."""
        found, _ = await self.admin.list(_PODS)
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    async def kill(self, pod: Pod) -> None:
        """Kill a replica's process with SIGKILL, as the OOM killer does."""
        (state,) = pod["status"]["containerStatuses"]
        os.kill(_process(state["containerID"].rpartition("//")[2]), signal.SIGKILL)

    async def restart_rollout(self) -> None:
        """Replace every replica, as `kubectl rollout restart` does; return when the old pods are deleted."""
        before = {pod["metadata"]["uid"] for pod in await self.replicas()}
        note = {"kubectl.kubernetes.io/restartedAt": str(time.time())}
        body = {"spec": {"template": {"metadata": {"annotations": note}}}}
        await self.admin.patch(DEPLOYMENT, body)

        async def replaced() -> bool:
            found, _ = await self.admin.list(_PODS)
            return not before & {pod["metadata"]["uid"] for pod in found}

        await wait_until(replaced)
        await self.wait_until_ready()

    async def wait_until_ready(self) -> None:
        async def ready() -> bool:
            found = await self.replicas()
            return len(found) == REPLICAS and all(is_ready(pod) for pod in found)

        await wait_until(ready)

    async def wait_for_endpoints(self) -> None:
        """Wait until the Service has every replica as an endpoint, which is shortly after they are ready."""

        async def has_all_endpoints() -> bool:
            return len(self._balancer.endpoints) == REPLICAS

        await wait_until(has_all_endpoints)

    async def wait_until_restarted(self, pod: Pod) -> None:
        """Wait until a killed replica has been restarted and is ready."""
        path = f"{_PODS}/{pod['metadata']['name']}"

        async def has_restarted() -> bool:
            found = await self.admin.get(path)
            return _restarts(found) > _restarts(pod) and is_ready(found)

        await wait_until(has_restarted)

    async def run_controllers(self) -> None:
        """Act as scheduler and EndpointSlice controller until cancelled."""
        while True:
            with contextlib.suppress(KubeError):
                pods, _ = await self.admin.list(_PODS)
                self._balancer.endpoints = [
                    (pod["status"]["podIP"], _PORT)
                    for pod in pods
                    if is_ready(pod) and not pod["metadata"].get("deletionTimestamp")
                ]
                await self._schedule(pods)
                await self._record_certificate()
            await asyncio.sleep(_POLL_SECONDS)

    async def _schedule(self, pods: list[Pod]) -> None:
        taken = {pod["spec"].get("nodeName") for pod in pods}
        free = [name for name in map(node_name, range(NODES)) if name not in taken]
        for pod, node in zip(
            (p for p in pods if not p["spec"].get("nodeName")), free, strict=False
        ):
            name = pod["metadata"]["name"]
            body = {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": name},
                "target": {"apiVersion": "v1", "kind": "Node", "name": node},
            }
            await self.admin.create(f"{_PODS}/{name}/binding", body)

    async def _record_certificate(self) -> None:
        if leaf := ((await self.admin.get(_SECRET)).get("data") or {}).get("tls.crt"):
            self.certificates.add(leaf)


def node_name(number: int) -> str:
    return f"node-{number}"


def is_ready(pod: Pod) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _restarts(pod: Pod) -> int:
    return sum(each["restartCount"] for each in pod["status"].get("containerStatuses") or ())


def _process(container: str) -> int:
    """Return the process id of a container, found by the mark in its environment."""
    mark = f"{CONTAINER_VARIABLE}={container}".encode()
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdecimal() and mark in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
    raise AssertionError(f"container {container} has no process")


async def wait_until(
    wanted: Callable[[], Awaitable[bool]], seconds: float = _TIMEOUT_SECONDS
) -> None:
    """Wait for a condition, also while the API server is unavailable."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(KubeError):
            if await wanted():
                return
        assert time.monotonic() < deadline, "the condition was not reached"
        await asyncio.sleep(_POLL_SECONDS)


# ---------------------------------------------------------------------------------------- installing


@asynccontextmanager
async def install_webhook(
    plane: PlaneThread, helm: Helm, folder: Path
) -> AsyncIterator[InstalledWebhook]:
    """Install the chart, run its pods, and serve its Service's address."""
    await asyncio.to_thread(_install, helm, plane, folder)
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(plane.admin())
        found = await admin.get(f"/api/v1/namespaces/{NAMESPACE}/services/{names.WEBHOOK_SERVICE}")
        try:
            balancer = await stack.enter_async_context(
                run_service_proxy([], found["spec"]["clusterIP"], found["spec"]["ports"][0]["port"])
            )
        except PermissionError:
            pytest.skip("a port below 1024 needs root here")
        # Parallel runs on this machine use other addresses.
        part = os.getpid()
        for number in range(NODES):
            address = f"127.{100 + (part >> 8) % 100}.{part % 256}.{number + 1}"
            config = _config(folder, number, address)
            client = await stack.enter_async_context(KubeClient.from_kubeconfig(plane.kubeconfig))
            await stack.enter_async_context(Kubelet(config, HttpApi(client)))
        webhook = InstalledWebhook(admin, balancer)
        following = asyncio.create_task(webhook.run_controllers())
        stack.push_async_callback(_end, following)
        await webhook.wait_until_ready()
        await webhook.wait_for_endpoints()
        yield webhook


def _config(folder: Path, number: int, address: str) -> KubeletConfig:
    path = os.environ.get("PATH", os.defpath)
    return KubeletConfig(
        node_name=node_name(number),
        address=address,
        folder=folder / node_name(number),
        images=InstanceImages(folder / "images.json", SampleCache(folder / "samples", path)),
        environment=lambda _own: {},
        path=path,
        restarts=RestartBackOff(first=0.2, last=1.0),
    )


def _install(helm: Helm, plane: PlaneThread, folder: Path) -> None:
    script = str(Path(post_renderer.__file__))
    done = run_text(
        [
            *(helm.binary, "install", RELEASE, str(CHART), "--namespace", NAMESPACE),
            *("--create-namespace", "--values", "-"),
            *("--post-renderer", sys.executable, "--post-renderer-args", script),
        ],
        input=yaml.safe_dump(VALUES),
        timeout=120,
        env={"HOME": str(folder), "KUBECONFIG": str(plane.kubeconfig), "PATH": os.defpath},
    )
    assert done.returncode == 0, done.stderr


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
