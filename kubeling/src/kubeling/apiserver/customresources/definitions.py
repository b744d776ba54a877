"""The conditions of a CustomResourceDefinition: accepted names, established, terminating."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kubeling.clock import rfc3339

Object = dict[str, Any]

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"


@dataclass(frozen=True, slots=True)
class DefinitionCondition:
    """A condition without its transition time."""

    type: str
    status: str
    reason: str
    message: str


_ACCEPTED = DefinitionCondition("NamesAccepted", "True", "NoConflicts", "no conflicts found")
_ESTABLISHED = DefinitionCondition(
    "Established", "True", "InitialNamesAccepted", "the initial names have been accepted"
)
_NOT_ESTABLISHED = DefinitionCondition(
    "Established", "False", "NotAccepted", "not all names are accepted"
)
PENDING = DefinitionCondition(
    "Terminating",
    "True",
    "InstanceDeletionPending",
    "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
)
IN_PROGRESS = DefinitionCondition(
    "Terminating", "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress"
)


def set_condition(definition: Object, condition: DefinitionCondition, now: float) -> None:
    """Set a condition in place; its time changes with its status. `now` is in seconds since the epoch."""
    status = definition.setdefault("status", {})
    conditions = [dict(each) for each in status.get("conditions") or ()]
    made = {**asdict(condition), "lastTransitionTime": rfc3339(now)}
    for at, each in enumerate(conditions):
        # Other clients may write conditions without these fields.
        if each.get("type") == condition.type:
            if each.get("status") == condition.status:
                made["lastTransitionTime"] = each.get("lastTransitionTime") or rfc3339(now)
            conditions[at] = made
            break
    else:
        conditions.append(made)
    status["conditions"] = conditions


def has_condition(definition: Mapping[str, Any], kind: str) -> bool:
    """Return whether a condition is true."""
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(each.get("type") == kind and each.get("status") == "True" for each in conditions)


def accept_names(definition: Object, others: Iterable[Mapping[str, Any]], now: float) -> Object:
    """Return a definition with its accepted names, and with the conditions that follow from them.

    `others` are the other definitions of the cluster. A name that another definition of the group has is not
    accepted, and the definition is not established. `now` is in seconds since the epoch.
    """
    made = copy.deepcopy(definition)
    spec, status = made["spec"], made.setdefault("status", {})
    group = [each for each in others if each["spec"]["group"] == spec["group"]]
    in_use = {name for each in group for name in _resource_names(_accepted(each))}
    kinds_in_use = {name for each in group for name in _kind_names(_accepted(each))}
    conflicts = list(_conflicts(spec["names"], in_use, kinds_in_use))
    refused = {part for part, _, _ in conflicts}
    accepted = _accepted(made)
    status["acceptedNames"] = {
        name: value for name, value in spec["names"].items() if name not in refused
    } | {name: accepted[name] for name in refused if accepted.get(name)}
    status["acceptedNames"].setdefault("plural", "")
    status["acceptedNames"].setdefault("kind", "")
    if conflicts:
        _, reason, value = conflicts[-1]
        message = f'"{value}" is already in use'
        set_condition(made, DefinitionCondition("NamesAccepted", "False", reason, message), now)
    else:
        set_condition(made, _ACCEPTED, now)
    # A definition that was established stays established, with the names that were accepted.
    if not conflicts:
        set_condition(made, _ESTABLISHED, now)
    elif not has_condition(made, "Established"):
        set_condition(made, _NOT_ESTABLISHED, now)
    return made


def _accepted(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (definition.get("status") or {}).get("acceptedNames") or {}
    return found


def _resource_names(names: Mapping[str, Any]) -> Iterator[str]:
    yield from filter(None, (names.get("plural"), names.get("singular")))
    yield from names.get("shortNames") or ()


def _kind_names(names: Mapping[str, Any]) -> Iterator[str]:
    yield from filter(None, (names.get("kind"), names.get("listKind")))


def _conflicts(
    names: Mapping[str, Any], in_use: set[str], kinds_in_use: set[str]
) -> Iterator[tuple[str, str, str]]:
    """Yield the part of the names, the reason and the name of each conflict."""
    for part, reason in (("plural", "PluralConflict"), ("singular", "SingularConflict")):
        if names.get(part) in in_use:
            yield part, reason, names[part]
    taken = [each for each in names.get("shortNames") or () if each in in_use]
    if taken:
        yield "shortNames", "ShortNamesConflict", taken[0]
    for part, reason in (("kind", "KindConflict"), ("listKind", "ListKindConflict")):
        if names.get(part) in kinds_in_use:
            yield part, reason, names[part]
