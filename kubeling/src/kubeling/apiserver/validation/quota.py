"""Rules for limit ranges, resource quotas and persistent volume claims.

Source: k8s.io/kubernetes v1.34 pkg/apis/core/validation.
"""

import itertools
from collections.abc import Mapping
from typing import Any

from kubeling import quantity
from kubeling.apiserver.validation import rules
from kubeling.apiserver.validation.rules import Causes

Object = Mapping[str, Any]

_OPPOSITES = (("BestEffort", "NotBestEffort"), ("NotTerminating", "Terminating"))
# Each field of a limit must not be more than the next one that is given.
_ASCENDING = ("min", "defaultRequest", "default", "max")
_CLAIM_CHANGEABLE = ("resources", "volumeAttributesClassName", "volumeName")


def validate_limit_range(obj: Object) -> Causes:
    """Check a LimitRange."""
    seen: set[str] = set()
    for at, item in enumerate((obj.get("spec") or {}).get("limits") or ()):
        here, kind = f"spec.limits[{at}]", item.get("type") or ""
        yield from rules.invalid(kind in seen, f"{here}.type", f"{kind} is given twice")
        seen.add(kind)
        for name in ("default", "defaultRequest"):
            unused = kind == "Pod" and item.get(name)
            reason = "must not be given for the type Pod"
            yield from rules.forbidden(unused, f"{here}.{name}", reason)
        names = {name for part in _ASCENDING for name in item.get(part) or {}}
        for name in sorted(names):
            given = [
                (part, item[part][name]) for part in _ASCENDING if name in (item.get(part) or {})
            ]
            for (low, less), (high, more) in itertools.pairwise(given):
                over = quantity.parse(less) > quantity.parse(more)
                reason = f"{low} of {less} is more than {high} of {more}"
                yield from rules.invalid(over, f"{here}.{low}[{name}]", reason)
        for name, ratio in (item.get("maxLimitRequestRatio") or {}).items():
            low_ratio = quantity.parse(ratio) < 1
            at_ratio = f"{here}.maxLimitRequestRatio[{name}]"
            yield from rules.invalid(low_ratio, at_ratio, "must not be less than 1")


def validate_resource_quota(obj: Object) -> Causes:
    """Check a ResourceQuota."""
    spec = obj.get("spec") or {}
    for name, amount in (spec.get("hard") or {}).items():
        negative = quantity.parse(amount) < 0
        yield from rules.invalid(negative, f"spec.hard[{name}]", "must not be negative")
        whole = "cpu" not in name and quantity.parse(amount) % 1 != 0
        yield from rules.invalid(whole, f"spec.hard[{name}]", "must be an integer")
    scopes = spec.get("scopes") or ()
    for pair in _OPPOSITES:
        both = set(pair) <= set(scopes)
        yield from rules.invalid(both, "spec.scopes", f"must not have both {' and '.join(pair)}")
    here = "spec.scopeSelector.matchExpressions"
    for term in (spec.get("scopeSelector") or {}).get("matchExpressions") or ():
        operator, values = term.get("operator"), term.get("values")
        if operator in ("In", "NotIn"):
            yield from rules.required(values, f"{here}.values")
        else:
            yield from rules.invalid(values, f"{here}.values", f"must be empty for {operator}")


def validate_resource_quota_update(new: Object, old: Object) -> Causes:
    """Check a changed ResourceQuota."""
    yield from validate_resource_quota(new)
    after, before = ((each.get("spec") or {}).get("scopes") for each in (new, old))
    yield from rules.immutable(after, before, "spec.scopes")


def validate_claim(obj: Object) -> Causes:
    """Check a PersistentVolumeClaim."""
    spec = obj.get("spec") or {}
    modes = spec.get("accessModes")
    yield from rules.required(modes, "spec.accessModes")
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    yield from rules.required(storage, "spec.resources[storage]")
    reason = "must be more than 0"
    empty = storage is not None and quantity.parse(storage) <= 0
    yield from rules.invalid(empty, "spec.resources[storage]", reason)


def validate_claim_update(new: Object, old: Object) -> Causes:
    """Check a changed PersistentVolumeClaim."""
    yield from validate_claim(new)
    fixed_fields = [
        {
            name: value
            for name, value in (each.get("spec") or {}).items()
            if name not in _CLAIM_CHANGEABLE
        }
        for each in (new, old)
    ]
    reason = f"only {', '.join(_CLAIM_CHANGEABLE)} may change"
    yield from rules.forbidden(fixed_fields[0] != fixed_fields[1], "spec", reason)
