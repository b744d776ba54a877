"""The resources that a pod requests, for limit ranges and quotas. Pure."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from kubeling import quantity

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
