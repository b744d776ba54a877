"""Columns of tables, and those of the built-in kinds.

Source: k8s.io/kubernetes v1.37 pkg/printers/internalversion.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubeling.apiserver.selectors import format_selector, get_path

Object = Mapping[str, Any]
Cell = Callable[[Object, float], Any]

NONE = "<none>"
UNKNOWN = "<unknown>"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; columns with priority 1 are for `-o wide`."""

    name: str
    cell: Cell
    meaning: str
    priority: int = 0
    type: str = "string"
    format: str = ""

    def definition(self) -> dict[str, Any]:
        """Return the column as a TableColumnDefinition."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.meaning,
            "priority": self.priority,
        }


def duration(seconds: float) -> str:
    """Format a time span as kubectl does, with at most two units; short spans are more precise."""
    whole = int(seconds)
    if whole < 120:
        return "<invalid>" if whole < -1 else f"{max(whole, 0)}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return _two_units(minutes, "m", whole % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _two_units(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two_units(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    return _two_units(days // 365, "y", days % 365 if days < 365 * 8 else 0, "d")


def _two_units(large: int, unit: str, small: int, below: str) -> str:
    return f"{large}{unit}{small}{below}" if small else f"{large}{unit}"


def elapsed(moment: str | None, now: float) -> str:
    """Format the time since a timestamp (RFC 3339)."""
    if not moment:
        return UNKNOWN
    return duration(now - datetime.fromisoformat(moment).timestamp())


def _metadata(part: str) -> Cell:
    return lambda obj, _: obj["metadata"].get(part, "")


def _age(obj: Object, now: float) -> str:
    return elapsed(obj["metadata"].get("creationTimestamp"), now)


def format_labels(labels: Mapping[str, str] | None) -> str:
    """Format labels as `key=value` pairs, sorted by key."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


NAME = Column("Name", _metadata("name"), "name of the object", format="name")
AGE = Column("Age", _age, "time since the creation of the object")
CREATED = Column(
    "Created At",
    _metadata("creationTimestamp"),
    "time of the creation of the object",
    type="date",
)
PLAIN = (NAME, CREATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSummary:
    """The summary of a pod; `restarted` is the time of the last restart, empty if there was none."""

    ready: int
    total: int
    reason: str
    restarts: int
    restarted: str


def summarize(pod: Object) -> PodSummary:
    """Summarize a pod."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    sidecars = _sidecars(spec)
    reason = status.get("reason") or status.get("phase") or "Unknown"
    if _condition(status, "PodScheduled").get("reason") == "SchedulingGated":
        reason = "SchedulingGated"
    starting, started_sidecars = _initializing(spec, status, sidecars)
    counted = status.get("initContainerStatuses") or []
    ready = started_sidecars
    if starting is not None:
        reason = starting
    if starting is None or _condition(status, "Initialized").get("status") == "True":
        running, reason = _running(status, reason)
        ready += running
        main = status.get("containerStatuses") or []
        counted = [*main, *(each for each in counted if each.get("name") in sidecars)]
    return PodSummary(
        ready=ready,
        total=len(spec.get("containers") or ()) + len(sidecars),
        reason=_terminating(pod, status) or reason,
        restarts=sum(each.get("restartCount", 0) for each in counted),
        restarted=max((_finished(each) for each in counted), default=""),
    )


def _sidecars(spec: Object) -> set[str]:
    init = spec.get("initContainers") or ()
    return {each["name"] for each in init if each.get("restartPolicy") == "Always"}


def _condition(status: Object, kind: str) -> Object:
    conditions = status.get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), {})


def _finished(container: Object) -> str:
    terminated = (container.get("lastState") or {}).get("terminated") or {}
    return terminated.get("finishedAt") or ""


def _terminating(pod: Object, status: Object) -> str:
    if not (pod.get("metadata") or {}).get("deletionTimestamp"):
        return ""
    if status.get("reason") == "NodeLost":
        return "Unknown"
    return "" if status.get("phase") in ("Failed", "Succeeded") else "Terminating"


def _initializing(spec: Object, status: Object, sidecars: set[str]) -> tuple[str | None, int]:
    """Return the reason of the current init container (None after the last), and the ready sidecars."""
    ready = 0
    for at, each in enumerate(status.get("initContainerStatuses") or ()):
        state = each.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting") or {}
        if terminated and terminated.get("exitCode", 0) == 0:
            continue
        if each.get("name") in sidecars and each.get("started"):
            ready += bool(each.get("ready"))
            continue
        if terminated:
            return "Init:" + _termination_reason(terminated), ready
        if waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}", ready
        return f"Init:{at}/{len(spec.get('initContainers') or ())}", ready
    return None, ready


def _termination_reason(state: Object) -> str:
    if state.get("reason"):
        return str(state["reason"])
    return f"Signal:{state['signal']}" if state.get("signal") else f"ExitCode:{state['exitCode']}"


def _running(status: Object, reason: str) -> tuple[int, str]:
    """Count the ready containers; the first waiting or terminated container gives the reason."""
    ready = 0
    for each in reversed(status.get("containerStatuses") or ()):
        state = each.get("state") or {}
        if (state.get("waiting") or {}).get("reason"):
            reason = state["waiting"]["reason"]
        elif state.get("terminated"):
            reason = _termination_reason(state["terminated"])
        elif each.get("ready") and state.get("running") is not None:
            ready += 1
    if reason == "Completed" and ready:
        is_ready = _condition(status, "Ready").get("status") == "True"
        reason = "Running" if is_ready else "NotReady"
    return ready, reason


_UNSET = "<unset>"
_MAX_LISTED = 3
_MAX_METRICS = 2
_MAX_ADDRESS_CHARS = 16
_ACCESS_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
_DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
_ROLE_LABEL = "node-role.kubernetes.io/"


def _get(obj: Object, path: str, default: Any = "") -> Any:
    found = get_path(obj, path)
    return default if found is None else found


def _column(
    name: str, cell: Cell, meaning: str, *, of: str = "string", wide: bool = False
) -> Column:
    return Column(name, cell, meaning, int(wide), of)


def _field(
    name: str,
    path: str,
    default: Any = "",
    show: Callable[[Any], Any] | None = None,
    *,
    of: str = "string",
    wide: bool = False,
) -> Column:
    """Return a column with the value of a field.

    Args:
        default: shown if the field is missing or empty.
        show: formats the value.
    """

    def cell(obj: Object, _now: float) -> Any:
        found = get_path(obj, path)
        if found in (None, "", {}, []):
            return default
        return (show(found) or default) if show else found

    return Column(name, cell, f"`{path}` of the object", int(wide), of)


def _number(name: str, path: str) -> Column:
    return _field(name, path, 0, of="integer")


def _count(name: str, path: str) -> Column:
    return _field(name, path, 0, len, of="integer")


def _switch(name: str, path: str) -> Column:
    return _field(name, path, False, of="boolean")


def _pair(first: str, second: str) -> Callable[[Object], str]:
    return lambda found: f"{found.get(first)}/{found.get(second)}"


def _each(part: str) -> Callable[[Iterable[Object]], str]:
    """Return a function that joins a field of each item."""
    return lambda items: ",".join(str(each.get(part) or "") for each in items)


def _limited(items: Sequence[str], most: int, separator: str = ",") -> str:
    text = separator.join(items[:most])
    return f"{text} + {len(items) - most} more..." if len(items) > most else text


def _is_true(obj: Object, condition: str) -> bool:
    conditions = _get(obj, "status.conditions", ())
    return any(
        each.get("type") == condition and each.get("status") == "True" for each in conditions
    )


# Pods, nodes and services.


def _pod_ready(pod: Object, _now: float) -> str:
    found = summarize(pod)
    return f"{found.ready}/{found.total}"


def _pod_restarts(pod: Object, now: float) -> str:
    found = summarize(pod)
    if not (found.restarts and found.restarted):
        return str(found.restarts)
    return f"{found.restarts} ({elapsed(found.restarted, now)} ago)"


def _pod_gates(pod: Object, _now: float) -> str:
    gates = _get(pod, "spec.readinessGates", ())
    # One pass over the conditions: a search for each gate would be quadratic in the size of the pod.
    conditions = _get(pod, "status.conditions", ())
    true = {each.get("type") for each in conditions if each.get("status") == "True"}
    met = sum(each.get("conditionType") in true for each in gates)
    return f"{met}/{len(gates)}" if gates else NONE


def _node_status(node: Object, _now: float) -> str:
    types = {each.get("type") for each in _get(node, "status.conditions", ())}
    text = "Ready" if _is_true(node, "Ready") else "NotReady" if "Ready" in types else "Unknown"
    return text + (",SchedulingDisabled" if get_path(node, "spec.unschedulable") else "")


def _node_roles(labels: Mapping[str, str]) -> str:
    roles = [key.removeprefix(_ROLE_LABEL) for key in labels if key.startswith(_ROLE_LABEL)]
    return ",".join(sorted(filter(None, roles)))


def _node_address(kind: str) -> Callable[[Iterable[Object]], str]:
    return lambda addresses: next(
        (each["address"] for each in addresses if each.get("type") == kind), ""
    )


def _service_external_ip(service: Object, _now: float) -> str:
    external_ips = _get(service, "spec.externalIPs", ())
    match get_path(service, "spec.type"):
        case "ExternalName":
            return _get(service, "spec.externalName") or NONE
        case "LoadBalancer":
            ingress = _get(service, "status.loadBalancer.ingress", ())
            found = [each.get("ip") or each.get("hostname") or "" for each in ingress]
            return ",".join([*found, *external_ips]) or "<pending>"
        case _:
            return ",".join(external_ips) or NONE


def _service_ports(ports: Iterable[Object]) -> str:
    return ",".join(
        f"{each['port']}:{each['nodePort']}/{each['protocol']}"
        if each.get("nodePort")
        else f"{each['port']}/{each['protocol']}"
        for each in ports
    )


# Events.


def _event_last_seen(event: Object, now: float) -> str:
    last = get_path(event, "series.lastObservedTime") or event.get("lastTimestamp")
    return elapsed(last, now) if last else _event_first_seen(event, now)


def _event_first_seen(event: Object, now: float) -> str:
    return elapsed(event.get("firstTimestamp") or event.get("eventTime"), now)


def _event_object(involved: Object) -> str:
    kind, name = str(involved.get("kind") or "").lower(), involved.get("name")
    return f"{kind}/{name}" if name else kind


def _event_source(event: Object, _now: float) -> str:
    source = event.get("source") or {}
    parts: tuple[Any, Any] = (source.get("component"), source.get("host"))
    if not parts[0]:
        parts = (event.get("reportingComponent"), event.get("reportingInstance"))
    return ", ".join(filter(None, parts))


def _event_count(event: Object, _now: float) -> int:
    return int(get_path(event, "series.count") or event.get("count") or 1)


# RBAC, certificates and policies.


def _subjects(kind: str) -> Callable[[Iterable[Object]], str]:
    return lambda subjects: ", ".join(
        f"{each['namespace']}/{each['name']}" if kind == "ServiceAccount" else each["name"]
        for each in subjects
        if each.get("kind") == kind
    )


def _request_condition(obj: Object, _now: float) -> str:
    types = {each.get("type") for each in _get(obj, "status.conditions", ())}
    text = next((each for each in ("Denied", "Approved") if each in types), "Pending")
    issued = get_path(obj, "status.certificate")
    return text + (",Failed" if "Failed" in types else "") + (",Issued" if issued else "")


def _last_condition(types: Sequence[str], *, true_only: bool = False) -> Callable[[Any], str]:
    """Return a function that returns the last condition of some types."""

    def show(conditions: Sequence[Object]) -> str:
        found = [
            each["type"]
            for each in conditions
            if each.get("type") in types and (not true_only or each.get("status") == "True")
        ]
        return found[-1] if found else ""

    return show


def _param_ref(found: Object) -> str:
    if found.get("name"):
        return f"{found.get('namespace') or '*'}/{found['name']}"
    return format_selector(found["selector"]) if found.get("selector") is not None else _UNSET


# Workloads.


def _ready_replicas(obj: Object, _now: float) -> str:
    return f"{_get(obj, 'status.readyReplicas', 0)}/{_get(obj, 'spec.replicas', 0)}"


def _job_status(job: Object, _now: float) -> str:
    for outcome in ("Complete", "Failed"):
        if _is_true(job, outcome):
            return outcome
    if job["metadata"].get("deletionTimestamp"):
        return "Terminating"
    pending = ("Suspended", "FailureTarget", "SuccessCriteriaMet")
    return next((each for each in pending if _is_true(job, each)), "Running")


def _job_completions(job: Object, _now: float) -> str:
    done, wanted = _get(job, "status.succeeded", 0), get_path(job, "spec.completions")
    if wanted is not None:
        return f"{done}/{wanted}"
    parallelism = _get(job, "spec.parallelism", 0)
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def _job_duration(job: Object, now: float) -> str:
    start, end = get_path(job, "status.startTime"), get_path(job, "status.completionTime")
    return elapsed(start, datetime.fromisoformat(end).timestamp() if end else now) if start else ""


def _since(path: str, default: str) -> Cell:
    """Return a cell with the time since a timestamp."""
    return lambda obj, now: elapsed(found, now) if (found := get_path(obj, path)) else default


def _controller(owners: Iterable[Object]) -> str:
    for owner in owners:
        if owner.get("controller"):
            group = owner["apiVersion"].rpartition("/")[0]
            kind = owner["kind"].lower() + (f".{group}" if group else "")
            return f"{kind}/{owner['name']}"
    return NONE


def _metric(spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    kind = str(spec.get("type"))
    part = kind[:1].lower() + kind[1:]
    target = get_path(spec, f"{part}.target") or {}
    current = get_path(status, f"{part}.current") or {}
    is_resource = kind in ("Resource", "ContainerResource")
    prefix = f"{spec[part].get('name')}: " if is_resource and part in spec else ""
    if (wanted := target.get("averageValue")) is not None:
        suffix = "" if is_resource or kind == "Pods" else " (avg)"
        return f"{prefix}{current.get('averageValue', UNKNOWN)}/{wanted}{suffix}"
    if is_resource:
        now, wanted = current.get("averageUtilization"), target.get("averageUtilization")
        return (
            f"{prefix}{UNKNOWN if now is None else f'{now}%'}"
            f"/{'<auto>' if wanted is None else f'{wanted}%'}"
        )
    return f"{current.get('value', UNKNOWN)}/{target.get('value')}" if target else "<unknown type>"


def _autoscaler_targets(obj: Object, _now: float) -> str:
    specs, statuses = _get(obj, "spec.metrics", ()), _get(obj, "status.currentMetrics", ())
    found = [
        _metric(spec, statuses[at] if at < len(statuses) else {}) for at, spec in enumerate(specs)
    ]
    return _limited(found, _MAX_METRICS, ", ") or NONE


def _quota(*, limits: bool) -> Cell:
    """Return a cell with the used and hard amounts of requests, or of limits."""

    def cell(obj: Object, _now: float) -> str:
        used = _get(obj, "status.used", {})
        return ", ".join(
            f"{name}: {used.get(name, '0')}/{hard}"
            for name, hard in sorted(_get(obj, "status.hard", {}).items())
            if name.startswith("limits.") is limits
        )

    return cell


# Networking.


def _ingress_hosts(rules: Sequence[Object]) -> str:
    hosts: list[str] = []
    for rule in rules:
        if len(hosts) == _MAX_LISTED:
            return f"{','.join(hosts)} + {len(rules) - _MAX_LISTED} more..."
        if rule.get("host"):
            hosts.append(rule["host"])
    return ",".join(hosts)


def _ingress_address(points: Iterable[Object]) -> str:
    found = {each.get("ip") or each.get("hostname") or "" for each in points}
    text = ",".join(sorted(found - {""}))
    return text if len(text) <= _MAX_ADDRESS_CHARS else text[: _MAX_ADDRESS_CHARS - 3] + "..."


def _ingress_class_name(obj: Object, _now: float) -> str:
    is_default = (_get(obj, "metadata.annotations", {})).get(_DEFAULT_CLASS) == "true"
    return f"{obj['metadata']['name']}{' (default)' if is_default else ''}"


def _ingress_class_parameters(found: Object) -> str:
    group = f".{found['apiGroup']}" if found.get("apiGroup") is not None else ""
    return f"{found.get('kind')}{group}/{found.get('name')}"


def _qualified_resource(found: Object) -> str:
    return ".".join(filter(None, (found.get("resource"), found.get("group"))))


def _ip_address_parent(found: Object) -> str:
    resource = _qualified_resource(found).lower()
    return "/".join(filter(None, (resource, found.get("namespace"), found.get("name"))))


def _endpoint_addresses(endpoints: Object, _now: float) -> str:
    if not endpoints.get("subsets"):
        return NONE
    found: list[str] = []
    for subset in endpoints["subsets"]:
        addresses = [each["ip"] for each in subset.get("addresses") or ()]
        ports = [each["port"] for each in subset.get("ports") or ()]
        shown = [f"[{each}]" if ":" in each else each for each in addresses]
        found += [f"{each}:{port}" for port in ports for each in shown] if ports else addresses
    return _limited(found, _MAX_LISTED)


def _slice_ports(ports: Iterable[Object]) -> str:
    return _limited(
        [str(each.get("port") or each.get("name") or "*") for each in ports], _MAX_LISTED
    )


def _slice_addresses(endpoints: Iterable[Object]) -> str:
    found = [address for each in endpoints for address in each.get("addresses") or ()]
    return _limited(found, _MAX_LISTED)


# Volumes and devices.


def _modes(given: Sequence[str]) -> str:
    """Return the access modes of a volume, in the order of the API server."""
    return ",".join(short for mode, short in _ACCESS_MODES.items() if mode in given)


def _phase(obj: Object, _now: float) -> str:
    ends = obj["metadata"].get("deletionTimestamp")
    return "Terminating" if ends else str(_get(obj, "status.phase"))


def _of_bound_claim(column: Column) -> Column:
    def cell(obj: Object, now: float) -> Any:
        return column.cell(obj, now) if _get(obj, "spec.volumeName") else ""

    return _column(column.name, cell, column.meaning)


def _storage_class(obj: Object, _now: float) -> str:
    """Return the class of a volume or claim; its old annotation has precedence."""
    annotations = _get(obj, "metadata.annotations", {})
    old = annotations.get("volume.beta.kubernetes.io/storage-class")
    return str(_get(obj, "spec.storageClassName") if old is None else old)


def _claim_state(obj: Object, _now: float) -> str:
    is_deleted, status = obj["metadata"].get("deletionTimestamp"), obj.get("status") or {}
    if status.get("allocation") is None:
        return "deleted" if is_deleted else "pending"
    parts = ["deleted" if is_deleted else "", "allocated"]
    return ",".join(filter(None, [*parts, "reserved" if status.get("reservedFor") else ""]))


# Kinds of the API server itself.


def _served_versions(versions: Iterable[Object]) -> str:
    return ",".join(
        sorted(
            each["name"] + ("(storage)" if each.get("storage") else "")
            for each in versions
            if each.get("served")
        )
    )


def _missing_level(conditions: Iterable[Object]) -> str:
    return next((each["status"] for each in conditions if each.get("type") == "Dangling"), "")


def _api_service_available(conditions: Iterable[Object]) -> str:
    found = next((each for each in conditions if each.get("type") == "Available"), None)
    if found is None:
        return ""
    return "True" if found.get("status") == "True" else f"{found['status']} ({found.get('reason')})"


_QUEUING = "spec.limited.limitResponse.queuing"
_READY = _column("Ready", _ready_replicas, "ready pods of the desired pods")
_PARAM_KIND = _field("ParamKind", "spec.paramKind", _UNSET, _pair("apiVersion", "kind"))
_STORAGE_CLASS = _column("StorageClass", _storage_class, "class of the volume")
_VOLUME_ATTRIBUTES = _field("VolumeAttributesClass", "spec.volumeAttributesClassName", _UNSET)
_VOLUME_MODE = _field("VolumeMode", "spec.volumeMode", _UNSET, wide=True)
_BINDING = (
    NAME,
    _field("PolicyName", "spec.policyName"),
    _field("ParamRef", "spec.paramRef", _UNSET, _param_ref),
    AGE,
)
_AUTOSCALER = (
    NAME,
    _field("Reference", "spec.scaleTargetRef", "", _pair("kind", "name")),
    _column("Targets", _autoscaler_targets, "current and desired values of the metrics"),
    _field("MinPods", "spec.minReplicas", _UNSET, str),
    _field("MaxPods", "spec.maxReplicas", 0),
    _field("Replicas", "status.currentReplicas", 0),
    AGE,
)
_ROLE_BINDING = (
    NAME,
    _field("Role", "roleRef", "", _pair("kind", "name")),
    AGE,
    _field("Users", "subjects", "", _subjects("User"), wide=True),
    _field("Groups", "subjects", "", _subjects("Group"), wide=True),
    _field("ServiceAccounts", "subjects", "", _subjects("ServiceAccount"), wide=True),
)
_EVENT = (
    _column("Last Seen", _event_last_seen, "time since the last occurrence"),
    _field("Type", "type"),
    _field("Reason", "reason"),
    _field("Object", "involvedObject", "", _event_object),
    _field("Subobject", "involvedObject.fieldPath", wide=True),
    _column("Source", _event_source, "component that reports the event", wide=True),
    _field("Message", "message", "", str.strip),
    _column("First Seen", _event_first_seen, "time since the first occurrence", wide=True),
    _column("Count", _event_count, "number of occurrences", wide=True),
    Column("Name", NAME.cell, "name of the event", 1, format="name"),
)


def _containers(path: str) -> tuple[Column, Column]:
    return (
        _field("Containers", path, "", _each("name"), wide=True),
        _field("Images", path, "", _each("image"), wide=True),
    )


_PODS = _containers("spec.template.spec.containers")
_SELECTED = (*_PODS, _field("Selector", "spec.selector", "", format_selector, wide=True))
_REPLICAS = (
    NAME,
    _number("Desired", "spec.replicas"),
    _number("Current", "status.replicas"),
    _number("Ready", "status.readyReplicas"),
    AGE,
)

COLUMNS: dict[str, tuple[Column, ...]] = {
    "APIService": (
        NAME,
        _field("Service", "spec.service", "Local", _pair("namespace", "name")),
        _field("Available", "status.conditions", "Unknown", _api_service_available),
        AGE,
    ),
    "CertificateSigningRequest": (
        NAME,
        AGE,
        _field("SignerName", "spec.signerName", NONE),
        _field("Requestor", "spec.username"),
        _field("RequestedDuration", "spec.expirationSeconds", NONE, duration),
        _column("Condition", _request_condition, "state of the request"),
    ),
    "ClusterRoleBinding": _ROLE_BINDING,
    "ClusterTrustBundle": (NAME, _field("SignerName", "spec.signerName", NONE)),
    "ConfigMap": (
        NAME,
        _column(
            "Data",
            lambda obj, _: len(_get(obj, "data", ())) + len(_get(obj, "binaryData", ())),
            "number of keys",
        ),
        AGE,
    ),
    "ControllerRevision": (
        NAME,
        _field("Controller", "metadata.ownerReferences", NONE, _controller),
        _field("Revision", "revision", 0),
        AGE,
    ),
    "CronJob": (
        NAME,
        _field("Schedule", "spec.schedule"),
        _field("Timezone", "spec.timeZone", NONE),
        _field("Suspend", "spec.suspend", "False", str, of="boolean"),
        _count("Active", "status.active"),
        _column(
            "Last Schedule", _since("status.lastScheduleTime", NONE), "time since the last start"
        ),
        AGE,
        *_containers("spec.jobTemplate.spec.template.spec.containers"),
        _field("Selector", "spec.selector", NONE, format_selector, wide=True),
    ),
    "CSIDriver": (
        NAME,
        _switch("AttachRequired", "spec.attachRequired"),
        _switch("PodInfoOnMount", "spec.podInfoOnMount"),
        _switch("StorageCapacity", "spec.storageCapacity"),
        _field("TokenRequests", "spec.tokenRequests", _UNSET, _each("audience")),
        _switch("RequiresRepublish", "spec.requiresRepublish"),
        _field("Modes", "spec.volumeLifecycleModes", NONE, ",".join),
        AGE,
    ),
    "CSINode": (NAME, _count("Drivers", "spec.drivers"), AGE),
    "CustomResourceDefinition": (
        NAME,
        _field("Scope", "spec.scope"),
        _field("Versions", "spec.versions", "", _served_versions),
        CREATED,
        _field("Group", "spec.group", wide=True),
        _field("Kind", "spec.names.kind", wide=True),
        _field("ShortNames", "spec.names.shortNames", "", ",".join, wide=True),
        _column(
            "Established",
            lambda obj, _: _is_true(obj, "Established"),
            "whether the kind is served",
            of="boolean",
            wide=True,
        ),
    ),
    "DaemonSet": (
        NAME,
        _number("Desired", "status.desiredNumberScheduled"),
        _number("Current", "status.currentNumberScheduled"),
        _number("Ready", "status.numberReady"),
        _number("Up-to-date", "status.updatedNumberScheduled"),
        _number("Available", "status.numberAvailable"),
        _field("Node Selector", "spec.template.spec.nodeSelector", NONE, format_labels),
        AGE,
        *_SELECTED,
    ),
    "Deployment": (
        NAME,
        _READY,
        _field("Up-to-date", "status.updatedReplicas", 0),
        _field("Available", "status.availableReplicas", 0),
        AGE,
        *_SELECTED,
    ),
    "DeviceClass": (NAME, AGE),
    "DeviceTaintRule": (
        NAME,
        _field("Key", "spec.taint.key"),
        _field("Value", "spec.taint.value"),
        _field("Effect", "spec.taint.effect"),
        _column("TimeAdded", _since("spec.taint.timeAdded", ""), "time since the taint was added"),
        AGE,
    ),
    "Endpoints": (NAME, _column("Endpoints", _endpoint_addresses, "addresses and ports"), AGE),
    "EndpointSlice": (
        NAME,
        _field("AddressType", "addressType"),
        _field("Ports", "ports", _UNSET, _slice_ports),
        _field("Endpoints", "endpoints", _UNSET, _slice_addresses),
        AGE,
    ),
    "Event": _EVENT,
    "events.v1.Event": _EVENT,
    "FlowSchema": (
        NAME,
        _field("PriorityLevel", "spec.priorityLevelConfiguration.name"),
        _field("MatchingPrecedence", "spec.matchingPrecedence", 0),
        _field("DistinguisherMethod", "spec.distinguisherMethod.type", NONE),
        AGE,
        _field("MissingPL", "status.conditions", "?", _missing_level),
    ),
    "HorizontalPodAutoscaler": _AUTOSCALER,
    "autoscaling.v1.HorizontalPodAutoscaler": _AUTOSCALER,
    "Ingress": (
        NAME,
        _field("Class", "spec.ingressClassName", NONE),
        _field("Hosts", "spec.rules", "*", _ingress_hosts),
        _field("Address", "status.loadBalancer.ingress", "", _ingress_address),
        _field("Ports", "spec.tls", "80", lambda _: "80, 443"),
        AGE,
    ),
    "IngressClass": (
        Column("Name", _ingress_class_name, "name, and whether it is the default", format="name"),
        _field("Controller", "spec.controller"),
        _field("Parameters", "spec.parameters", NONE, _ingress_class_parameters),
        AGE,
    ),
    "IPAddress": (NAME, _field("ParentRef", "spec.parentRef", NONE, _ip_address_parent)),
    "Job": (
        NAME,
        _column("Status", _job_status, "status of the job"),
        _column("Completions", _job_completions, "succeeded pods of the desired completions"),
        _column("Duration", _job_duration, "time from its start to its completion, or to now"),
        AGE,
        *_PODS,
        _field("Selector", "spec.selector", NONE, format_selector, wide=True),
    ),
    "Lease": (NAME, _field("Holder", "spec.holderIdentity"), AGE),
    "MutatingAdmissionPolicy": (NAME, _count("Mutations", "spec.mutations"), _PARAM_KIND, AGE),
    "MutatingAdmissionPolicyBinding": _BINDING,
    "MutatingWebhookConfiguration": (NAME, _count("Webhooks", "webhooks"), AGE),
    "Namespace": (NAME, _field("Status", "status.phase"), AGE),
    "NetworkPolicy": (
        NAME,
        _field("Pod-Selector", "spec.podSelector", NONE, format_selector),
        AGE,
    ),
    "Node": (
        NAME,
        _column("Status", _node_status, "whether the node is ready"),
        _field("Roles", "metadata.labels", NONE, _node_roles),
        AGE,
        _field("Version", "status.nodeInfo.kubeletVersion"),
        _field("Internal-IP", "status.addresses", NONE, _node_address("InternalIP"), wide=True),
        _field("External-IP", "status.addresses", NONE, _node_address("ExternalIP"), wide=True),
        _field("OS-Image", "status.nodeInfo.osImage", UNKNOWN, wide=True),
        _field("Kernel-Version", "status.nodeInfo.kernelVersion", UNKNOWN, wide=True),
        _field("Container-Runtime", "status.nodeInfo.containerRuntimeVersion", UNKNOWN, wide=True),
    ),
    "PersistentVolume": (
        NAME,
        _field("Capacity", "spec.capacity.storage", "0"),
        _field("Access Modes", "spec.accessModes", "", _modes),
        _field("Reclaim Policy", "spec.persistentVolumeReclaimPolicy"),
        _column("Status", _phase, "phase of the volume"),
        _field("Claim", "spec.claimRef", "", _pair("namespace", "name")),
        _STORAGE_CLASS,
        _VOLUME_ATTRIBUTES,
        _field("Reason", "status.reason"),
        AGE,
        _VOLUME_MODE,
    ),
    "PersistentVolumeClaim": (
        NAME,
        _column("Status", _phase, "phase of the claim"),
        _field("Volume", "spec.volumeName"),
        _of_bound_claim(_field("Capacity", "status.capacity.storage", "0")),
        _of_bound_claim(_field("Access Modes", "status.accessModes", "", _modes)),
        _STORAGE_CLASS,
        _VOLUME_ATTRIBUTES,
        AGE,
        _VOLUME_MODE,
    ),
    "Pod": (
        NAME,
        _column("Ready", _pod_ready, "ready containers of all containers"),
        _column("Status", lambda pod, _: summarize(pod).reason, "status of the pod"),
        _column("Restarts", _pod_restarts, "restarts of containers, and the age of the last one"),
        AGE,
        _field("IP", "status.podIP", NONE, wide=True),
        _field("Node", "spec.nodeName", NONE, wide=True),
        _field("Nominated Node", "status.nominatedNodeName", NONE, wide=True),
        _column("Readiness Gates", _pod_gates, "ready gates of all readiness gates", wide=True),
    ),
    "PodCertificateRequest": (
        NAME,
        _field("PodName", "spec.podName"),
        _field("ServiceAccountName", "spec.serviceAccountName"),
        _field("NodeName", "spec.nodeName"),
        _field("SignerName", "spec.signerName"),
        _field(
            "State", "status.conditions", "Pending", _last_condition(("Issued", "Denied", "Failed"))
        ),
        _field("UnverifiedUserAnnotations", "spec.unverifiedUserAnnotations", NONE, format_labels),
    ),
    "PodDisruptionBudget": (
        NAME,
        _field("Min Available", "spec.minAvailable", "N/A", str),
        _field("Max Unavailable", "spec.maxUnavailable", "N/A", str),
        _number("Allowed Disruptions", "status.disruptionsAllowed"),
        AGE,
    ),
    "PodTemplate": (
        NAME,
        _field("Containers", "template.spec.containers", "", _each("name")),
        _field("Images", "template.spec.containers", "", _each("image")),
        _field("Pod Labels", "template.metadata.labels", NONE, format_labels),
    ),
    "PriorityClass": (
        NAME,
        _number("Value", "value"),
        _switch("Global-Default", "globalDefault"),
        AGE,
        _field("PreemptionPolicy", "preemptionPolicy"),
    ),
    "PriorityLevelConfiguration": (
        NAME,
        _field("Type", "spec.type"),
        _field("NominalConcurrencyShares", "spec.limited.nominalConcurrencyShares", NONE),
        _field("Queues", f"{_QUEUING}.queues", NONE),
        _field("HandSize", f"{_QUEUING}.handSize", NONE),
        _field("QueueLengthLimit", f"{_QUEUING}.queueLengthLimit", NONE),
        AGE,
    ),
    "ReplicaSet": (*_REPLICAS, *_SELECTED),
    "ReplicationController": (
        *_REPLICAS,
        *_PODS,
        _field("Selector", "spec.selector", NONE, format_labels, wide=True),
    ),
    "resource.v1.ResourceClaim": (NAME, _column("State", _claim_state, "state of the claim"), AGE),
    "ResourceClaimTemplate": (NAME, AGE),
    "ResourceQuota": (
        NAME,
        _column("Request", _quota(limits=False), "used and hard amounts of requests"),
        _column("Limit", _quota(limits=True), "used and hard amounts of limits"),
        AGE,
    ),
    "ResourceSlice": (
        NAME,
        _field("Node", "spec.nodeName"),
        _field("Driver", "spec.driver"),
        _field("Pool", "spec.pool.name"),
        AGE,
    ),
    "RoleBinding": _ROLE_BINDING,
    "RuntimeClass": (NAME, _field("Handler", "handler"), AGE),
    "Secret": (NAME, _field("Type", "type"), _field("Data", "data", 0, len), AGE),
    "Service": (
        NAME,
        _field("Type", "spec.type"),
        _field("Cluster-IP", "spec.clusterIP", NONE),
        _column("External-IP", _service_external_ip, "address outside the cluster"),
        _field("Port(s)", "spec.ports", NONE, _service_ports),
        AGE,
        _field("Selector", "spec.selector", NONE, format_labels, wide=True),
    ),
    "ServiceAccount": (NAME, AGE),
    "ServiceCIDR": (NAME, _field("CIDRs", "spec.cidrs", "", ",".join), AGE),
    "StatefulSet": (NAME, _READY, AGE, *_PODS),
    "StorageClass": (
        NAME,
        _field("Provisioner", "provisioner"),
        _field("ReclaimPolicy", "reclaimPolicy", "Delete"),
        _field("VolumeBindingMode", "volumeBindingMode", "Immediate"),
        _field("AllowVolumeExpansion", "allowVolumeExpansion", False),
        AGE,
    ),
    "StorageVersionMigration": (
        _column("Name", NAME.cell, "name of the object"),
        _field("Resource", "spec.resource", "", _qualified_resource),
        _field(
            "Status",
            "status.conditions",
            "Unknown",
            _last_condition(("Running", "Failed", "Succeeded"), true_only=True),
        ),
    ),
    "ValidatingAdmissionPolicy": (
        NAME,
        _count("Validations", "spec.validations"),
        _PARAM_KIND,
        AGE,
    ),
    "ValidatingAdmissionPolicyBinding": _BINDING,
    "ValidatingWebhookConfiguration": (NAME, _count("Webhooks", "webhooks"), AGE),
    "VolumeAttachment": (
        NAME,
        Column("Attacher", lambda obj, _: _get(obj, "spec.attacher"), "driver", format="name"),
        _field("PV", "spec.source.persistentVolumeName"),
        _field("Node", "spec.nodeName"),
        _switch("Attached", "status.attached"),
        AGE,
    ),
    "VolumeAttributesClass": (NAME, _field("DriverName", "driverName"), AGE),
}
