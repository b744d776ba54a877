"""Objects as the tables `kubectl get` shows: one row of columns a kind, each with what fills it.

A kind without a row of its own has its name and its birth.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from podpass.tools.local.cluster.kinds import Kind
from podpass.tools.local.cluster.pod_summary import summary

Object = Mapping[str, Any]
Cell = Callable[[Object, float], Any]

_NONE = "<none>"
_UNKNOWN = "<unknown>"
_ROLE_LABEL = "node-role.kubernetes.io/"


@dataclass(frozen=True, slots=True)
class Column:
    """A column; those of priority 1 are for `-o wide`."""

    name: str
    cell: Cell
    meaning: str
    priority: int = 0
    type: str = "string"
    format: str = ""

    def definition(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.meaning,
            "priority": self.priority,
        }


def table(
    kind: Kind, objects: Sequence[Object], now: float, include: str = "Metadata"
) -> dict[str, Any]:
    """Draw objects as a `Table`; what its `metadata` says is the caller's to fill.

    Shapes:  `include` is how much of each object goes along: None, Metadata or Object.
    """
    columns = _TABLES.get(kind.kind, _PLAIN)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": [column.definition() for column in columns],
        "rows": [_row(columns, obj, now, include) for obj in objects],
    }


def _row(columns: Sequence[Column], obj: Object, now: float, include: str) -> dict[str, Any]:
    row: dict[str, Any] = {"cells": [column.cell(obj, now) for column in columns]}
    phase = (obj.get("status") or {}).get("phase") if obj.get("kind") == "Pod" else None
    if phase in ("Failed", "Succeeded"):
        row["conditions"] = [{"type": "Completed", "status": "True", "reason": phase}]
    if include == "Metadata":
        row["object"] = {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": obj.get("metadata", {}),
        }
    elif include == "Object":
        row["object"] = obj
    return row


def duration(seconds: float) -> str:
    """Write a time span as kubectl does: the shorter the finer, at most two units."""
    whole = int(seconds)
    if whole < 120:
        return "<invalid>" if whole < -1 else f"{max(whole, 0)}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    return _two(days // 365, "y", days % 365 if days < 365 * 8 else 0, "d")


def _two(large: int, unit: str, small: int, below: str) -> str:
    return f"{large}{unit}{small}{below}" if small else f"{large}{unit}"


def _since(moment: str | None, now: float) -> str:
    if not moment:
        return _UNKNOWN
    return duration(now - datetime.fromisoformat(moment).timestamp())


def _dig(*path: str, default: Any = "") -> Cell:
    """Make a cell of what stands at a path."""

    def cell(obj: Object, _now: float) -> Any:
        found: Any = obj
        for part in path:
            found = (found or {}).get(part)
        return default if found in (None, "") else found

    return cell


def _count(*parts: str) -> Cell:
    return lambda obj, _now: sum(len(obj.get(part) or ()) for part in parts)


def _age(obj: Object, now: float) -> str:
    return _since(obj["metadata"].get("creationTimestamp"), now)


def _pairs(labels: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or _NONE


def _pod_ready(pod: Object, _now: float) -> str:
    seen = summary(pod)
    return f"{seen.ready}/{seen.total}"


def _pod_restarts(pod: Object, now: float) -> str:
    seen = summary(pod)
    if not (seen.restarts and seen.restarted):
        return str(seen.restarts)
    return f"{seen.restarts} ({_since(seen.restarted, now)} ago)"


def _pod_gates(pod: Object, _now: float) -> str:
    gates = (pod.get("spec") or {}).get("readinessGates") or ()
    conditions = (pod.get("status") or {}).get("conditions") or ()
    true = {each.get("type") for each in conditions if each.get("status") == "True"}
    met = sum(each.get("conditionType") in true for each in gates)
    return f"{met}/{len(gates)}" if gates else _NONE


def _node_status(node: Object, _now: float) -> str:
    conditions = (node.get("status") or {}).get("conditions") or ()
    ready = next((each for each in conditions if each.get("type") == "Ready"), None)
    told = "Unknown" if ready is None else "Ready" if ready["status"] == "True" else "NotReady"
    paused = (node.get("spec") or {}).get("unschedulable")
    return told + (",SchedulingDisabled" if paused else "")


def _node_roles(node: Object, _now: float) -> str:
    labels = node["metadata"].get("labels") or {}
    roles = [key.removeprefix(_ROLE_LABEL) for key in labels if key.startswith(_ROLE_LABEL)]
    return ",".join(sorted(filter(None, roles))) or _NONE


def _node_address(kind: str) -> Cell:
    def cell(node: Object, _now: float) -> str:
        addresses = (node.get("status") or {}).get("addresses") or ()
        return next((each["address"] for each in addresses if each.get("type") == kind), _NONE)

    return cell


def _node_info(part: str) -> Cell:
    return _dig("status", "nodeInfo", part, default=_UNKNOWN)


def _service_outside(service: Object, _now: float) -> str:
    spec, status = service.get("spec") or {}, service.get("status") or {}
    given = list(spec.get("externalIPs") or ())
    match spec.get("type"):
        case "ExternalName":
            return str(spec.get("externalName") or _NONE)
        case "LoadBalancer":
            ingress = (status.get("loadBalancer") or {}).get("ingress") or ()
            found = [each.get("ip") or each.get("hostname") or "" for each in ingress]
            return ",".join([*found, *given]) or "<pending>"
        case _:
            return ",".join(given) or _NONE


def _service_ports(service: Object, _now: float) -> str:
    ports = (service.get("spec") or {}).get("ports") or ()
    written = [
        f"{each['port']}:{each['nodePort']}/{each['protocol']}"
        if each.get("nodePort")
        else f"{each['port']}/{each['protocol']}"
        for each in ports
    ]
    return ",".join(written) or _NONE


def _event_last(event: Object, now: float) -> str:
    last = (event.get("series") or {}).get("lastObservedTime") or event.get("lastTimestamp")
    return _since(last, now) if last else _event_first(event, now)


def _event_first(event: Object, now: float) -> str:
    return _since(event.get("firstTimestamp") or event.get("eventTime"), now)


def _event_object(event: Object, _now: float) -> str:
    about = event.get("involvedObject") or {}
    kind, name = str(about.get("kind") or "").lower(), about.get("name")
    return f"{kind}/{name}" if name else kind


def _event_source(event: Object, _now: float) -> str:
    source = event.get("source") or {}
    if not source.get("component"):
        source = {
            "component": event.get("reportingComponent"),
            "host": event.get("reportingInstance"),
        }
    return ", ".join(filter(None, (source.get("component"), source.get("host"))))


def _event_count(event: Object, _now: float) -> int:
    return int((event.get("series") or {}).get("count") or event.get("count") or 1)


def _role_ref(binding: Object, _now: float) -> str:
    ref = binding.get("roleRef") or {}
    return f"{ref.get('kind')}/{ref.get('name')}"


def _subjects(kind: str) -> Cell:
    def cell(binding: Object, _now: float) -> str:
        return ", ".join(
            f"{each['namespace']}/{each['name']}" if kind == "ServiceAccount" else each["name"]
            for each in binding.get("subjects") or ()
            if each.get("kind") == kind
        )

    return cell


_NAME = Column("Name", _dig("metadata", "name"), "name of the object", format="name")
_AGE = Column("Age", _age, "time since it was made")
_BORN = Column("Created At", _dig("metadata", "creationTimestamp"), "time it was made", type="date")
_PLAIN = (_NAME, _BORN)
_BINDING = (
    _NAME,
    Column("Role", _role_ref, "role that is given"),
    _AGE,
    Column("Users", _subjects("User"), "users that have it", 1),
    Column("Groups", _subjects("Group"), "groups that have it", 1),
    Column("ServiceAccounts", _subjects("ServiceAccount"), "accounts that have it", 1),
)
_WEBHOOKS = (
    _NAME,
    Column("Webhooks", _count("webhooks"), "number of webhooks", type="integer"),
    _AGE,
)

_TABLES: Mapping[str, tuple[Column, ...]] = {
    "ClusterRoleBinding": _BINDING,
    "ConfigMap": (_NAME, Column("Data", _count("data", "binaryData"), "number of keys"), _AGE),
    "Event": (
        Column("Last Seen", _event_last, "time since it was last seen"),
        Column("Type", _dig("type"), "Normal or Warning"),
        Column("Reason", _dig("reason"), "reason in one word"),
        Column("Object", _event_object, "object it tells of"),
        Column("Subobject", _dig("involvedObject", "fieldPath"), "part of the object", 1),
        Column("Source", _event_source, "who reports it", 1),
        Column(
            "Message", lambda event, _: str(event.get("message") or "").strip(), "what happened"
        ),
        Column("First Seen", _event_first, "time since it was first seen", 1),
        Column("Count", _event_count, "how often it was seen", 1),
        Column("Name", _dig("metadata", "name"), "name of the event", 1, format="name"),
    ),
    "Lease": (_NAME, Column("Holder", _dig("spec", "holderIdentity"), "who holds it"), _AGE),
    "MutatingWebhookConfiguration": _WEBHOOKS,
    "Namespace": (_NAME, Column("Status", _dig("status", "phase"), "phase it is in"), _AGE),
    "Node": (
        _NAME,
        Column("Status", _node_status, "whether it is ready"),
        Column("Roles", _node_roles, "roles its labels name"),
        _AGE,
        Column("Version", _dig("status", "nodeInfo", "kubeletVersion"), "version of its kubelet"),
        Column("Internal-IP", _node_address("InternalIP"), "address in the cluster", 1),
        Column("External-IP", _node_address("ExternalIP"), "address outside", 1),
        Column("OS-Image", _node_info("osImage"), "operating system", 1),
        Column("Kernel-Version", _node_info("kernelVersion"), "version of its kernel", 1),
        Column("Container-Runtime", _node_info("containerRuntimeVersion"), "what runs pods", 1),
    ),
    "Pod": (
        _NAME,
        Column("Ready", _pod_ready, "containers that are ready, of all"),
        Column("Status", lambda pod, _: summary(pod).reason, "what the pod is at"),
        Column("Restarts", _pod_restarts, "restarts of containers, and the last one"),
        _AGE,
        Column("IP", _dig("status", "podIP", default=_NONE), "address of the pod", 1),
        Column("Node", _dig("spec", "nodeName", default=_NONE), "node it is bound to", 1),
        Column(
            "Nominated Node",
            _dig("status", "nominatedNodeName", default=_NONE),
            "node that makes room for it",
            1,
        ),
        Column("Readiness Gates", _pod_gates, "gates that are met, of all", 1),
    ),
    "RoleBinding": _BINDING,
    "Secret": (
        _NAME,
        Column("Type", _dig("type"), "what kind of secret it is"),
        Column("Data", _count("data"), "number of keys"),
        _AGE,
    ),
    "Service": (
        _NAME,
        Column("Type", _dig("spec", "type"), "how it is reached"),
        Column("Cluster-IP", _dig("spec", "clusterIP", default=_NONE), "address in the cluster"),
        Column("External-IP", _service_outside, "address outside"),
        Column("Port(s)", _service_ports, "ports and protocols"),
        _AGE,
        Column(
            "Selector",
            lambda service, _: _pairs((service.get("spec") or {}).get("selector")),
            "labels of its pods",
            1,
        ),
    ),
    "ServiceAccount": (_NAME, Column("Secrets", _count("secrets"), "number of secrets"), _AGE),
    "ValidatingWebhookConfiguration": _WEBHOOKS,
}
