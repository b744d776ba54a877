"""The admission plugin LimitRanger: default resources of containers, and bounds of pods and claims.

Source: k8s.io/kubernetes v1.34 plugin/pkg/admission/limitranger.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from kubeling import quantity
from kubeling.apiserver.admission import pod_resources
from kubeling.apiserver.admission.pod_resources import Amounts
from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.storage.storage import Object, ObjectStore

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
        requests = pod_resources.amounts(spec, "requests")
        items = _items(ranges, kind)
        return [text for item in items for text in _claim_violations(item, requests)]
    found: list[str] = []
    containers = [each for field, _ in _CONTAINERS for each in spec.get(field) or ()]
    for item in _items(ranges, "Container"):
        for each in containers:
            parts = [pod_resources.amounts(each, part) for part in ("requests", "limits")]
            found += _violations(item, parts[0], parts[1])
    for item in _items(ranges, "Pod"):
        parts = [pod_resources.totals(spec, part) for part in ("requests", "limits")]
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
