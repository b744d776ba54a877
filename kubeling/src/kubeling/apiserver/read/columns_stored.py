"""Table columns of kinds that are stored and have no controller: networking, storage, policies, devices.

Source: k8s.io/kubernetes v1.37 pkg/printers/internalversion.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kubeling.apiserver.read.column import (
    AGE,
    CREATED,
    NAME,
    NONE,
    UNKNOWN,
    Cell,
    Column,
    Object,
    duration,
    elapsed,
    field_cell,
    format_labels,
)
from kubeling.apiserver.selectors import format_selector, get_path

_UNSET = "<unset>"
_ACCESS_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
_MAX_HOSTS = _MAX_ENDPOINTS = 3
_MAX_METRICS = 2
_MAX_ADDRESS_CHARS = 16
_DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"


def _get(obj: Object, path: str, default: Any = "") -> Any:
    found = get_path(obj, path)
    return default if found is None else found


def _field(
    name: str, path: str, default: Any = "", *, of: str = "string", wide: bool = False
) -> Column:
    """Return a column with the value of a field."""
    cell = field_cell(*path.split("."), default=default)
    return Column(name, cell, f"`{path}` of the object", int(wide), of)


def _column(name: str, cell: Cell, meaning: str, *, of: str = "string") -> Column:
    return Column(name, cell, meaning, type=of)


def _count(name: str, path: str) -> Column:
    return _column(
        name, lambda obj, _: len(_get(obj, path, ())), f"number of `{path}`", of="integer"
    )


def _limited(items: Sequence[str], most: int, total: int, separator: str = ",") -> str:
    text = separator.join(items[:most])
    return f"{text} + {total - most} more..." if total > most else text


def _ingress_hosts(ingress: Object, _now: float) -> str:
    rules = _get(ingress, "spec.rules", ())
    hosts: list[str] = []
    for rule in rules:
        if len(hosts) == _MAX_HOSTS:
            return f"{','.join(hosts)} + {len(rules) - _MAX_HOSTS} more..."
        if rule.get("host"):
            hosts.append(rule["host"])
    return ",".join(hosts) or "*"


def _ingress_address(ingress: Object, _now: float) -> str:
    points = _get(ingress, "status.loadBalancer.ingress", ())
    text = ",".join(
        sorted({each.get("ip") or each.get("hostname") or "" for each in points} - {""})
    )
    return text if len(text) <= _MAX_ADDRESS_CHARS else text[: _MAX_ADDRESS_CHARS - 3] + "..."


def _ingress_class_name(obj: Object, _now: float) -> str:
    is_default = (_get(obj, "metadata.annotations", {})).get(_DEFAULT_CLASS) == "true"
    return f"{obj['metadata']['name']}{' (default)' if is_default else ''}"


def _ingress_class_parameters(obj: Object, _now: float) -> str:
    if not (found := _get(obj, "spec.parameters", {})):
        return NONE
    group = f".{found['apiGroup']}" if found.get("apiGroup") is not None else ""
    return f"{found.get('kind')}{group}/{found.get('name')}"


def _ip_address_parent(obj: Object, _now: float) -> str:
    if not (found := _get(obj, "spec.parentRef", {})):
        return NONE
    resource = ".".join(filter(None, (found.get("resource"), found.get("group")))).lower()
    return "/".join(filter(None, (resource, found.get("namespace"), found.get("name"))))


def _endpoint_addresses(endpoints: Object, _now: float) -> str:
    found: list[str] = []
    for subset in endpoints.get("subsets") or ():
        addresses = [each["ip"] for each in subset.get("addresses") or ()]
        ports = [each["port"] for each in subset.get("ports") or ()]
        shown = [f"[{each}]" if ":" in each else each for each in addresses]
        found += [f"{each}:{port}" for port in ports for each in shown] if ports else addresses
    if not endpoints.get("subsets"):
        return NONE
    return _limited(found, _MAX_ENDPOINTS, len(found))


def _modes(path: str) -> Cell:
    """Return a cell with the access modes of a volume, in the order of the API server."""

    def cell(obj: Object, _now: float) -> str:
        given = _get(obj, path, ())
        return ",".join(short for mode, short in _ACCESS_MODES.items() if mode in given)

    return cell


def _phase(obj: Object, _now: float) -> str:
    ends = obj["metadata"].get("deletionTimestamp")
    return "Terminating" if ends else str(_get(obj, "status.phase"))


def _of_bound_claim(cell: Cell) -> Cell:
    return lambda obj, now: cell(obj, now) if _get(obj, "spec.volumeName") else ""


def _claim_of_volume(obj: Object, _now: float) -> str:
    claim = _get(obj, "spec.claimRef", {})
    return f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else ""


def _storage_class(obj: Object, _now: float) -> str:
    """Return the class of a volume or claim; its old annotation has precedence."""
    annotations = _get(obj, "metadata.annotations", {})
    old = annotations.get("volume.beta.kubernetes.io/storage-class")
    return str(_get(obj, "spec.storageClassName") if old is None else old)


def _requested_duration(obj: Object, _now: float) -> str:
    seconds = _get(obj, "spec.expirationSeconds", None)
    return NONE if seconds is None else duration(seconds)


def _request_condition(obj: Object, _now: float) -> str:
    types = {each.get("type") for each in _get(obj, "status.conditions", ())}
    text = next((each for each in ("Denied", "Approved") if each in types), "Pending")
    issued = _get(obj, "status.certificate")
    return text + (",Failed" if "Failed" in types else "") + (",Issued" if issued else "")


def _last_condition(types: Sequence[str], default: str, *, true_only: bool = False) -> Cell:
    """Return a cell with the last condition of some types."""

    def cell(obj: Object, _now: float) -> str:
        found = default
        for each in _get(obj, "status.conditions", ()):
            if each.get("type") in types and (not true_only or each.get("status") == "True"):
                found = each["type"]
        return found

    return cell


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
    return _limited(found, _MAX_METRICS, len(found), ", ") or NONE


def _autoscaler_target(obj: Object, _now: float) -> str:
    target = _get(obj, "spec.scaleTargetRef", {})
    return f"{target.get('kind')}/{target.get('name')}"


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


def _container_names(part: str) -> Cell:
    return lambda obj, _: ",".join(
        str(each.get(part) or "") for each in _get(obj, "template.spec.containers", ())
    )


def _served_versions(obj: Object, _now: float) -> str:
    versions = (each for each in _get(obj, "spec.versions", ()) if each.get("served"))
    return ",".join(
        sorted(each["name"] + ("(storage)" if each.get("storage") else "") for each in versions)
    )


def _is_established(obj: Object, _now: float) -> bool:
    conditions = _get(obj, "status.conditions", ())
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def _param_kind(obj: Object, _now: float) -> str:
    found = _get(obj, "spec.paramKind", {})
    return f"{found.get('apiVersion')}/{found.get('kind')}" if found else _UNSET


def _param_ref(obj: Object, _now: float) -> str:
    found = _get(obj, "spec.paramRef", {})
    if found.get("name"):
        return f"{found.get('namespace') or '*'}/{found['name']}"
    return format_selector(found["selector"]) if found.get("selector") is not None else _UNSET


def _missing_level(obj: Object, _now: float) -> str:
    conditions = _get(obj, "status.conditions", ())
    return next((each["status"] for each in conditions if each.get("type") == "Dangling"), "?")


def _claim_state(obj: Object, _now: float) -> str:
    is_deleted, status = obj["metadata"].get("deletionTimestamp"), obj.get("status") or {}
    if status.get("allocation") is None:
        return "deleted" if is_deleted else "pending"
    parts = ["deleted" if is_deleted else "", "allocated"]
    return ",".join(filter(None, [*parts, "reserved" if status.get("reservedFor") else ""]))


def _taint_age(obj: Object, now: float) -> str:
    added = _get(obj, "spec.taint.timeAdded", None)
    return elapsed(added, now) if added else ""


def _migrated(obj: Object, _now: float) -> str:
    found = _get(obj, "spec.resource", {})
    return ".".join(filter(None, (found.get("resource"), found.get("group"))))


def _api_service(obj: Object, _now: float) -> str:
    found = _get(obj, "spec.service", {})
    return f"{found.get('namespace')}/{found.get('name')}" if found else "Local"


def _api_service_available(obj: Object, _now: float) -> str:
    conditions = _get(obj, "status.conditions", ())
    found = next((each for each in conditions if each.get("type") == "Available"), None)
    if found is None:
        return "Unknown"
    return "True" if found.get("status") == "True" else f"{found['status']} ({found.get('reason')})"


_QUEUING = "spec.limited.limitResponse.queuing"
_BINDING = (
    NAME,
    _field("PolicyName", "spec.policyName"),
    _column("ParamRef", _param_ref, "parameters of the policy"),
    AGE,
)
_AUTOSCALER = (
    NAME,
    _column("Reference", _autoscaler_target, "workload that is scaled"),
    _column("Targets", _autoscaler_targets, "current and desired values of the metrics"),
    _column(
        "MinPods", lambda obj, _: str(_get(obj, "spec.minReplicas", _UNSET)), "fewest replicas"
    ),
    _field("MaxPods", "spec.maxReplicas", 0),
    _field("Replicas", "status.currentReplicas", 0),
    AGE,
)

STORED: dict[str, tuple[Column, ...]] = {
    "APIService": (
        NAME,
        _column("Service", _api_service, "Service that serves the API"),
        _column("Available", _api_service_available, "whether the API is available"),
        AGE,
    ),
    "CertificateSigningRequest": (
        NAME,
        AGE,
        _field("SignerName", "spec.signerName", NONE),
        _field("Requestor", "spec.username"),
        _column("RequestedDuration", _requested_duration, "requested lifetime"),
        _column("Condition", _request_condition, "state of the request"),
    ),
    "ClusterTrustBundle": (NAME, _field("SignerName", "spec.signerName", NONE)),
    "CSINode": (NAME, _count("Drivers", "spec.drivers"), AGE),
    "CustomResourceDefinition": (
        NAME,
        _field("Scope", "spec.scope"),
        _column("Versions", _served_versions, "served versions"),
        CREATED,
        _field("Group", "spec.group", wide=True),
        _field("Kind", "spec.names.kind", wide=True),
        Column(
            "ShortNames",
            lambda obj, _: ",".join(_get(obj, "spec.names.shortNames", ())),
            "short names",
            1,
        ),
        Column("Established", _is_established, "whether the kind is served", 1, "boolean"),
    ),
    "DeviceClass": (NAME, AGE),
    "DeviceTaintRule": (
        NAME,
        _field("Key", "spec.taint.key"),
        _field("Value", "spec.taint.value"),
        _field("Effect", "spec.taint.effect"),
        _column("TimeAdded", _taint_age, "time since the taint was added"),
        AGE,
    ),
    "Endpoints": (NAME, _column("Endpoints", _endpoint_addresses, "addresses and ports"), AGE),
    "FlowSchema": (
        NAME,
        _field("PriorityLevel", "spec.priorityLevelConfiguration.name"),
        _field("MatchingPrecedence", "spec.matchingPrecedence", 0),
        _field("DistinguisherMethod", "spec.distinguisherMethod.type", NONE),
        AGE,
        _column("MissingPL", _missing_level, "whether the priority level is missing"),
    ),
    "HorizontalPodAutoscaler": _AUTOSCALER,
    "Ingress": (
        NAME,
        _field("Class", "spec.ingressClassName", NONE),
        _column("Hosts", _ingress_hosts, "host names of the rules"),
        _column("Address", _ingress_address, "addresses of the load balancer"),
        _column(
            "Ports", lambda obj, _: "80, 443" if _get(obj, "spec.tls") else "80", "HTTP and TLS"
        ),
        AGE,
    ),
    "IngressClass": (
        Column("Name", _ingress_class_name, "name, and whether it is the default", format="name"),
        _field("Controller", "spec.controller"),
        _column("Parameters", _ingress_class_parameters, "object with parameters"),
        AGE,
    ),
    "IPAddress": (NAME, _column("ParentRef", _ip_address_parent, "owner of the address")),
    "MutatingAdmissionPolicy": (
        NAME,
        _count("Mutations", "spec.mutations"),
        _column("ParamKind", _param_kind, "kind of the parameters"),
        AGE,
    ),
    "MutatingAdmissionPolicyBinding": _BINDING,
    "PersistentVolume": (
        NAME,
        _field("Capacity", "spec.capacity.storage", "0"),
        _column("Access Modes", _modes("spec.accessModes"), "access modes"),
        _field("Reclaim Policy", "spec.persistentVolumeReclaimPolicy"),
        _column("Status", _phase, "phase of the volume"),
        _column("Claim", _claim_of_volume, "claim that is bound to the volume"),
        _column("StorageClass", _storage_class, "storage class"),
        _field("VolumeAttributesClass", "spec.volumeAttributesClassName", _UNSET),
        _field("Reason", "status.reason"),
        AGE,
        _field("VolumeMode", "spec.volumeMode", _UNSET, wide=True),
    ),
    "PersistentVolumeClaim": (
        NAME,
        _column("Status", _phase, "phase of the claim"),
        _field("Volume", "spec.volumeName"),
        _column(
            "Capacity",
            _of_bound_claim(field_cell("status", "capacity", "storage", default="0")),
            "size of the volume",
        ),
        _column("Access Modes", _of_bound_claim(_modes("status.accessModes")), "access modes"),
        _column("StorageClass", _storage_class, "storage class"),
        _field("VolumeAttributesClass", "spec.volumeAttributesClassName", _UNSET),
        AGE,
        _field("VolumeMode", "spec.volumeMode", _UNSET, wide=True),
    ),
    "PodCertificateRequest": (
        NAME,
        _field("PodName", "spec.podName"),
        _field("ServiceAccountName", "spec.serviceAccountName"),
        _field("NodeName", "spec.nodeName"),
        _field("SignerName", "spec.signerName"),
        _column(
            "State",
            _last_condition(("Issued", "Denied", "Failed"), "Pending"),
            "state of the request",
        ),
        _column(
            "UnverifiedUserAnnotations",
            lambda obj, _: format_labels(_get(obj, "spec.unverifiedUserAnnotations", None)),
            "annotations for the signer",
        ),
    ),
    "PodTemplate": (
        NAME,
        _column("Containers", _container_names("name"), "names of the containers"),
        _column("Images", _container_names("image"), "images of the containers"),
        _column(
            "Pod Labels",
            lambda obj, _: format_labels(_get(obj, "template.metadata.labels", None)),
            "labels of the pods",
        ),
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
    "RuntimeClass": (NAME, _field("Handler", "handler"), AGE),
    "ServiceCIDR": (
        NAME,
        _column("CIDRs", lambda obj, _: ",".join(_get(obj, "spec.cidrs", ())), "address ranges"),
        AGE,
    ),
    "StorageClass": (
        NAME,
        _field("Provisioner", "provisioner"),
        _field("ReclaimPolicy", "reclaimPolicy", "Delete"),
        _field("VolumeBindingMode", "volumeBindingMode", "Immediate"),
        _field("AllowVolumeExpansion", "allowVolumeExpansion", False),
        AGE,
    ),
    "StorageVersionMigration": (
        Column("Name", field_cell("metadata", "name"), "name of the object"),
        _column("Resource", _migrated, "resource that is migrated"),
        _column(
            "Status",
            _last_condition(("Running", "Failed", "Succeeded"), "Unknown", true_only=True),
            "state of the migration",
        ),
    ),
    "ValidatingAdmissionPolicy": (
        NAME,
        _count("Validations", "spec.validations"),
        _column("ParamKind", _param_kind, "kind of the parameters"),
        AGE,
    ),
    "ValidatingAdmissionPolicyBinding": _BINDING,
    "VolumeAttachment": (
        NAME,
        Column("Attacher", field_cell("spec", "attacher"), "driver", format="name"),
        _field("PV", "spec.source.persistentVolumeName"),
        _field("Node", "spec.nodeName"),
        _field("Attached", "status.attached", False, of="boolean"),
        AGE,
    ),
    "VolumeAttributesClass": (NAME, _field("DriverName", "driverName"), AGE),
    "autoscaling.v1.HorizontalPodAutoscaler": _AUTOSCALER,
    "resource.v1.ResourceClaim": (NAME, _column("State", _claim_state, "state of the claim"), AGE),
}
