"""The strategies of kinds: which fields a client may set, and which fields the API server sets.

The generic registry calls these functions before it creates or updates an object.
"""

import copy
import ipaddress
import random
from collections.abc import Iterable

from kubeling.apiserver.kinds import Kind, kind_by_name
from kubeling.apiserver.request import UserInfo
from kubeling.apiserver.status import Cause, CauseType, internal, invalid
from kubeling.apiserver.storage.storage import Object, ObjectStore
from kubeling.apiserver.validation.job import CONTROLLER_UID, JOB_NAME

# As in Kubernetes, the lowest addresses are only assigned on request; the node uses some of them itself.
_FIRST_DYNAMIC = 256
_SERVICE_NETWORK = ipaddress.ip_network("10.96.0.0/16")
_NODE_PORTS = range(30000, 32768)
_WITH_NODE_PORTS = ("NodePort", "LoadBalancer")
# A PUT of a name that does not exist creates objects of these kinds.
CREATED_BY_UPDATE = frozenset(
    (
        *("ClusterRole", "ClusterRoleBinding", "Event", "Lease", "Role", "RoleBinding", "Service"),
        *("Endpoints", "LimitRange", "RuntimeClass", "events.v1.Event"),
    )
)
# The response to a deletion is the last state for these kinds, and a Status for the others.
RETURNED_WHEN_DELETED = frozenset(
    (
        *("CSIDriver", "CSINode", "DeviceClass", "Namespace", "PersistentVolume"),
        *("PersistentVolumeClaim", "Pod", "PodTemplate", "ResourceClaimTemplate", "ResourceQuota"),
        *("ResourceSlice", "Service", "ServiceAccount", "StorageClass", "VolumeAttachment"),
        *("VolumeAttributesClass", "resource.v1.ResourceClaim"),
    )
)

# The default propagation policy of deletions; other kinds use Background. These kinds orphan
# their pods for compatibility with clients from before propagation policies.
DEFAULT_PROPAGATION = {"Job": "Orphan", "ReplicationController": "Orphan"}

# Kinds whose spec does not change after the creation: an update of it is ignored.
_FIXED_SPECS = frozenset(("CertificateSigningRequest", "Namespace"))

_DEFINITION = "CustomResourceDefinition"
# Metadata that belongs to a write, not to the object.
_WRITE = ("resourceVersion", "managedFields")
_SYSTEM_FIELDS = (
    *("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"),
    "generation",
)


def wipe_system_fields(metadata: Object) -> None:
    """Remove from a new object the fields that only the API server sets."""
    for name in (*_SYSTEM_FIELDS, "selfLink"):
        metadata.pop(name, None)


def set_requester(kind: Kind, obj: Object, user: UserInfo) -> None:
    """Set the user of a CertificateSigningRequest: a signer relies on it, so no client may choose it."""
    if kind.type_name == "CertificateSigningRequest":
        spec = obj["spec"] = dict(obj.get("spec") or {})
        extra = {key: list(values) for key, values in user.extra.items()}
        groups = [*user.groups]
        given = {"username": user.name, "uid": user.uid, "groups": groups, "extra": extra}
        for name, value in given.items():
            spec.pop(name, None)
            if value:
                spec[name] = value


def prepare_for_create(kind: Kind, obj: Object, store: ObjectStore) -> None:
    """Set the fields of a new object that its kind's strategy sets. Raises StatusError 422."""
    if kind.has_generation:
        obj["metadata"]["generation"] = 1
    if kind.type_name == _DEFINITION:
        names = {"plural": "", "kind": ""}
        obj["status"] = {"conditions": None, "acceptedNames": names, "storedVersions": []}
        _set_stored_versions(obj, {})
    created = obj["metadata"]["creationTimestamp"]
    if kind.type_name == "PersistentVolume":
        obj["status"] = {**obj["status"], "lastPhaseTransitionTime": created}
    elif kind.type_name == "DeviceTaintRule":
        taint = {**obj["spec"]["taint"]}
        taint["timeAdded"] = taint.get("timeAdded") or created
        obj["spec"] = {**obj["spec"], "taint": taint}
    if kind.type_name == "Service":
        _allocate_addresses(obj, store)
    elif kind.type_name == "Job":
        generate_selector(obj)


def generate_selector(job: Object) -> None:
    """Set a job's selector and labels from its uid, unless it has a manual selector."""
    job["spec"] = spec = copy.deepcopy(job["spec"])
    if spec.get("manualSelector"):
        return
    metadata = job["metadata"]
    template = spec["template"].setdefault("metadata", {})
    labels = template["labels"] = template.get("labels") or {}
    for key, value in ((CONTROLLER_UID, metadata["uid"]), (JOB_NAME, metadata["name"])):
        labels.setdefault(key, value)
        labels.setdefault(key.partition("/")[2], value)
    if spec.get("selector") is None:
        spec["selector"] = {"matchLabels": {CONTROLLER_UID: metadata["uid"]}}
    if not metadata.get("labels"):
        metadata["labels"] = dict(labels)


def prepare_for_update(kind: Kind, live: Object, sent: Object, subresource: str) -> Object:
    """Return the sent object, with the live values of fields that this path must not change."""
    new = copy.deepcopy(sent)
    metadata = new.setdefault("metadata", {})
    for name in _SYSTEM_FIELDS:
        _copy_part(metadata, live["metadata"], name)
    metadata.pop("selfLink", None)
    if subresource == "status" and kind.custom is not None:
        new["metadata"] = live["metadata"] | _copied(metadata, *_WRITE)
    if subresource == "status":
        return _replace_part(live, new, "status")
    if subresource == "approval":
        conditions = _copied(new.get("status") or {}, "conditions")
        return {**live, "metadata": live["metadata"] | _copied(metadata, *_WRITE)} | {
            "status": {**(live.get("status") or {}), **conditions}
        }
    if subresource == "finalize":
        return _replace_part(live, new, "spec") | (
            {"status": live["status"]} if "status" in live else {}
        )
    if subresource == "ephemeralcontainers":
        result = copy.deepcopy(live)
        result["metadata"]["resourceVersion"] = new["metadata"].get("resourceVersion", "")
        result["spec"].pop("ephemeralContainers", None)
        if containers := (new.get("spec") or {}).get("ephemeralContainers"):
            result["spec"]["ephemeralContainers"] = containers
        return result
    _copy_part(new, live, "status" if kind.has_status else "")
    if kind.type_name == _DEFINITION:
        _set_stored_versions(new, live)
    if kind.type_name in _FIXED_SPECS:
        _copy_part(new, live, "spec")
    if kind.type_name == "Service":
        _copy_addresses(new, live)
    return new


def _copied(metadata: Object, *names: str) -> Object:
    return {name: metadata[name] for name in names if name in metadata}


def _set_stored_versions(definition: Object, live: Object) -> None:
    """Add the storage version to the versions in which objects may be stored."""
    status = definition["status"] = dict(definition.get("status") or {})
    stored = list((live.get("status") or {}).get("storedVersions") or ())
    for each in (definition.get("spec") or {}).get("versions") or ():
        if each and each.get("storage") and each.get("name") not in (None, *stored):
            stored.append(each["name"])
    status["storedVersions"] = stored


def _copy_part(new: Object, live: Object, name: str) -> None:
    if name:
        new.pop(name, None)
        if name in live:
            new[name] = live[name]


def _replace_part(live: Object, new: Object, name: str) -> Object:
    result = copy.deepcopy(live) | {"metadata": new["metadata"]}
    owners = live["metadata"].get("ownerReferences")
    result["metadata"].pop("ownerReferences", None)
    if owners:
        result["metadata"]["ownerReferences"] = owners
    result.pop(name, None)
    if name in new:
        result[name] = new[name]
    return result


def increment_generation(kind: Kind, new: Object, live: Object) -> None:
    """Increment metadata.generation if anything but metadata and status changed."""
    # A custom resource without the subresource has an ordinary field of this name.
    ignored = ("metadata", "status") if kind.custom is None or kind.has_status else ("metadata",)
    if "generation" in live["metadata"] and _without(new, ignored) != _without(live, ignored):
        new["metadata"]["generation"] = live["metadata"]["generation"] + 1


def _without(obj: Object, ignored: tuple[str, ...]) -> Object:
    return {name: value for name, value in obj.items() if name not in ignored}


def _copy_addresses(new: Object, live: Object) -> None:
    spec, old = new.setdefault("spec", {}), live["spec"]
    if spec.get("type") == "ExternalName":
        _release_addresses(spec, old)
        return
    for name in ("clusterIP", "clusterIPs"):
        if not spec.get(name) and old.get(name):
            spec[name] = old[name]
    if spec.get("type") not in _WITH_NODE_PORTS and old.get("type") in _WITH_NODE_PORTS:
        _release_node_ports(spec, old)


def _release_addresses(spec: Object, old: Object) -> None:
    """Remove what a service without addresses does not have, unless the client has changed it."""
    for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if spec.get(name) == old.get(name):
            spec.pop(name, None)
    _release_node_ports(spec, old)


def _release_node_ports(spec: Object, old: Object) -> None:
    numbers = [[port.get("nodePort") for port in each.get("ports") or ()] for each in (spec, old)]
    if numbers[0] == numbers[1]:
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)


def allocate(kind: Kind, obj: Object, store: ObjectStore) -> None:
    """Set the cluster IP and node ports that a service needs after a change of its type.

    Raises StatusError 422.
    """
    if kind.kind != "Service":
        return
    spec = obj["spec"]
    ports = spec.get("ports") or () if spec.get("type") in _WITH_NODE_PORTS else ()
    if not spec.get("clusterIP") or any(not port.get("nodePort") for port in ports):
        _allocate_addresses(obj, store)


def _allocate_addresses(service: Object, store: ObjectStore) -> None:
    """Set the cluster IP of a service, and its node ports if its type has them."""
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        return
    services = [
        each
        for entry in store.list_stored(kind_by_name("Service"))
        if (each := entry.object())["metadata"]["uid"] != service["metadata"]["uid"]
    ]
    used_addresses = {each["spec"].get("clusterIP") for each in services}
    requested = spec.get("clusterIP")
    if requested and requested != "None" and requested in used_addresses:
        reason = f"provided IP {requested} is already allocated"
        name = service["metadata"]["name"]
        raise invalid(
            kind_by_name("Service"), name, [Cause(CauseType.INVALID, reason, "spec.clusterIPs")]
        )
    spec["clusterIP"] = requested or _random_unused_address(used_addresses)
    spec["clusterIPs"] = [spec["clusterIP"]]
    if spec.get("type") in _WITH_NODE_PORTS:
        used_ports = {
            port.get("nodePort") for each in services for port in each["spec"].get("ports", ())
        }
        _allocate_node_ports(spec.get("ports") or (), used_ports)


def _allocate_node_ports(ports: Iterable[Object], used_ports: set[int | None]) -> None:
    free = [port for port in _NODE_PORTS if port not in used_ports]
    random.shuffle(free)
    for port in ports:
        if not port.get("nodePort"):
            if not free:
                raise internal("failed to allocate a nodePort: range is full")
            port["nodePort"] = free.pop()


def _random_unused_address(used_addresses: set[str | None]) -> str:
    if len(used_addresses) > _SERVICE_NETWORK.num_addresses // 2:
        raise internal("failed to allocate an IP address: range is full")
    while True:
        host = random.randrange(_FIRST_DYNAMIC, _SERVICE_NETWORK.num_addresses - 1)  # noqa: S311 an address
        if (address := str(_SERVICE_NETWORK[host])) not in used_addresses:
            return address


def is_unchanged(new: Object, live: Object) -> bool:
    """Compare two states without the times in managedFields."""
    return _without_times(new) == _without_times(live)


def _without_times(obj: Object) -> Object:
    metadata = dict(obj["metadata"])
    if fields := metadata.get("managedFields"):
        metadata["managedFields"] = [
            {name: value for name, value in entry.items() if name != "time"} for entry in fields
        ]
    return {**obj, "metadata": metadata}
