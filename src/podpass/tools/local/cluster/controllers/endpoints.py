"""Endpoint slices: where the pods are that a service's selector finds, and which of them are ready.

Nothing here routes by them; `kubectl describe service` shows them, and clients that balance by themselves
watch them.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from podpass.tools.local.cluster.controllers.claims import finds
from podpass.tools.local.cluster.controllers.facts import PodFact
from podpass.tools.local.cluster.controllers.view import View
from podpass.tools.local.cluster.controllers.writer import Writer, owner_reference
from podpass.tools.local.cluster.kinds import named
from podpass.tools.local.cluster.store import Object

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
        wanted = self._slices(service, sorted(pods, key=lambda pod: pod.name))
        live = self._live(namespace, name)
        chosen = _chosen(wanted, live)
        for slice_, current in zip(wanted, chosen, strict=True):
            if current is None:
                await self._writer.create(_KIND.kind, self._new(service, slice_))
            elif any(current.get(part) != slice_[part] for part in ("endpoints", "ports")):
                await self._writer.update(_KIND.kind, {**current, **slice_})
        for surplus in (each for each in live if each not in chosen):
            metadata = surplus["metadata"]
            await self._writer.delete(_KIND.kind, namespace, metadata["name"], metadata["uid"])

    def _live(self, namespace: str, service: str) -> list[Object]:
        found = [entry.object() for entry in self._writer.store.entries(_KIND, namespace)]
        mine = {_OF_SERVICE: service, _MANAGED_BY: _MANAGER}
        return [
            each for each in found if mine.items() <= (each["metadata"].get("labels") or {}).items()
        ]

    def _slices(self, service: Object, pods: Sequence[PodFact]) -> list[Object]:
        """Give what the slices of a service say; one that has no pods has an empty one."""
        numbered = [(self._ports(service, pod), pod) for pod in pods]
        numbered.sort(key=lambda each: each[0])
        made = []
        for ports, group in groupby(numbered, key=lambda each: each[0]):
            members = [_endpoint(pod) for _, pod in group]
            made += [
                _slice(members[at : at + _MOST], ports) for at in range(0, len(members), _MOST)
            ]
        return made or [_slice([], ())]

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


def _chosen(wanted: Sequence[Object], live: Sequence[Object]) -> list[Object | None]:
    """Choose for each wanted slice the live one to write it over, None where there are too few.

    Those of the same ports first: written over each other, two would for a moment hold the same pods, and
    the other pods would be nowhere.
    """
    free = list(live)
    chosen: list[Object | None] = []
    for slice_ in wanted:
        same = next((each for each in free if each.get("ports") == slice_["ports"]), None)
        chosen.append(same)
        if same is not None:
            free.remove(same)
    return [one or (free.pop(0) if free else None) for one in chosen]


def _slice(endpoints: list[Object], ports: Ports) -> Object:
    return {
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [
            {"name": name, "protocol": protocol, "port": number} for name, protocol, number in ports
        ],
    }


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
