"""Register the node of the kubelet: its object, its conditions and its lease."""

import asyncio
import logging
import os
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kubeling import __version__
from kubeling.api import STRATEGIC_PATCH, Api, ApiError, BackOff
from kubeling.clock import Clock, rfc3339
from kubeling.kubelet.downward_api import NodeInfo

_log = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
MAX_PODS = 110  # the default of the kubelet
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_LEASE_SECONDS = 40
_RENEW_SECONDS = 10
_STATUS_SECONDS = 300
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_HEALTHY = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "memory is not monitored"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "disks are not monitored"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "process ids are not monitored"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """The description of the node."""

    name: str
    port: int
    sandbox: str
    info: NodeInfo
    max_pods: int = MAX_PODS

    @property
    def labels(self) -> dict[str, str]:
        system, machine = platform.system().lower(), platform.machine()
        return {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": system,
            "kubernetes.io/arch": _ARCHITECTURES.get(machine, machine),
        }


def describe_node(
    name: str, port: int, sandbox: str, address: str = ADDRESS, max_pods: int = MAX_PODS
) -> NodeSpec:
    """Return the description of this machine as a node."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    kib = pages * size // 1024
    info = NodeInfo(
        name=name,
        address=address,
        pod_address=address,
        cpu=str(os.cpu_count() or 1),
        memory=f"{kib}Ki",
    )
    return NodeSpec(name=name, port=port, sandbox=sandbox, info=info, max_pods=max_pods)


def build_node_status(spec: NodeSpec, now: float, ready_since: float) -> dict[str, Any]:
    """Build the status of the node. `now`, `ready_since` are in epoch seconds."""
    capacity = {"cpu": spec.info.cpu, "memory": spec.info.memory, "pods": str(spec.max_pods)}
    labels = spec.labels
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [
            {"type": "InternalIP", "address": spec.info.address},
            {"type": "Hostname", "address": spec.name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": spec.port}},
        "conditions": [
            {
                "type": kind,
                "status": value,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": rfc3339(now),
                "lastTransitionTime": rfc3339(ready_since),
            }
            for kind, value, reason, message in _HEALTHY
        ],
        "nodeInfo": {
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
            "kernelVersion": platform.release(),
            "osImage": f"Python {platform.python_version()} ({spec.sandbox})",
            "containerRuntimeVersion": f"kubeling://{__version__}",
            "kubeletVersion": f"v{__version__}-kubeling",
            "kubeProxyVersion": "",
            "operatingSystem": sys.platform,
            "architecture": labels["kubernetes.io/arch"],
        },
    }


class NodeRegistration:
    """Registers the node, and keeps its lease and its status current."""

    def __init__(self, client: Api, spec: NodeSpec, clock: Clock) -> None:
        self._client, self._spec, self._clock = client, spec, clock
        self._ready_since = clock()
        self._uid = ""

    async def register(self) -> None:
        """Create the node or update an existing one; retry while the API server is unavailable.

        Raises ApiError: the API server refuses the node.
        """
        back_off = BackOff(last=2.0)
        while True:
            try:
                await self._create_or_update()
            except ApiError as exc:
                if exc.status < 500:
                    raise
                _log.warning("node_registration_failed", extra={"status": exc.status})
                await back_off.wait()
            else:
                _log.info("node_registered", extra={"node": self._spec.name})
                return

    async def _create_or_update(self) -> None:
        meta = {"name": self._spec.name, "labels": self._spec.labels}
        body = {"apiVersion": "v1", "kind": "Node", "metadata": meta}
        path = f"/api/v1/nodes/{self._spec.name}"
        try:
            found = await self._client.create("/api/v1/nodes", body)
        except ApiError as exc:
            if exc.status != 409:
                raise
            found = await self._client.patch(path, {"metadata": {"labels": self._spec.labels}})
        self._uid = found["metadata"]["uid"]
        await self._patch_status()
        await self._renew_lease()

    async def _patch_status(self) -> None:
        body = {"status": build_node_status(self._spec, self._clock(), self._ready_since)}
        path = f"/api/v1/nodes/{self._spec.name}/status"
        await self._client.patch(path, body, STRATEGIC_PATCH)

    async def _renew_lease(self) -> None:
        now = datetime.fromtimestamp(self._clock(), tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {
            "holderIdentity": self._spec.name,
            "leaseDurationSeconds": _LEASE_SECONDS,
            "renewTime": now,
        }
        try:
            await self._client.patch(f"{LEASES}/{self._spec.name}", {"spec": spec})
        except ApiError as exc:
            if exc.status != 404:
                raise
            name = self._spec.name
            owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": self._uid}
            body = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._spec.name, "ownerReferences": [owner]},
                "spec": spec,
            }
            await self._client.create(LEASES, body)

    async def _is_marked_not_ready(self) -> bool:
        """Return whether another writer has set the node to not ready.

        The node controller does so less than a minute after the last renewal of the lease, and does not set
        the node to ready again.
        """
        found = await self._client.get(f"/api/v1/nodes/{self._spec.name}")
        conditions = (found.get("status") or {}).get("conditions") or []
        return any(c["type"] == "Ready" and c.get("status") != "True" for c in conditions)

    async def run(self) -> None:
        """Renew the lease and the status until cancelled; create the node again if it was deleted."""
        reported_at, deleted = self._clock(), False
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            try:
                if deleted:
                    await self._create_or_update()
                    deleted = False
                await self._renew_lease()
                is_due = self._clock() - reported_at >= _STATUS_SECONDS
                if is_due or await self._is_marked_not_ready():
                    await self._patch_status()
                    reported_at = self._clock()
            except ApiError as exc:
                deleted = exc.status == 404
                _log.warning(
                    "node_lease_renewal_failed", extra={"status": exc.status, "reason": exc.reason}
                )
