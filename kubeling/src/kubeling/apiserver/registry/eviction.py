"""Disruption budgets: how many pods may be disrupted now, and whether a pod may be evicted. Pure functions.

Source: k8s.io/kubernetes v1.34 pkg/controller/disruption, pkg/registry/core/pod/storage/eviction.go.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.selectors import matches
from kubeling.apiserver.status import Cause, StatusError, forbidden
from kubeling.apiserver.storage.storage import Object
from kubeling.clock import rfc3339

_KIND = kind_by_name("PodDisruptionBudget")
_CONDITION = "DisruptionAllowed"
_CAUSE = "DisruptionBudget"
_MAX_DISRUPTED_PODS = 2000
_VIOLATES = "Cannot evict pod as it would violate the pod's disruption budget."
_NOT_RUNNING = ("Failed", "Pending", "Succeeded")


@dataclass(frozen=True, slots=True)
class PodCounts:
    """Pod counts of a budget: expected pods, healthy pods, and the required number of healthy pods."""

    expected: int
    healthy: int
    desired: int


def expected_counts(spec: Mapping[str, Any], pods: int, expected: int) -> PodCounts:
    """Return a budget's counts; `expected` is the number of replicas of the pods' owners."""
    if (max_unavailable := spec.get("maxUnavailable")) is not None:
        unavailable = _resolve(max_unavailable, expected)
        return PodCounts(expected, 0, max(expected - unavailable, 0))
    min_available = spec.get("minAvailable")
    if isinstance(min_available, str):
        return PodCounts(expected, 0, _resolve(min_available, expected))
    return PodCounts(pods, 0, min_available or 0)


def _resolve(value: Any, whole: int) -> int:
    if isinstance(value, str):
        return math.ceil(int(value.rstrip("%")) * whole / 100)
    return int(value)


def budget_status(
    budget: Object, counts: PodCounts, disrupted: Mapping[str, str], now: float
) -> Object:
    """Build a budget's status; `disrupted` maps evicted pods that still exist to their eviction times."""
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
    _set_condition(new, budget["metadata"].get("generation") or 0, now)
    return new


def _set_condition(new: Object, generation: int, now: float) -> None:
    state, reason = ("False", "InsufficientPods")
    if new["disruptionsAllowed"] > 0:
        state, reason = ("True", "SufficientPods")
    old = next((each for each in new["conditions"] if each.get("type") == _CONDITION), None)
    is_same = old is not None and old.get("status") == state
    since = (old or {}).get("lastTransitionTime") if is_same else None
    condition = {
        "type": _CONDITION,
        "status": state,
        "observedGeneration": generation,
        "lastTransitionTime": since or rfc3339(now),
        "reason": reason,
        "message": "",
    }
    others = [each for each in new["conditions"] if each.get("type") != _CONDITION]
    new["conditions"] = [*others, condition]


def can_ignore_budget(pod: Object) -> bool:
    """Return whether an eviction needs no budget: the pod is not running or already deleted."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in _NOT_RUNNING or "deletionTimestamp" in pod["metadata"]


def find_budget(pod: Object, budgets: Sequence[Object]) -> Object | None:
    """Return the budget of a pod; None if it has none. Raises StatusError 500 for a pod with several."""
    labels = pod["metadata"].get("labels") or {}
    found = [each for each in budgets if matches(each["spec"].get("selector"), labels)]
    if len(found) > 1:
        message = (
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does "
            "not support."
        )
        raise StatusError(500, "InternalError", message, causes=[Cause("", message)])
    return found[0] if found else None


def needs_disruption(budget: Object, pod: Object) -> bool:
    """Return whether an eviction counts as a disruption; an unready pod may be exempt."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    if any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions):
        return True
    if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return False
    found = budget.get("status") or {}
    required = found.get("desiredHealthy") or 0
    return not (required > 0 and (found.get("currentHealthy") or 0) >= required)


def check_and_decrement(budget: Object, pod: str, now: float) -> Object:
    """Return the budget's status after the eviction of a pod: one allowed disruption less.

    Raises StatusError 429 if no disruption is allowed, 403 if too many pods are being disrupted.
    """
    found, name = budget.get("status") or {}, budget["metadata"]["name"]
    if (found.get("observedGeneration") or 0) < (budget["metadata"].get("generation") or 0):
        message = f"The disruption budget {name} is still being processed by the server."
        raise _too_many_requests(message, retry_after=10)
    disrupted = found.get("disruptedPods") or {}
    if len(disrupted) > _MAX_DISRUPTED_PODS:
        message = "too many disrupted pods still exist"
        raise forbidden(_KIND.plural, message, name=name, group=_KIND.group)
    if not found.get("disruptionsAllowed"):
        required, healthy = found.get("desiredHealthy") or 0, found.get("currentHealthy") or 0
        message = f"The disruption budget {name} needs {required} healthy pods and has {healthy} currently"
        raise _too_many_requests(message)
    new = {
        **found,
        "disruptionsAllowed": found["disruptionsAllowed"] - 1,
        "disruptedPods": {**disrupted, pod: rfc3339(now)},
        "conditions": found.get("conditions") or [],
    }
    _set_condition(new, budget["metadata"].get("generation") or 0, now)
    return new


def _too_many_requests(message: str, *, retry_after: int | None = None) -> StatusError:
    causes = [Cause(_CAUSE, message)]
    return StatusError(429, "TooManyRequests", _VIOLATES, causes=causes, retry_after=retry_after)
