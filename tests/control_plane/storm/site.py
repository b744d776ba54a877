"""The webhook as a platform engineer has it: the chart installed by Helm, its pods run by our runtime.

In: a control plane. Out: a `Site`, whose replicas are real pods of the chart's Deployment. Each runs on a
node of its own, a runtime with an address of its own out of 127.0.0.0/8, as pods on hosts' networks do. What
is missing of a cluster is played here: a scheduler (one replica a node), and kube-proxy with the
EndpointSlice that it reads: the Service's address leads to the pods that are ready and are not told to end.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from podpass import names
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.kubelet.kubelet import Runtime, RuntimeConfig
from podpass.kubernetes.kubelet.lifecycle import BackOffRule
from podpass.kubernetes.kubelet.process import CONTAINER_VARIABLE
from tests.charts.rendering import CHART, NAMESPACE, RELEASE, TENANT, Helm
from tests.control_plane.plane import Plane
from tests.control_plane.service import Service, serving
from tests.control_plane.storm import rendered

NODES, REPLICAS = 4, 2
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/azure-wi-webhook-controller-manager"
_SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/{names.CERTIFICATE_SECRET}"
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_PATIENCE_SECONDS = 120
_LOOK_SECONDS = 0.1

Pod = dict[str, Any]

VALUES = {
    "azureTenantID": TENANT,
    "replicaCount": REPLICAS,
    "hostNetwork": True,
    "extraEnv": [
        {"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
    ],
    "extraArgs": [
        "--webhook-addr=$(HOST_IP):9443",
        "--health-addr=$(HOST_IP):9440",
        "--metrics-addr=$(HOST_IP):8095",
    ],
}


class Site:
    """The installed webhook, and what befalls it."""

    def __init__(self, admin: KubeClient, balancer: Service) -> None:
        self.admin, self._balancer = admin, balancer
        self.certificates: set[str] = set()

    async def replicas(self) -> list[Pod]:
        """List the webhook's pods that are not told to end."""
        found, _ = await self.admin.list(_PODS)
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    async def kill(self, pod: Pod) -> None:
        """End a replica's process as a lack of memory does."""
        (state,) = pod["status"]["containerStatuses"]
        os.kill(_process(state["containerID"].rpartition("//")[2]), signal.SIGKILL)

    async def roll_over(self) -> None:
        """Replace every replica, as `kubectl rollout restart` does; return when the old ones are gone."""
        before = {pod["metadata"]["uid"] for pod in await self.replicas()}
        note = {"kubectl.kubernetes.io/restartedAt": str(time.time())}
        body = {"spec": {"template": {"metadata": {"annotations": note}}}}
        await self.admin.patch(DEPLOYMENT, body)

        async def replaced() -> bool:
            found, _ = await self.admin.list(_PODS)
            return not before & {pod["metadata"]["uid"] for pod in found}

        await until(replaced)
        await self.until_ready()

    async def until_ready(self) -> None:
        async def ready() -> bool:
            found = await self.replicas()
            return len(found) == REPLICAS and all(is_ready(pod) for pod in found)

        await until(ready)

    async def until_led_to(self) -> None:
        """Wait until the Service leads to every replica: that is told after they are ready, here as there."""

        async def led_to() -> bool:
            return len(self._balancer.endpoints) == REPLICAS

        await until(led_to)

    async def until_replaced(self, pod: Pod) -> None:
        """Wait until a replica that was killed has been started again and is ready."""
        path = f"{_PODS}/{pod['metadata']['name']}"

        async def again() -> bool:
            found = await self.admin.get(path)
            return _restarts(found) > _restarts(pod) and is_ready(found)

        await until(again)

    async def follow(self) -> None:
        """Be scheduler and EndpointSlice controller until cancelled."""
        while True:
            with contextlib.suppress(KubeError):
                pods, _ = await self.admin.list(_PODS)
                self._balancer.endpoints = [
                    (pod["status"]["podIP"], 9443)
                    for pod in pods
                    if is_ready(pod) and not pod["metadata"].get("deletionTimestamp")
                ]
                await self._schedule(pods)
                await self._note_certificate()
            await asyncio.sleep(_LOOK_SECONDS)

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

    async def _note_certificate(self) -> None:
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
    """Find the process of a container by the mark that the runtime gives it."""
    mark = f"{CONTAINER_VARIABLE}={container}".encode()
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdecimal() and mark in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
    raise AssertionError(f"container {container} has no process")


async def until(wanted: Callable[[], Awaitable[bool]], seconds: float = _PATIENCE_SECONDS) -> None:
    """Wait for something, through an API server that is away."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(KubeError):
            if await wanted():
                return
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(_LOOK_SECONDS)


# ---------------------------------------------------------------------------------------- installing


@asynccontextmanager
async def installed(plane: Plane, helm: Helm, folder: Path) -> AsyncIterator[Site]:
    """Install the chart, run its pods, and lead its Service's address to them."""
    await asyncio.to_thread(_install, helm, plane, folder)
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(plane.admin())
        found = await admin.get(f"/api/v1/namespaces/{NAMESPACE}/services/{names.WEBHOOK_SERVICE}")
        try:
            balancer = await stack.enter_async_context(
                serving([], found["spec"]["clusterIP"], found["spec"]["ports"][0]["port"])
            )
        except PermissionError:
            pytest.skip("a Service's port below 1024 is for root alone here")
        # Other runs on this machine have other addresses.
        part = os.getpid()
        for number in range(NODES):
            address = f"127.{100 + (part >> 8) % 100}.{part % 256}.{number + 1}"
            config = _config(plane, folder, number, address)
            await stack.enter_async_context(Runtime(config))
        site = Site(admin, balancer)
        following = asyncio.create_task(site.follow())
        stack.push_async_callback(_end, following)
        await site.until_ready()
        await site.until_led_to()
        yield site


def _config(plane: Plane, folder: Path, number: int, address: str) -> RuntimeConfig:
    return RuntimeConfig(
        kubeconfig=plane.kubeconfig,
        node_name=node_name(number),
        address=address,
        folder=folder / node_name(number),
        images_file=folder / "images.json",
        samples_folder=folder / "samples",
        environment={},
        path=os.environ.get("PATH", os.defpath),
        restarts=BackOffRule(first=0.2, most=1.0),
    )


def _install(helm: Helm, plane: Plane, folder: Path) -> None:
    script = str(Path(rendered.__file__))
    done = subprocess.run(
        [
            *(helm.binary, "install", RELEASE, str(CHART), "--namespace", NAMESPACE),
            *("--create-namespace", "--values", "-"),
            *("--post-renderer", sys.executable, "--post-renderer-args", script),
        ],
        input=yaml.safe_dump(VALUES),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"HOME": str(folder), "KUBECONFIG": str(plane.kubeconfig), "PATH": os.defpath},
    )
    assert done.returncode == 0, done.stderr


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
