"""What differs by kind when an object is made or changed: addresses of services, who may set what.

Everything a kind needs beyond the generic path and its rows in the pure tables is here.
"""

import copy
import ipaddress
import random

from podpass.kubernetes.apiserver.kinds import Kind, named
from podpass.kubernetes.apiserver.status import Cause, Why, invalid
from podpass.kubernetes.apiserver.storage.storage import Object, Store
from podpass.kubernetes.apiserver.validation.job import CONTROLLER_UID, JOB_NAME

_SERVICE_NETWORK = ipaddress.ip_network("10.96.0.0/16")
_NODE_PORTS = range(30000, 32768)
# A PUT on a name that is free creates these.
CREATED_BY_UPDATE = frozenset(
    (
        *("ClusterRole", "ClusterRoleBinding", "Event", "Lease", "Role", "RoleBinding", "Service"),
        *("Deployment", "ReplicaSet"),
    )
)
# A deletion answers these as they were, and the rest with a Status.
SHOWN_WHEN_DELETED = frozenset(("Namespace", "Pod", "Service", "ServiceAccount"))

# What becomes of what an object owns, where its deletion does not say; in the background for the rest.
# Jobs kept their pods before there were policies, and still do for who speaks to the API directly.
USUAL_POLICY = {"Job": "Orphan"}

_SYSTEM = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
)


def wipe(metadata: Object) -> None:
    """Take from a new object what only the API sets."""
    for name in ("uid", "creationTimestamp", "deletionTimestamp", "generation", "selfLink"):
        metadata.pop(name, None)
    metadata.pop("deletionGracePeriodSeconds", None)


def before_create(kind: Kind, obj: Object, store: Store) -> None:
    """Set what an object gets from the cluster it is made in.

    Errors:  StatusError 422.
    """
    if kind.has_generation:
        obj["metadata"]["generation"] = 1
    if kind.kind == "Service":
        _allocate(obj, store)
    elif kind.kind == "Job":
        select(obj)


def select(job: Object) -> None:
    """Let a job find its pods by its own uid, unless it names a selector itself."""
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


def merge(kind: Kind, live: Object, sent: Object, subresource: str) -> Object:
    """Keep of a sent object what its path may change, and take the rest from the live one."""
    new = copy.deepcopy(sent)
    metadata = new.setdefault("metadata", {})
    for name in _SYSTEM:
        metadata.pop(name, None)
        if name in live["metadata"]:
            metadata[name] = live["metadata"][name]
    metadata.pop("selfLink", None)
    if subresource == "status":
        return _only(live, new, "status")
    if subresource == "finalize":
        return _only(live, new, "spec") | ({"status": live["status"]} if "status" in live else {})
    if subresource == "ephemeralcontainers":
        return _ephemeral(live, new)
    _take(new, live, "status" if kind.has_status else "")
    if kind.kind == "Namespace":
        _take(new, live, "spec")
    if kind.kind == "Service":
        _keep_addresses(new, live)
    return new


def _take(new: Object, live: Object, part: str) -> None:
    if part:
        new.pop(part, None)
        if part in live:
            new[part] = live[part]


def _only(live: Object, new: Object, part: str) -> Object:
    kept = copy.deepcopy(live) | {"metadata": new["metadata"]}
    owners = live["metadata"].get("ownerReferences")
    kept["metadata"].pop("ownerReferences", None)
    if owners:
        kept["metadata"]["ownerReferences"] = owners
    kept.pop(part, None)
    if part in new:
        kept[part] = new[part]
    return kept


def _ephemeral(live: Object, new: Object) -> Object:
    kept = copy.deepcopy(live)
    kept["metadata"]["resourceVersion"] = new["metadata"].get("resourceVersion", "")
    kept["spec"].pop("ephemeralContainers", None)
    if containers := (new.get("spec") or {}).get("ephemeralContainers"):
        kept["spec"]["ephemeralContainers"] = containers
    return kept


def bump(new: Object, live: Object) -> None:
    """Count a change of what is wanted, as opposed to metadata and status."""
    if "generation" in live["metadata"] and _wanted(new) != _wanted(live):
        new["metadata"]["generation"] = live["metadata"]["generation"] + 1


def _wanted(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name not in ("metadata", "status")}


def _keep_addresses(new: Object, live: Object) -> None:
    spec, old = new.setdefault("spec", {}), live["spec"]
    if spec.get("type") == "ExternalName":
        return
    for name in ("clusterIP", "clusterIPs"):
        if not spec.get(name) and old.get(name):
            spec[name] = old[name]


def _allocate(service: Object, store: Store) -> None:
    """Give a service its address, and ports of the node if it wants them."""
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        return
    services = [entry.object() for entry in store.entries(named("Service"))]
    taken = {each["spec"].get("clusterIP") for each in services}
    wanted = spec.get("clusterIP")
    if wanted and wanted != "None" and wanted in taken:
        why = f"provided IP {wanted} is already allocated"
        name = service["metadata"]["name"]
        raise invalid(named("Service"), name, [Cause(Why.INVALID, why, "spec.clusterIPs")])
    spec["clusterIP"] = wanted or _free_address(taken)
    spec["clusterIPs"] = [spec["clusterIP"]]
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        used = {port.get("nodePort") for each in services for port in each["spec"].get("ports", ())}
        for port in spec.get("ports") or ():
            if not port.get("nodePort"):
                port["nodePort"] = random.choice([p for p in _NODE_PORTS if p not in used])  # noqa: S311 a port
                used.add(port["nodePort"])


def _free_address(taken: set[str | None]) -> str:
    while True:
        host = random.randrange(2, _SERVICE_NETWORK.num_addresses - 1)  # noqa: S311 an address
        if (address := str(_SERVICE_NETWORK[host])) not in taken:
            return address
