"""Table columns of the core kinds, of RBAC bindings and of webhook configurations."""

from kubeling.apiserver.read.column import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    Cell,
    Column,
    Object,
    count_cell,
    elapsed,
    field_cell,
    format_labels,
)
from kubeling.apiserver.read.pod_summary import summarize

_ROLE_LABEL = "node-role.kubernetes.io/"


def _pod_ready(pod: Object, _now: float) -> str:
    pod_summary = summarize(pod)
    return f"{pod_summary.ready}/{pod_summary.total}"


def _pod_restarts(pod: Object, now: float) -> str:
    pod_summary = summarize(pod)
    if not (pod_summary.restarts and pod_summary.restarted):
        return str(pod_summary.restarts)
    return f"{pod_summary.restarts} ({elapsed(pod_summary.restarted, now)} ago)"


def _pod_gates(pod: Object, _now: float) -> str:
    gates = (pod.get("spec") or {}).get("readinessGates") or ()
    conditions = (pod.get("status") or {}).get("conditions") or ()
    true = {each.get("type") for each in conditions if each.get("status") == "True"}
    met = sum(each.get("conditionType") in true for each in gates)
    return f"{met}/{len(gates)}" if gates else NONE


_ACCESS_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _access_modes(claim: Object, _now: float) -> str:
    modes = (claim.get("status") or {}).get("accessModes") or ()
    return ",".join(short for mode, short in _ACCESS_MODES.items() if mode in modes)


def _quota_usage(*, limits: bool) -> Cell:
    def cell(quota: Object, _now: float) -> str:
        status = quota.get("status") or {}
        hard, used = status.get("hard") or {}, status.get("used") or {}
        names = sorted(name for name in hard if name.startswith("limits.") is limits)
        return ", ".join(f"{name}: {used.get(name, 0)}/{hard[name]}" for name in names)

    return cell


def _node_status(node: Object, _now: float) -> str:
    conditions = (node.get("status") or {}).get("conditions") or ()
    ready = next((each for each in conditions if each.get("type") == "Ready"), None)
    text = "Unknown" if ready is None else "Ready" if ready["status"] == "True" else "NotReady"
    paused = (node.get("spec") or {}).get("unschedulable")
    return text + (",SchedulingDisabled" if paused else "")


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
    return field_cell("status", "nodeInfo", part, default=UNKNOWN)


def _service_external_ip(service: Object, _now: float) -> str:
    spec, status = service.get("spec") or {}, service.get("status") or {}
    external_ips = list(spec.get("externalIPs") or ())
    match spec.get("type"):
        case "ExternalName":
            return str(spec.get("externalName") or NONE)
        case "LoadBalancer":
            ingress = (status.get("loadBalancer") or {}).get("ingress") or ()
            found = [each.get("ip") or each.get("hostname") or "" for each in ingress]
            return ",".join([*found, *external_ips]) or "<pending>"
        case _:
            return ",".join(external_ips) or NONE


def _service_ports(service: Object, _now: float) -> str:
    ports = (service.get("spec") or {}).get("ports") or ()
    written = [
        f"{each['port']}:{each['nodePort']}/{each['protocol']}"
        if each.get("nodePort")
        else f"{each['port']}/{each['protocol']}"
        for each in ports
    ]
    return ",".join(written) or NONE


def _event_last_seen(event: Object, now: float) -> str:
    last = (event.get("series") or {}).get("lastObservedTime") or event.get("lastTimestamp")
    return elapsed(last, now) if last else _event_first_seen(event, now)


def _event_first_seen(event: Object, now: float) -> str:
    return elapsed(event.get("firstTimestamp") or event.get("eventTime"), now)


def _event_object(event: Object, _now: float) -> str:
    involved = event.get("involvedObject") or {}
    kind, name = str(involved.get("kind") or "").lower(), involved.get("name")
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
    Column("Role", _role_ref, "role that is granted"),
    AGE,
    Column("Users", _subjects("User"), "users that have it", 1),
    Column("Groups", _subjects("Group"), "groups that have it", 1),
    Column("ServiceAccounts", _subjects("ServiceAccount"), "accounts that have it", 1),
)
_WEBHOOKS = (
    NAME,
    Column("Webhooks", count_cell("webhooks"), "number of webhooks", type="integer"),
    AGE,
)

_EVENT = (
    Column("Last Seen", _event_last_seen, "time since the last occurrence"),
    Column("Type", field_cell("type"), "Normal or Warning"),
    Column("Reason", field_cell("reason"), "reason in one word"),
    Column("Object", _event_object, "object of the event"),
    Column("Subobject", field_cell("involvedObject", "fieldPath"), "part of the object", 1),
    Column("Source", _event_source, "component that reports the event", 1),
    Column("Message", lambda event, _: str(event.get("message") or "").strip(), "what happened"),
    Column("First Seen", _event_first_seen, "time since the first occurrence", 1),
    Column("Count", _event_count, "number of occurrences", 1),
    Column("Name", field_cell("metadata", "name"), "name of the event", 1, format="name"),
)

CORE: dict[str, tuple[Column, ...]] = {
    "ClusterRoleBinding": _BINDING,
    "ConfigMap": (NAME, Column("Data", count_cell("data", "binaryData"), "number of keys"), AGE),
    "Event": _EVENT,
    "events.v1.Event": _EVENT,
    "Lease": (
        NAME,
        Column("Holder", field_cell("spec", "holderIdentity"), "holder of the lease"),
        AGE,
    ),
    "MutatingWebhookConfiguration": _WEBHOOKS,
    "Namespace": (
        NAME,
        Column("Status", field_cell("status", "phase"), "phase of the namespace"),
        AGE,
    ),
    "Node": (
        NAME,
        Column("Status", _node_status, "whether the node is ready"),
        Column("Roles", _node_roles, "roles in the labels of the node"),
        AGE,
        Column(
            "Version", field_cell("status", "nodeInfo", "kubeletVersion"), "version of the kubelet"
        ),
        Column("Internal-IP", _node_address("InternalIP"), "address in the cluster", 1),
        Column("External-IP", _node_address("ExternalIP"), "address outside the cluster", 1),
        Column("OS-Image", _node_info("osImage"), "operating system", 1),
        Column("Kernel-Version", _node_info("kernelVersion"), "version of the kernel", 1),
        Column("Container-Runtime", _node_info("containerRuntimeVersion"), "container runtime", 1),
    ),
    "PersistentVolumeClaim": (
        NAME,
        Column("Status", field_cell("status", "phase"), "whether pods can use the claim"),
        Column("Volume", field_cell("spec", "volumeName"), "name of the volume"),
        Column("Capacity", field_cell("status", "capacity", "storage"), "size of the volume"),
        Column("Access Modes", _access_modes, "how pods may mount it"),
        Column("StorageClass", field_cell("spec", "storageClassName"), "class of the volume"),
        Column(
            "VolumeAttributesClass",
            field_cell("spec", "volumeAttributesClassName", default="<unset>"),
            "class of changeable attributes",
        ),
        AGE,
        Column("VolumeMode", field_cell("spec", "volumeMode"), "file system or block device", 1),
    ),
    "Pod": (
        NAME,
        Column("Ready", _pod_ready, "ready containers of all containers"),
        Column("Status", lambda pod, _: summarize(pod).reason, "status of the pod"),
        Column(
            "Restarts", _pod_restarts, "restarts of containers, and the time since the last one"
        ),
        AGE,
        Column("IP", field_cell("status", "podIP", default=NONE), "address of the pod", 1),
        Column("Node", field_cell("spec", "nodeName", default=NONE), "node of the pod", 1),
        Column(
            "Nominated Node",
            field_cell("status", "nominatedNodeName", default=NONE),
            "node that preempts pods for it",
            1,
        ),
        Column("Readiness Gates", _pod_gates, "ready gates of all readiness gates", 1),
    ),
    "RoleBinding": _BINDING,
    "ResourceQuota": (
        NAME,
        Column("Request", _quota_usage(limits=False), "used and allowed requests and objects"),
        Column("Limit", _quota_usage(limits=True), "used and allowed limits"),
        AGE,
    ),
    "Secret": (
        NAME,
        Column("Type", field_cell("type"), "type of the secret"),
        Column("Data", count_cell("data"), "number of keys"),
        AGE,
    ),
    "Service": (
        NAME,
        Column("Type", field_cell("spec", "type"), "type of the service"),
        Column(
            "Cluster-IP", field_cell("spec", "clusterIP", default=NONE), "address in the cluster"
        ),
        Column("External-IP", _service_external_ip, "address outside the cluster"),
        Column("Port(s)", _service_ports, "ports and protocols"),
        AGE,
        Column(
            "Selector",
            lambda service, _: format_labels((service.get("spec") or {}).get("selector")),
            "labels of the pods",
            1,
        ),
    ),
    "ServiceAccount": (NAME, AGE),
    "ValidatingWebhookConfiguration": _WEBHOOKS,
}
