"""Columns of the core's kinds, of roles and of webhooks: one row a kind, each with what fills it."""

from podpass.kubernetes.apiserver.read.column import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    Cell,
    Column,
    Object,
    count,
    dig,
    pairs,
    since,
)
from podpass.kubernetes.apiserver.read.pod_summary import summary

_ROLE_LABEL = "node-role.kubernetes.io/"


def _pod_ready(pod: Object, _now: float) -> str:
    seen = summary(pod)
    return f"{seen.ready}/{seen.total}"


def _pod_restarts(pod: Object, now: float) -> str:
    seen = summary(pod)
    if not (seen.restarts and seen.restarted):
        return str(seen.restarts)
    return f"{seen.restarts} ({since(seen.restarted, now)} ago)"


def _pod_gates(pod: Object, _now: float) -> str:
    gates = (pod.get("spec") or {}).get("readinessGates") or ()
    conditions = (pod.get("status") or {}).get("conditions") or ()
    true = {each.get("type") for each in conditions if each.get("status") == "True"}
    met = sum(each.get("conditionType") in true for each in gates)
    return f"{met}/{len(gates)}" if gates else NONE


def _node_status(node: Object, _now: float) -> str:
    conditions = (node.get("status") or {}).get("conditions") or ()
    ready = next((each for each in conditions if each.get("type") == "Ready"), None)
    told = "Unknown" if ready is None else "Ready" if ready["status"] == "True" else "NotReady"
    paused = (node.get("spec") or {}).get("unschedulable")
    return told + (",SchedulingDisabled" if paused else "")


def _node_roles(node: Object, _now: float) -> str:
    labels = node["metadata"].get("labels") or {}
    roles = [key.removeprefix(_ROLE_LABEL) for key in labels if key.startswith(_ROLE_LABEL)]
    return ",".join(sorted(filter(None, roles))) or NONE


def _node_address(kind: str) -> Cell:
    def cell(node: Object, _now: float) -> str:
        addresses = (node.get("status") or {}).get("addresses") or ()
        return next((each["address"] for each in addresses if each.get("type") == kind), NONE)

    return cell


def _node_info(part: str) -> Cell:
    return dig("status", "nodeInfo", part, default=UNKNOWN)


def _service_outside(service: Object, _now: float) -> str:
    spec, status = service.get("spec") or {}, service.get("status") or {}
    given = list(spec.get("externalIPs") or ())
    match spec.get("type"):
        case "ExternalName":
            return str(spec.get("externalName") or NONE)
        case "LoadBalancer":
            ingress = (status.get("loadBalancer") or {}).get("ingress") or ()
            found = [each.get("ip") or each.get("hostname") or "" for each in ingress]
            return ",".join([*found, *given]) or "<pending>"
        case _:
            return ",".join(given) or NONE


def _service_ports(service: Object, _now: float) -> str:
    ports = (service.get("spec") or {}).get("ports") or ()
    written = [
        f"{each['port']}:{each['nodePort']}/{each['protocol']}"
        if each.get("nodePort")
        else f"{each['port']}/{each['protocol']}"
        for each in ports
    ]
    return ",".join(written) or NONE


def _event_last(event: Object, now: float) -> str:
    last = (event.get("series") or {}).get("lastObservedTime") or event.get("lastTimestamp")
    return since(last, now) if last else _event_first(event, now)


def _event_first(event: Object, now: float) -> str:
    return since(event.get("firstTimestamp") or event.get("eventTime"), now)


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


_BINDING = (
    NAME,
    Column("Role", _role_ref, "role that is given"),
    AGE,
    Column("Users", _subjects("User"), "users that have it", 1),
    Column("Groups", _subjects("Group"), "groups that have it", 1),
    Column("ServiceAccounts", _subjects("ServiceAccount"), "accounts that have it", 1),
)
_WEBHOOKS = (
    NAME,
    Column("Webhooks", count("webhooks"), "number of webhooks", type="integer"),
    AGE,
)

CORE: dict[str, tuple[Column, ...]] = {
    "ClusterRoleBinding": _BINDING,
    "ConfigMap": (NAME, Column("Data", count("data", "binaryData"), "number of keys"), AGE),
    "Event": (
        Column("Last Seen", _event_last, "time since it was last seen"),
        Column("Type", dig("type"), "Normal or Warning"),
        Column("Reason", dig("reason"), "reason in one word"),
        Column("Object", _event_object, "object it tells of"),
        Column("Subobject", dig("involvedObject", "fieldPath"), "part of the object", 1),
        Column("Source", _event_source, "who reports it", 1),
        Column(
            "Message", lambda event, _: str(event.get("message") or "").strip(), "what happened"
        ),
        Column("First Seen", _event_first, "time since it was first seen", 1),
        Column("Count", _event_count, "how often it was seen", 1),
        Column("Name", dig("metadata", "name"), "name of the event", 1, format="name"),
    ),
    "Lease": (NAME, Column("Holder", dig("spec", "holderIdentity"), "who holds it"), AGE),
    "MutatingWebhookConfiguration": _WEBHOOKS,
    "Namespace": (NAME, Column("Status", dig("status", "phase"), "phase it is in"), AGE),
    "Node": (
        NAME,
        Column("Status", _node_status, "whether it is ready"),
        Column("Roles", _node_roles, "roles its labels name"),
        AGE,
        Column("Version", dig("status", "nodeInfo", "kubeletVersion"), "version of its kubelet"),
        Column("Internal-IP", _node_address("InternalIP"), "address in the cluster", 1),
        Column("External-IP", _node_address("ExternalIP"), "address outside", 1),
        Column("OS-Image", _node_info("osImage"), "operating system", 1),
        Column("Kernel-Version", _node_info("kernelVersion"), "version of its kernel", 1),
        Column("Container-Runtime", _node_info("containerRuntimeVersion"), "what runs pods", 1),
    ),
    "Pod": (
        NAME,
        Column("Ready", _pod_ready, "containers that are ready, of all"),
        Column("Status", lambda pod, _: summary(pod).reason, "what the pod is at"),
        Column("Restarts", _pod_restarts, "restarts of containers, and the last one"),
        AGE,
        Column("IP", dig("status", "podIP", default=NONE), "address of the pod", 1),
        Column("Node", dig("spec", "nodeName", default=NONE), "node it is bound to", 1),
        Column(
            "Nominated Node",
            dig("status", "nominatedNodeName", default=NONE),
            "node that makes room for it",
            1,
        ),
        Column("Readiness Gates", _pod_gates, "gates that are met, of all", 1),
    ),
    "RoleBinding": _BINDING,
    "Secret": (
        NAME,
        Column("Type", dig("type"), "what kind of secret it is"),
        Column("Data", count("data"), "number of keys"),
        AGE,
    ),
    "Service": (
        NAME,
        Column("Type", dig("spec", "type"), "how it is reached"),
        Column("Cluster-IP", dig("spec", "clusterIP", default=NONE), "address in the cluster"),
        Column("External-IP", _service_outside, "address outside"),
        Column("Port(s)", _service_ports, "ports and protocols"),
        AGE,
        Column(
            "Selector",
            lambda service, _: pairs((service.get("spec") or {}).get("selector")),
            "labels of its pods",
            1,
        ),
    ),
    "ServiceAccount": (NAME, Column("Secrets", count("secrets"), "number of secrets"), AGE),
    "ValidatingWebhookConfiguration": _WEBHOOKS,
}
