"""Endpoint slices: where the pods are that a service's selector finds, and which of them are ready.

Nothing here routes by them; `kubectl describe service` shows them, and clients that balance by themselves
watch them.
"""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.apiserver.storage.storage import Object
from podpass.kubernetes.controllers.client import Writer, owner_reference
from podpass.kubernetes.controllers.controller_ref import finds
from podpass.kubernetes.controllers.lister import View
from podpass.kubernetes.controllers.pod_info import PodFact

_KIND, _SERVICE, _POD = named("EndpointSlice"), named("Service"), named("Pod")
_OF_SERVICE = "kubernetes.io/service-name"
_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_MANAGER = "endpointslice-controller.k8s.io"
_MOST = 100

Ports = tuple[tuple[str, str, int], ...]
"""Name, protocol and number of each port."""


class Endpoints:
    """Keeps the endpoint slices of services."""

    def __init__(self, view: View, writer: Writer) -> None:
        self._view, self._writer = view, writer

    async def look(self, namespace: str, name: str) -> None:
        """Write down the pods of a service.

        Errors:  StatusError.
        """
        service = self._writer.store.get(_SERVICE, namespace, name)
        if service is None or not service["spec"].get("selector"):
            return
        found = finds({"matchLabels": service["spec"]["selector"]})
        pods = [
            pod
            for pod in self._view.pods(namespace)
            if pod.ip and not pod.ended and found(pod.labels)
        ]
        by_ports: dict[Ports, list[Object]] = {}
        for pod in sorted(pods, key=lambda pod: pod.name):
            by_ports.setdefault(self._ports(service, pod), []).append(_endpoint(pod))
        live = {each["metadata"]["uid"]: each for each in self._live(namespace, name)}
        for slice_, current in arrange(by_ports, list(live.values())):
            if current is None:
                await self._writer.create(_KIND.kind, self._new(service, slice_))
                continue
            del live[current["metadata"]["uid"]]
            if any(current.get(part) != slice_[part] for part in ("endpoints", "ports")):
                await self._writer.update(_KIND.kind, {**current, **slice_})
        for uid, surplus in live.items():
            await self._writer.delete(_KIND.kind, namespace, surplus["metadata"]["name"], uid)

    def _live(self, namespace: str, service: str) -> list[Object]:
        found = [entry.object() for entry in self._writer.store.entries(_KIND, namespace)]
        mine = {_OF_SERVICE: service, _MANAGED_BY: _MANAGER}
        return [
            each for each in found if mine.items() <= (each["metadata"].get("labels") or {}).items()
        ]

    def _ports(self, service: Object, pod: PodFact) -> Ports:
        """Find the numbers of a service's ports in a pod, which may call them differently from others."""
        found = []
        for port in service["spec"].get("ports") or ():
            target = port.get("targetPort", port["port"])
            number = target if isinstance(target, int) else self._named(pod, target)
            if number:
                found.append((port.get("name") or "", port["protocol"], number))
        return tuple(found)

    def _named(self, pod: PodFact, name: str) -> int:
        spec = (self._writer.store.get(_POD, pod.namespace, pod.name) or {}).get("spec") or {}
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
    by_ports: Mapping[Ports, Sequence[Object]], live: Sequence[Object], *, most: int = _MOST
) -> list[tuple[Object, Object | None]]:
    """Say what the slices of a service are to hold, each with the live one to write it over, if any.

    An endpoint stays in the slice that has it, and new ones go where there is room: one that moved would
    be in both slices for a moment, or in neither. A service without pods has one empty slice.
    """
    arranged: list[tuple[Object, Object | None]] = []
    new: list[Object] = []
    for ports in sorted(by_ports):
        waiting = {each["targetRef"]["uid"]: each for each in by_ports[ports]}
        same = [each for each in live if each.get("ports") == _told(ports)]
        kept = [_staying(each, waiting) for each in same]
        rest = list(waiting.values())
        for endpoints in kept:
            room = most - len(endpoints) if endpoints else 0
            endpoints += rest[:room]
            del rest[:room]
        arranged += [
            (_slice(endpoints, ports), current)
            for endpoints, current in zip(kept, same, strict=True)
            if endpoints
        ]
        new += [_slice(rest[at : at + most], ports) for at in range(0, len(rest), most)]
    if not arranged and not new:
        new = [_slice([], ())]
    taken = [current for _, current in arranged]
    free = [each for each in live if each not in taken]
    return arranged + list(zip_longest(new, free[: len(new)]))


def _staying(current: Object, waiting: dict[str, Object]) -> list[Object]:
    """Take out of those who wait for a place the endpoints that have one here."""
    held = [(each.get("targetRef") or {}).get("uid", "") for each in current.get("endpoints") or ()]
    return [waiting.pop(uid) for uid in held if uid in waiting]


def _slice(endpoints: list[Object], ports: Ports) -> Object:
    return {
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": _told(ports),
    }


def _told(ports: Ports) -> list[Object]:
    return [
        {"name": name, "protocol": protocol, "port": number} for name, protocol, number in ports
    ]


def _endpoint(pod: PodFact) -> Object:
    return {
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
