"""The conditions of a deleted namespace: what it still contains, and the finalizers of these objects. Pure.

The types, statuses and reasons are those of the real namespace controller; the messages are our own.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kubeling.clock import rfc3339

Condition = dict[str, Any]


def deletion_conditions(
    before: Sequence[Mapping[str, Any]],
    resources: Collection[str],
    finalizers: Collection[str],
    now: float,
) -> list[Condition]:
    """Return the conditions; `resources` and `finalizers` are those that remain.

    The messages have no counts: otherwise each deleted object would change the namespace.
    """
    made = [
        _condition(
            "NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "all kinds are known"
        ),
        _condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            "ParsedGroupVersions",
            "all kinds are known",
        ),
        _condition(
            "NamespaceDeletionContentFailure",
            "ContentDeleted",
            "all objects are deleted or being deleted",
        ),
        _remaining("NamespaceContentRemaining", "SomeResourcesRemain", resources, "ContentRemoved"),
        _remaining(
            "NamespaceFinalizersRemaining",
            "SomeFinalizersRemain",
            finalizers,
            "ContentHasNoFinalizers",
        ),
    ]
    times = {(each["type"], each["status"]): each.get("lastTransitionTime") for each in before}
    return [
        each | {"lastTransitionTime": times.get((each["type"], each["status"])) or rfc3339(now)}
        for each in made
    ]


def _condition(kind: str, reason: str, message: str, *, holds: bool = False) -> Condition:
    status = "True" if holds else "False"
    return {"type": kind, "status": status, "reason": reason, "message": message}


def _remaining(kind: str, reason: str, names: Collection[str], without: str) -> Condition:
    if names:
        return _condition(kind, reason, f"remaining: {', '.join(sorted(names))}", holds=True)
    return _condition(kind, without, "nothing remains")
