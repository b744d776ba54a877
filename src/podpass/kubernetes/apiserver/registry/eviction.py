"""Disruption budgets: how many pods may go now, and whether a pod may be evicted. Pure.

Source: k8s.io/kubernetes v1.34 pkg/controller/disruption, pkg/registry/core/pod/storage/eviction.go.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podpass.clock import rfc3339
from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.apiserver.selectors import matches
from podpass.kubernetes.apiserver.status import Cause, StatusError, forbidden
from podpass.kubernetes.apiserver.storage.storage import Object

_KIND = named("PodDisruptionBudget")
_ALLOWED = "DisruptionAllowed"
_CAUSE = "DisruptionBudget"
_MOST_DISRUPTED = 2000
_VIOLATES = "Cannot evict pod as it would violate the pod's disruption budget."
_UNPROTECTED = ("Failed", "Pending", "Succeeded")


@dataclass(frozen=True, slots=True)
class Counts:
    """Pods a budget is about: those there should be, those that work, those that must."""

    expected: int
    healthy: int
    desired: int


def desired(spec: Mapping[str, Any], pods: int, expected: int) -> Counts:
    """Read a budget; `expected` is what the pods' owners want, `pods` how many there are."""
    if (most := spec.get("maxUnavailable")) is not None:
        gone = _scaled(most, expected)
        return Counts(expected, 0, max(expected - gone, 0))
    least = spec.get("minAvailable")
    if isinstance(least, str):
        return Counts(expected, 0, _scaled(least, expected))
    return Counts(pods, 0, least or 0)


def _scaled(value: Any, whole: int) -> int:
    if isinstance(value, str):
        return math.ceil(int(value.rstrip("%")) * whole / 100)
    return int(value)


def status(budget: Object, counts: Counts, disrupted: Mapping[str, str], now: float) -> Object:
    """Write what a budget says; `disrupted` are pods that were let go and are not gone yet."""
    allowed = counts.healthy - counts.desired
    allowed = 0 if counts.expected <= 0 else max(allowed, 0)
    new: Object = {
        "observedGeneration": budget["metadata"].get("generation") or 0,
        "disruptionsAllowed": allowed,
        "currentHealthy": counts.healthy,
        "desiredHealthy": counts.desired,
        "expectedPods": counts.expected,
        "conditions": (budget.get("status") or {}).get("conditions") or [],
    }
    if disrupted:
        new["disruptedPods"] = dict(disrupted)
    _say(new, budget["metadata"].get("generation") or 0, now)
    return new


def _say(new: Object, generation: int, now: float) -> None:
    holds, reason = (
        ("True", "SufficientPods")
        if new["disruptionsAllowed"] > 0
        else (
            "False",
            "InsufficientPods",
        )
    )
    old = next((each for each in new["conditions"] if each["type"] == _ALLOWED), None)
    since = old["lastTransitionTime"] if old and old["status"] == holds else rfc3339(now)
    condition = {
        "type": _ALLOWED,
        "status": holds,
        "observedGeneration": generation,
        "lastTransitionTime": since,
        "reason": reason,
        "message": "",
    }
    others = [each for each in new["conditions"] if each["type"] != _ALLOWED]
    new["conditions"] = [*others, condition]


def needs_no_budget(pod: Object) -> bool:
    """Tell whether a pod may go whatever its budget says: it does not work for anybody now."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in _UNPROTECTED or "deletionTimestamp" in pod["metadata"]


def of(pod: Object, budgets: Sequence[Object]) -> Object | None:
    """Find the budget of a pod.

    Errors:  StatusError 500 for a pod with several.
    """
    labels = pod["metadata"].get("labels") or {}
    found = [each for each in budgets if matches(each["spec"].get("selector"), labels)]
    if len(found) > 1:
        told = (
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does "
            "not support."
        )
        raise StatusError(500, "InternalError", told, causes=[Cause("", told)])
    return found[0] if found else None


def is_spent(budget: Object, pod: Object) -> bool:
    """Tell whether a pod counts against its budget at all: one that is not ready may not."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    if any(each["type"] == "Ready" and each["status"] == "True" for each in conditions):
        return True
    if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return False
    found = budget.get("status") or {}
    wanted = found.get("desiredHealthy") or 0
    return not (wanted > 0 and (found.get("currentHealthy") or 0) >= wanted)


def spend(budget: Object, pod: str, now: float) -> Object:
    """Take one disruption from a budget, for a pod by its name.

    Errors:  StatusError 429 where none is left, 403 where too many are under way.
    """
    found, name = budget.get("status") or {}, budget["metadata"]["name"]
    if (found.get("observedGeneration") or 0) < (budget["metadata"].get("generation") or 0):
        told = f"The disruption budget {name} is still being processed by the server."
        raise _refused(told, retry_after=10)
    under_way = found.get("disruptedPods") or {}
    if len(under_way) > _MOST_DISRUPTED:
        told = "too many pods are being disrupted and not gone yet"
        raise forbidden(_KIND.plural, told, name=name, group=_KIND.group)
    if not found.get("disruptionsAllowed"):
        wanted, healthy = found.get("desiredHealthy") or 0, found.get("currentHealthy") or 0
        told = (
            f"The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently"
        )
        raise _refused(told)
    new = {
        **found,
        "disruptionsAllowed": found["disruptionsAllowed"] - 1,
        "disruptedPods": {**under_way, pod: rfc3339(now)},
        "conditions": found.get("conditions") or [],
    }
    _say(new, budget["metadata"].get("generation") or 0, now)
    return new


def _refused(told: str, *, retry_after: int | None = None) -> StatusError:
    causes = [Cause(_CAUSE, told)]
    return StatusError(429, "TooManyRequests", _VIOLATES, causes=causes, retry_after=retry_after)
