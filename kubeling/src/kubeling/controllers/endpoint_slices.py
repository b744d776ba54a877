"""EndpointSlice controller: write the addresses and readiness of the pods of each Service.

The kubelet connects pods to them. `kubectl describe service` shows them, and clients that balance load watch
them.
"""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.storage.storage import Object
from kubeling.controllers.client import ControllerClient, owner_reference
from kubeling.controllers.controller_ref import selector_matches
from kubeling.controllers.lister import Lister
from kubeling.controllers.pod_info import PodInfo

_KIND, _SERVICE, _POD = kind_by_name("EndpointSlice"), kind_by_name("Service"), kind_by_name("Pod")
_OF_SERVICE = "kubernetes.io/service-name"
_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_MANAGER = "endpointslice-controller.k8s.io"
_MAX_ENDPOINTS = 100

Ports = tuple[tuple[str, str, int], ...]
"""Name, protocol and number of each port."""


class EndpointSliceController:
    """Reconciles the EndpointSlices of Services."""

    def __init__(self, lister: Lister, client: ControllerClient) -> None:
        self._lister, self._client = lister, client

    async def reconcile(self, namespace: str, name: str) -> None:
        """Write the slices of one Service."""
        service = self._client.store.get(_SERVICE, namespace, name)
        if service is None or not service["spec"].get("selector"):
            return
        matches = selector_matches({"matchLabels": service["spec"]["selector"]})
        pods = [
            pod
            for pod in self._lister.pods(namespace)
            if pod.ip and not pod.ended and matches(pod.labels)
        ]
        by_ports: dict[Ports, list[Object]] = {}
        for pod in sorted(pods, key=lambda pod: pod.name):
            by_ports.setdefault(self._ports(service, pod), []).append(_endpoint(pod, name))
        live = {each["metadata"]["uid"]: each for each in self._existing(namespace, name)}
        for slice_, current in arrange(by_ports, list(live.values())):
            if current is None:
                # A new slice would block the foreground deletion of its Service: the garbage collector
                # deletes it, and this controller would create the next one, without an end.
                if not service["metadata"].get("deletionTimestamp"):
                    await self._client.create(_KIND.kind, self._new(service, slice_))
                continue
            del live[current["metadata"]["uid"]]
            if any(current.get(part) != slice_[part] for part in ("endpoints", "ports")):
                await self._client.update(_KIND.kind, {**current, **slice_})
        for uid, surplus in live.items():
            await self._client.delete(_KIND.kind, namespace, surplus["metadata"]["name"], uid)

    def _existing(self, namespace: str, service: str) -> list[Object]:
        found = [entry.object() for entry in self._client.store.list_stored(_KIND, namespace)]
        mine = {_OF_SERVICE: service, _MANAGED_BY: _MANAGER}
        return [
            each for each in found if mine.items() <= (each["metadata"].get("labels") or {}).items()
        ]

    def _ports(self, service: Object, pod: PodInfo) -> Ports:
        """Return the port numbers of a Service in one pod; named ports may differ between pods."""
        found = []
        for port in service["spec"].get("ports") or ():
            target = port.get("targetPort", port["port"])
            number = target if isinstance(target, int) else self._named_port(pod, target)
            if number:
                found.append((port.get("name") or "", port["protocol"], number))
        return tuple(found)

    def _named_port(self, pod: PodInfo, name: str) -> int:
        spec = (self._client.store.get(_POD, pod.namespace, pod.name) or {}).get("spec") or {}
        for container in spec.get("containers") or ():
            for port in container.get("ports") or ():
                if port.get("name") == name:
                    return int(port["containerPort"])
        return 0

    def _new(self, service: Object, slice_: Mapping[str, Any]) -> Object:
        metadata = service["metadata"]
        return {
            "metadata": {
                "generateName": f"{metadata['name']}-",
                "namespace": metadata["namespace"],
                "labels": {_OF_SERVICE: metadata["name"], _MANAGED_BY: _MANAGER},
                "ownerReferences": [owner_reference(_SERVICE, service)],
            },
            **slice_,
        }


def arrange(
    by_ports: Mapping[Ports, Sequence[Object]],
    live: Sequence[Object],
    *,
    max_endpoints: int = _MAX_ENDPOINTS,
) -> list[tuple[Object, Object | None]]:
    """Return the desired slices of a Service, each with the existing slice that it replaces, if any.

    An endpoint stays in its slice, and new endpoints fill free slots. An endpoint that moved would be
    in both slices for a short time, or in neither. A Service without pods has one empty slice.
    """
    arranged: list[tuple[Object, Object | None]] = []
    new: list[Object] = []
    for ports in sorted(by_ports):
        waiting = {each["targetRef"]["uid"]: each for each in by_ports[ports]}
        same = [each for each in live if each.get("ports") == _port_objects(ports)]
        filled = [_remaining(each, waiting) for each in same]
        rest = list(waiting.values())
        for endpoints in filled:
            room = max_endpoints - len(endpoints) if endpoints else 0
            endpoints += rest[:room]
            del rest[:room]
        arranged += [
            (_slice(endpoints, ports), current)
            for endpoints, current in zip(filled, same, strict=True)
            if endpoints
        ]
        new += [
            _slice(rest[at : at + max_endpoints], ports)
            for at in range(0, len(rest), max_endpoints)
        ]
    if not arranged and not new:
        new = [_slice([], ())]
    reused = [current for _, current in arranged]
    free = [each for each in live if each not in reused]
    return arranged + list(zip_longest(new, free[: len(new)]))


def _remaining(current: Object, waiting: dict[str, Object]) -> list[Object]:
    """Return the endpoints of a slice that still exist, and remove them from `waiting`."""
    uids = [(each.get("targetRef") or {}).get("uid", "") for each in current.get("endpoints") or ()]
    return [waiting.pop(uid) for uid in uids if uid in waiting]


def _slice(endpoints: list[Object], ports: Ports) -> Object:
    return {
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": _port_objects(ports),
    }


def _port_objects(ports: Ports) -> list[Object]:
    return [
        {"name": name, "protocol": protocol, "port": number} for name, protocol, number in ports
    ]


def _endpoint(pod: PodInfo, service: str) -> Object:
    # Its DNS name in a headless Service that the pod names as its subdomain.
    has_name = pod.hostname and pod.subdomain == service
    return {
        **({"hostname": pod.hostname} if has_name else {}),
        "addresses": [pod.ip],
        "conditions": {
            "ready": pod.ready and not pod.deleting,
            "serving": pod.ready,
            "terminating": pod.deleting,
        },
        "nodeName": pod.node,
        "targetRef": {
            "kind": "Pod",
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
        },
    }
