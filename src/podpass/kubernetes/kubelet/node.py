"""The node the pods run on: its object, its condition, its lease."""

import asyncio
import logging
import os
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from podpass import __version__
from podpass.clock import Clock, rfc3339
from podpass.kubernetes.client import STRATEGIC_PATCH, BackOff, KubeClient, KubeError
from podpass.kubernetes.kubelet.downward_api import NodeFacts

_log = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_LEASE_SECONDS = 40
_RENEW_SECONDS = 10
_STATUS_SECONDS = 300
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_HEALTHY = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "memory is not looked at"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "disks are not looked at"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "process ids are not looked at"),
    ("Ready", "True", "KubeletReady", "the runtime posts ready status"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """What the node says of itself."""

    name: str
    port: int
    sandbox: str
    facts: NodeFacts

    @property
    def labels(self) -> dict[str, str]:
        system, machine = platform.system().lower(), platform.machine()
        return {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": system,
            "kubernetes.io/arch": _ARCHITECTURES.get(machine, machine),
        }


def describe(name: str, port: int, sandbox: str, address: str = ADDRESS) -> NodeSpec:
    """Look at this machine."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    kib = pages * size // 1024
    facts = NodeFacts(name=name, address=address, cpu=str(os.cpu_count() or 1), memory=f"{kib}Ki")
    return NodeSpec(name=name, port=port, sandbox=sandbox, facts=facts)


def status(spec: NodeSpec, now: float, ready_since: float) -> dict[str, Any]:
    """Write the node's status.

    Shapes:  `now`, `ready_since` in epoch seconds.
    """
    capacity = {"cpu": spec.facts.cpu, "memory": spec.facts.memory, "pods": "110"}
    labels = spec.labels
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [
            {"type": "InternalIP", "address": spec.facts.address},
            {"type": "Hostname", "address": spec.name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": spec.port}},
        "conditions": [
            {
                "type": kind,
                "status": truth,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": rfc3339(now),
                "lastTransitionTime": rfc3339(ready_since),
            }
            for kind, truth, reason, message in _HEALTHY
        ],
        "nodeInfo": {
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
            "kernelVersion": platform.release(),
            "osImage": f"Python {platform.python_version()} ({spec.sandbox})",
            "containerRuntimeVersion": f"podpass://{__version__}",
            "kubeletVersion": f"v{__version__}-podpass",
            "kubeProxyVersion": "",
            "operatingSystem": sys.platform,
            "architecture": labels["kubernetes.io/arch"],
        },
    }


class Node:
    """Keeps the node known to the cluster for as long as the runtime lives."""

    def __init__(self, client: KubeClient, spec: NodeSpec, clock: Clock) -> None:
        self._client, self._spec, self._clock = client, spec, clock
        self._since = clock()
        self._uid = ""

    async def register(self) -> None:
        """Make the node, or take it over from a former life; waits for an API server that is not there yet.

        Errors:  KubeError when the API server refuses.
        """
        back_off = BackOff(last=2.0)
        while True:
            try:
                await self._announce()
            except KubeError as exc:
                if exc.status < 500:
                    raise
                _log.warning("node_not_registered", extra={"status": exc.status})
                await back_off.wait()
            else:
                _log.info("node_registered", extra={"node": self._spec.name})
                return

    async def _announce(self) -> None:
        meta = {"name": self._spec.name, "labels": self._spec.labels}
        body = {"apiVersion": "v1", "kind": "Node", "metadata": meta}
        path = f"/api/v1/nodes/{self._spec.name}"
        try:
            found = await self._client.create("/api/v1/nodes", body)
        except KubeError as exc:
            if exc.status != 409:
                raise
            found = await self._client.patch(path, {"metadata": {"labels": self._spec.labels}})
        self._uid = found["metadata"]["uid"]
        await self._report()
        await self._renew()

    async def _report(self) -> None:
        body = {"status": status(self._spec, self._clock(), self._since)}
        path = f"/api/v1/nodes/{self._spec.name}/status"
        await self._client.patch(path, body, STRATEGIC_PATCH)

    async def _renew(self) -> None:
        now = datetime.fromtimestamp(self._clock(), tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {
            "holderIdentity": self._spec.name,
            "leaseDurationSeconds": _LEASE_SECONDS,
            "renewTime": now,
        }
        try:
            await self._client.patch(f"{LEASES}/{self._spec.name}", {"spec": spec})
        except KubeError as exc:
            if exc.status != 404:
                raise
            owner = {
                "apiVersion": "v1",
                "kind": "Node",
                "name": self._spec.name,
                "uid": self._uid,
            }
            body = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._spec.name, "ownerReferences": [owner]},
                "spec": spec,
            }
            await self._client.create(LEASES, body)

    async def _is_doubted(self) -> bool:
        """Tell whether somebody has written that this node is not ready.

        A controller does after less than a minute without a renewed lease, and takes it back for nobody.
        """
        found = await self._client.get(f"/api/v1/nodes/{self._spec.name}")
        conditions = (found.get("status") or {}).get("conditions") or []
        return any(c["type"] == "Ready" and c.get("status") != "True" for c in conditions)

    async def keep(self) -> None:
        """Renew the lease and the status until cancelled; a node that somebody deleted is made again."""
        reported, lost = self._clock(), False
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            try:
                if lost:
                    await self._announce()
                    lost = False
                await self._renew()
                if self._clock() - reported >= _STATUS_SECONDS or await self._is_doubted():
                    await self._report()
                    reported = self._clock()
            except KubeError as exc:
                lost = exc.status == 404
                _log.warning("node_not_renewed", extra={"status": exc.status, "reason": exc.reason})
