"""The downward API: fields of a pod for its environment variables and files."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kubeling import quantity
from kubeling.errors import Error

Pod = Mapping[str, Any]

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class UnknownField(Error):
    """A field reference that is not supported."""

    code = "unknown_field"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeInfo:
    """The facts of a node that one of its pods can read; `pod_address` is that of the pod."""

    name: str
    address: str
    pod_address: str
    cpu: str
    memory: str


def read_pod_field(pod: Pod, path: str, node: NodeInfo) -> str:
    """Return one field of a pod by its path.

    All labels or annotations are sorted lines `key="escaped value"`. Raises UnknownField.
    """
    meta, spec = pod["metadata"], pod["spec"]
    if found := _SUBSCRIPT.fullmatch(path):
        return str((meta.get(found[1]) or {}).get(found[2], ""))
    simple = {
        "metadata.name": meta.get("name"),
        "metadata.namespace": meta.get("namespace"),
        "metadata.uid": meta.get("uid"),
        "spec.nodeName": spec.get("nodeName") or node.name,
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.hostIP": node.address,
        "status.hostIPs": node.address,
        "status.podIP": node.pod_address,
        "status.podIPs": node.pod_address,
    }
    if path in simple:
        return str(simple[path] or "")
    if path in ("metadata.labels", "metadata.annotations"):
        pairs = sorted((meta.get(path.partition(".")[2]) or {}).items())
        return "\n".join(f'{key}="{_escape(value)}"' for key, value in pairs)
    raise UnknownField(f"fieldPath {path!r} is not supported", path=path)


def _escape(value: str) -> str:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return quoted.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")


def read_reference(
    entry: Mapping[str, Any], pod: Pod, node: NodeInfo, default_container: str = ""
) -> str:
    """Return the field or the resource that an entry refers to. Raises UnknownField."""
    if reference := entry.get("fieldRef"):
        return read_pod_field(pod, str(reference.get("fieldPath")), node)
    reference, spec = entry.get("resourceFieldRef") or {}, pod["spec"]
    name = reference.get("containerName") or default_container
    for container in (*(spec.get("initContainers") or []), *spec["containers"]):
        if container["name"] == name:
            return read_resource_field(container, reference, node)
    raise UnknownField(f"container {name!r} not found")


def read_resource_field(
    container: Mapping[str, Any], reference: Mapping[str, Any], node: NodeInfo
) -> str:
    """Return a request or limit of a container, in units of the divisor, rounded up. Raises UnknownField."""
    name = str(reference.get("resource"))
    kind, _, resource = name.partition(".")
    if kind not in ("limits", "requests") or not resource:
        raise UnknownField(f"resource {name!r} is not supported", resource=name)
    given = container.get("resources") or {}
    # A missing limit is the capacity of the node; a missing request is the limit, or zero.
    capacity = {"cpu": node.cpu, "memory": node.memory}.get(resource, "0")
    fallback = capacity if kind == "limits" else (given.get("limits") or {}).get(resource, "0")
    value = quantity.parse((given.get(kind) or {}).get(resource, fallback))
    return str(math.ceil(Fraction(value) / Fraction(quantity.parse(reference.get("divisor")) or 1)))
