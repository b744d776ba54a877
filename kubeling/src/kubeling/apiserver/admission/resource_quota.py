"""The admission plugins ResourceQuota, with the usage of a namespace, and LimitRanger.

The check and the charge happen in one step together with the write of the object, without an await between
them. Otherwise two requests at the same time could both use the last part of a quota.

Source: k8s.io/kubernetes v1.34 pkg/quota/v1/evaluator/core, k8s.io/apiserver's plugin resourcequota,
and plugin/pkg/admission/limitranger.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from kubeling import quantity
from kubeling.apiserver.defaulting.defaults import qos_class
from kubeling.apiserver.kinds import Kind, kind_by_name
from kubeling.apiserver.selectors import Requirement
from kubeling.apiserver.status import forbidden_object
from kubeling.apiserver.storage.storage import Object, ObjectStore

Amounts = dict[str, Decimal]


def totals(spec: Mapping[str, Any], part: str) -> Amounts:
    """Return the sum of the `requests` or `limits` of a pod's containers.

    Init containers run one after another before the other containers, so only the largest of them counts. A
    sidecar is added to all containers that start after it.
    """
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, amounts(container, part))
    sidecars: Amounts = {}
    most: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = amounts(container, part)
        if container.get("restartPolicy") == "Always":
            _add(total, own)
            _add(sidecars, own)
            own = sidecars
        else:
            _add(own, sidecars)
        most = {
            name: max(own.get(name, Decimal(0)), most.get(name, Decimal(0))) for name in own | most
        }
    for name, amount in most.items():
        total[name] = max(amount, total.get(name, Decimal(0)))
    total |= amounts(spec, part)
    # A RuntimeClass sets the overhead. As in Kubernetes, it is added only to limits that the pod has.
    overhead = {name: quantity.parse(text) for name, text in (spec.get("overhead") or {}).items()}
    _add(total, {name: overhead[name] for name in overhead if part == "requests" or name in total})
    return total


def amounts(owner: Mapping[str, Any], part: str) -> Amounts:
    """Return the `requests` or `limits` of a container, of a pod as a whole, or of a claim."""
    given = (owner.get("resources") or {}).get(part) or {}
    return {name: quantity.parse(text) for name, text in given.items()}


def _add(total: Amounts, more: Mapping[str, Decimal]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, Decimal(0)) + amount


_QUOTA = kind_by_name("ResourceQuota")
_COUNT, _REQUESTS, _LIMITS = "count/", "requests.", "limits."
_STORAGE, _CLASS = "requests.storage", ".storageclass.storage.k8s.io/"
# Resources with a name of their own in addition to `count/...`.
_NAMED = {
    "ConfigMap": "configmaps",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "ReplicationController": "replicationcontrollers",
    "ResourceQuota": "resourcequotas",
    "Secret": "secrets",
    "Service": "services",
}
_KIND_OF = {name: kind for kind, name in _NAMED.items()} | {
    "services.loadbalancers": "Service",
    "services.nodeports": "Service",
    _STORAGE: "PersistentVolumeClaim",
}
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
# A quota for one of these requires every container to set it.
_REQUIRED = {
    "cpu": ("requests", "cpu"),
    "memory": ("requests", "memory"),
    **{
        f"{part}.{name}": (part, name)
        for part in ("requests", "limits")
        for name in ("cpu", "memory")
    },
}
# The kinds whose usage an update may change.
_UPDATED = ("PersistentVolumeClaim", "Pod", "Service")


def usage(kind: Kind, obj: Mapping[str, Any]) -> Amounts:
    """Return what an object uses, by the names of a quota."""
    used = {_COUNT + kind.resource: Decimal(1)}
    if name := _NAMED.get(kind.type_name):
        used[name] = Decimal(1)
    match kind.type_name:
        case "Pod":
            used |= _pod_usage(obj)
        case "Service":
            used |= _service_usage(obj.get("spec") or {})
        case "PersistentVolumeClaim":
            used |= _claim_usage(obj.get("spec") or {})
    return used


def _pod_usage(pod: Mapping[str, Any]) -> Amounts:
    if (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
        return {}
    used = {"pods": Decimal(1)}
    for name, amount in totals(pod["spec"], "requests").items():
        used[_REQUESTS + name] = amount
        if name in _COMPUTE or name.startswith("hugepages-"):
            used[name] = amount
    limits = totals(pod["spec"], "limits")
    return used | {_LIMITS + name: limits[name] for name in _COMPUTE if name in limits}


def _service_usage(spec: Mapping[str, Any]) -> Amounts:
    kind, ports = spec.get("type"), spec.get("ports") or ()
    balanced = kind == "LoadBalancer"
    if balanced and spec.get("allocateLoadBalancerNodePorts") is False:
        ports = [port for port in ports if port.get("nodePort")]
    node_ports = len(ports) if balanced or kind == "NodePort" else 0
    return {
        "services.nodeports": Decimal(node_ports),
        "services.loadbalancers": Decimal(int(balanced)),
    }


def _claim_usage(spec: Mapping[str, Any]) -> Amounts:
    storage = amounts(spec, "requests").get("storage", Decimal(0))
    used = {_STORAGE: storage}
    if name := spec.get("storageClassName"):
        used |= {
            f"{name}{_CLASS}{_STORAGE}": storage,
            f"{name}{_CLASS}persistentvolumeclaims": Decimal(1),
        }
    return used


def in_scope(quota: Object, kind: Kind, obj: Mapping[str, Any]) -> bool:
    """Return whether an object is in all scopes of a quota; only pods have scopes."""
    spec = quota["spec"]
    selected = (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    terms = [*({"scopeName": each} for each in spec.get("scopes") or ()), *selected]
    return not terms or (kind.type_name == "Pod" and all(_in_scope(term, obj) for term in terms))


def _in_scope(term: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    spec = pod["spec"]
    match term["scopeName"]:
        case "BestEffort":
            return qos_class(spec) == "BestEffort"
        case "NotBestEffort":
            return qos_class(spec) != "BestEffort"
        case "Terminating":
            return spec.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "PriorityClass":
            name = spec.get("priorityClassName")
            values = frozenset(term.get("values") or ())
            labels = {"name": name} if name else {}
            operator = term.get("operator") or "Exists"
            return Requirement("name", operator, values).matches(labels)
        case "CrossNamespacePodAffinity":
            return any(
                each.get("namespaces") or each.get("namespaceSelector") is not None
                for each in _affinity_terms(spec)
            )
    return False


def _affinity_terms(spec: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for part in ("podAffinity", "podAntiAffinity"):
        rules = (spec.get("affinity") or {}).get(part) or {}
        yield from rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        for each in rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            yield each["podAffinityTerm"]


def kind_of(name: str, stored: Iterable[Kind]) -> Kind | None:
    """Return the kind whose objects use a resource; None if the kind is not served."""
    if name.startswith(_COUNT):
        resource = name.removeprefix(_COUNT)
        return next((kind for kind in stored if kind.resource == resource), None)
    if _CLASS in name:
        return kind_by_name("PersistentVolumeClaim")
    return kind_by_name(_KIND_OF.get(name, "Pod"))


def status(store: ObjectStore, stored: Iterable[Kind], quota: Object) -> Object:
    """Return the status of a quota, by the objects of its namespace."""
    hard, namespace = quota["spec"].get("hard") or {}, quota["metadata"]["namespace"]
    total = dict.fromkeys(hard, Decimal(0))
    kinds = list(stored)
    found = {kind.resource: kind for name in hard if (kind := kind_of(name, kinds))}
    for kind in found.values():
        for entry in store.list_stored(kind, namespace):
            obj = entry.object()
            if in_scope(quota, kind, obj):
                for name, amount in usage(kind, obj).items():
                    if name in total:
                        total[name] += amount
    texts = {name: quantity.canonical(amount, hard[name]) for name, amount in total.items()}
    return {"hard": hard, "used": texts}


def check(
    store: ObjectStore,
    stored: Callable[[], Iterable[Kind]],
    kind: Kind,
    new: Object,
    old: Object | None,
) -> list[Object]:
    """Return the quotas with the usage after a write; the caller stores them together with the object.

    Raises StatusError 403.
    """
    metadata = new["metadata"]
    if not metadata.get("namespace") or (old is not None and kind.type_name not in _UPDATED):
        return []
    changed = []
    for entry in store.list_stored(_QUOTA, metadata["namespace"]):
        quota = entry.object()
        if not (quota.get("status") or {}).get("hard"):  # new: the controller has not written it
            quota["status"] = status(store, stored(), quota)
        if (used := _used_after(quota, kind, new, old)) is not None:
            changed.append({**quota, "status": {**quota["status"], "used": used}})
    return changed


def _used_after(quota: Object, kind: Kind, new: Object, old: Object | None) -> Object | None:
    """Return the usage of a quota after a write; None if the write does not change it."""
    hard, used = quota["status"]["hard"], quota["status"].get("used") or {}
    if not in_scope(quota, kind, new):
        return None
    if kind.type_name == "Pod" and old is None:
        _require_resources(quota, new)
    before = usage(kind, old) if old is not None and in_scope(quota, kind, old) else {}
    more = {
        name: amount - before.get(name, Decimal(0))
        for name, amount in usage(kind, new).items()
        if name in hard and amount > before.get(name, Decimal(0))
    }
    if not more:
        return None
    after = {name: quantity.parse(used.get(name, "0")) + amount for name, amount in more.items()}
    exceeded = sorted(name for name in more if after[name] > quantity.parse(hard[name]))
    if exceeded:
        requested = {name: quantity.canonical(more[name], hard[name]) for name in exceeded}
        parts = {"requested": requested, "used": used, "limited": hard}
        texts = [
            f"{title}: {','.join(f'{name}={given.get(name, 0)}' for name in exceeded)}"
            for title, given in parts.items()
        ]
        quota_name = quota["metadata"]["name"]
        raise _forbidden(kind, new, f"exceeded quota: {quota_name}, {', '.join(texts)}")
    return used | {name: quantity.canonical(after[name], hard[name]) for name in after}


def _require_resources(quota: Object, pod: Object) -> None:
    """Refuse a container that does not set a resource of the quota; the pod may set it for all."""
    spec = pod["spec"]
    if spec.get("resources"):
        return
    missing: dict[str, list[str]] = {}
    for name in sorted(quota["status"]["hard"].keys() & _REQUIRED.keys()):
        part, resource = _REQUIRED[name]
        for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
            if resource not in amounts(container, part):
                missing.setdefault(name, []).append(container["name"])
    if missing:
        texts = [f"{name} for: {','.join(sorted(names))}" for name, names in missing.items()]
        reason = f"failed quota: {quota['metadata']['name']}: must specify {'; '.join(texts)}"
        raise _forbidden(kind_by_name("Pod"), pod, reason)


def _forbidden(kind: Kind, obj: Object, reason: str) -> Exception:
    return forbidden_object(kind, obj["metadata"].get("name", ""), reason)


def store_all(store: ObjectStore, quotas: Iterable[Object]) -> None:
    """Store the usage that `check` returned."""
    for quota in quotas:
        store.update(_QUOTA, quota, int(quota["metadata"]["resourceVersion"]))


_ANNOTATION = "kubernetes.io/limit-ranger"
_CONTAINERS = (("containers", "container"), ("initContainers", "init container"))


def limit_ranges(store: ObjectStore, namespace: str) -> list[Object]:
    """Return the limit ranges of a namespace."""
    return [entry.object() for entry in store.list_stored(kind_by_name("LimitRange"), namespace)]


def set_defaults(pod: Object, ranges: Sequence[Object]) -> None:
    """Set the missing requests and limits of a pod's containers."""
    texts = []
    for item in _items(ranges, "Container"):
        for field, title in _CONTAINERS:
            for container in pod["spec"].get(field) or ():
                where = f"{title} {container['name']}"
                texts += _default(container, item, "requests", "defaultRequest", where)
                texts += _default(container, item, "limits", "default", where)
    if texts:
        metadata = pod["metadata"]
        text = f"LimitRanger plugin set: {'; '.join(texts)}"
        metadata["annotations"] = {**(metadata.get("annotations") or {}), _ANNOTATION: text}


def _items(ranges: Sequence[Object], kind: str) -> list[Object]:
    return [item for each in ranges for item in each["spec"]["limits"] if item["type"] == kind]


def _default(container: Object, item: Object, part: str, source: str, where: str) -> list[str]:
    resources = container["resources"] = container.get("resources") or {}
    given = resources.get(part) or {}
    added = {name: text for name, text in (item.get(source) or {}).items() if name not in given}
    if not added:
        return []
    resources[part] = {**given, **added}
    return [f"{', '.join(sorted(added))} {part.removesuffix('s')} for {where}"]


def violations(kind: str, obj: Mapping[str, Any], ranges: Sequence[Object]) -> list[str]:
    """Return a message for each bound that a new pod or claim exceeds."""
    spec = obj["spec"]
    if kind == "PersistentVolumeClaim":
        requests = amounts(spec, "requests")
        items = _items(ranges, kind)
        return [text for item in items for text in _claim_violations(item, requests)]
    found: list[str] = []
    containers = [each for field, _ in _CONTAINERS for each in spec.get(field) or ()]
    for item in _items(ranges, "Container"):
        for each in containers:
            parts = [amounts(each, part) for part in ("requests", "limits")]
            found += _violations(item, parts[0], parts[1])
    for item in _items(ranges, "Pod"):
        parts = [totals(spec, part) for part in ("requests", "limits")]
        found += _violations(item, parts[0], parts[1])
    return found


def _claim_violations(item: Object, requests: Amounts) -> Iterator[str]:
    """Compare only requests: a claim has no limit."""
    for name, bound in (item.get("min") or {}).items():
        yield from _below(name, bound, item["type"], requests, {})
    for name, bound in (item.get("max") or {}).items():
        least = f"maximum {name} usage per {item['type']} is {bound}"
        if name not in requests:
            yield f"{least}.  No request is specified"
        elif requests[name] > quantity.parse(bound):
            yield f"{least}, but request is {_text(requests[name], bound)}"


def _violations(item: Object, requests: Amounts, limits: Amounts) -> Iterator[str]:
    kind = item["type"]
    for name, bound in (item.get("min") or {}).items():
        yield from _below(name, bound, kind, requests, limits)
    for name, bound in (item.get("max") or {}).items():
        most, text = quantity.parse(bound), f"maximum {name} usage per {kind} is {bound}"
        if name not in limits:
            yield f"{text}.  No limit is specified"
        elif limits[name] > most:
            yield f"{text}, but limit is {_text(limits[name], bound)}"
        elif requests.get(name, most) > most:
            yield f"{text}, but request is {_text(requests[name], bound)}"
    for name, bound in (item.get("maxLimitRequestRatio") or {}).items():
        text = f"{name} max limit to request ratio per {kind} is {bound}, but"
        if not requests.get(name):
            yield f"{text} no request is specified or request is 0"
        elif not limits.get(name):
            yield f"{text} no limit is specified or limit is 0"
        elif (ratio := limits[name] / requests[name]) > quantity.parse(bound):
            yield f"{text} provided ratio is {ratio:f}"


def _below(name: str, bound: str, kind: str, requests: Amounts, limits: Amounts) -> Iterator[str]:
    least, text = quantity.parse(bound), f"minimum {name} usage per {kind} is {bound}"
    if name not in requests:
        yield f"{text}.  No request is specified"
    elif requests[name] < least:
        yield f"{text}, but request is {_text(requests[name], bound)}"
    elif limits.get(name, least) < least:
        yield f"{text}, but limit is {_text(limits[name], bound)}"


def _text(value: Decimal, like: str) -> str:
    return quantity.canonical(value, like)
