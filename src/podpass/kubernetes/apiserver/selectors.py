"""Label and field selectors: text of a query, or a `LabelSelector`, to a test on objects."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from podpass.kubernetes.apiserver.kinds import Kind
from podpass.kubernetes.apiserver.status import StatusError, bad_request

Predicate = Callable[[Mapping[str, Any]], bool]
"""A test on a whole object."""

_KEY = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
)
_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_SET = re.compile(r"(\S+)\s+(in|notin)\s*\(([^()]*)\)")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one key; `values` is empty for exists and not-exists."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":  # an object without the key is not in the set either
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case _:
                return value is None


def labels(text: str) -> Predicate:
    """Read a label selector: `a=b,c!=d,e in (f,g),h notin (i),j,!k`; empty takes everything.

    Errors:  StatusError 400.
    """
    wanted = [_label_term(term) for term in _split(text)] if text.strip() else []

    def test(obj: Mapping[str, Any]) -> bool:
        found = (obj.get("metadata") or {}).get("labels") or {}
        return all(each.holds(found) for each in wanted)

    return test


def _split(text: str) -> list[str]:
    """Cut at commas that stand outside parentheses."""
    terms, depth, start = [], 0, 0
    for at, char in enumerate(text):
        if char in "()":
            depth += 1 if char == "(" else -1
        if char == "," and depth == 0:
            terms.append(text[start:at])
            start = at + 1
    return [*(term.strip() for term in terms), text[start:].strip()]


def _label_term(term: str) -> Requirement:
    if found := _SET.fullmatch(term):
        operator = "In" if found[2] == "in" else "NotIn"
        return _checked(found[1], operator, [value.strip() for value in found[3].split(",")], term)
    for sign, operator in (("!=", "NotIn"), ("==", "In"), ("=", "In")):
        if sign in term:
            key, _, value = term.partition(sign)
            return _checked(key.strip(), operator, [value.strip()], term)
    if term.startswith("!"):
        return _checked(term[1:].strip(), "DoesNotExist", [], term)
    return _checked(term, "Exists", [], term)


def _checked(key: str, operator: str, values: list[str], term: str) -> Requirement:
    if not _KEY.fullmatch(key) or not all(_VALUE.fullmatch(value) for value in values):
        raise bad_request(f"unable to parse requirement {term!r} of the label selector")
    return Requirement(key, operator, frozenset(values))


def fields(kind: Kind, text: str) -> Predicate:
    """Read a field selector of a kind: `a.b=c,d!=e`.

    Errors:  StatusError 400, for a field the kind cannot be selected by too.
    """
    terms = [_field_term(kind, term.strip()) for term in text.split(",") if term.strip()]

    def test(obj: Mapping[str, Any]) -> bool:
        return all((field_value(kind, obj, path) == value) is equal for path, equal, value in terms)

    return test


def _field_term(kind: Kind, term: str) -> tuple[str, bool, str]:
    path, sign, value = _cut(term)
    path = path.strip()
    known = {"metadata.name", *kind.field_selectors}
    if kind.namespaced:
        known.add("metadata.namespace")
    if path not in known:
        raise _unknown_field(kind, path)
    return path, sign != "!=", value.strip()


def _cut(term: str) -> tuple[str, str, str]:
    for sign in ("!=", "==", "="):
        if sign in term:
            path, _, value = term.partition(sign)
            return path, sign, value
    raise bad_request(f"invalid field selector {term!r}: want path=value")


def _unknown_field(kind: Kind, path: str) -> StatusError:
    return bad_request(f'"{path}" is not a field {kind.plural} can be selected by')


def field_value(kind: Kind, obj: Mapping[str, Any], path: str) -> str:
    """Give the value a field selector compares with."""
    if kind.kind == "Event" and path == "source":
        found = (obj.get("source") or {}).get("component") or obj.get("reportingComponent")
    else:
        found = dig(obj, path)
    if isinstance(found, bool):
        return "true" if found else "false"
    return kind.field_selectors.get(path, "") if found is None else str(found)


def dig(obj: Any, path: str) -> Any:
    """Follow a dotted path through objects; None where it ends early."""
    for part in path.split("."):
        if not isinstance(obj, Mapping):
            return None
        obj = obj.get(part)
    return obj


def matches(selector: Mapping[str, Any] | None, found: Mapping[str, str]) -> bool:
    """Tell whether labels fit a `LabelSelector`: an empty one takes all, none takes nothing."""
    return selector is not None and all(each.holds(found) for each in requirements(selector))


def requirements(selector: Mapping[str, Any]) -> list[Requirement]:
    """Read the conditions of a `LabelSelector` object."""
    equal = (selector.get("matchLabels") or {}).items()
    return [Requirement(key, "In", frozenset([value])) for key, value in equal] + [
        Requirement(each["key"], each["operator"], frozenset(each.get("values") or ()))
        for each in selector.get("matchExpressions") or ()
    ]


def written(selector: Mapping[str, Any] | None) -> str:
    """Write a `LabelSelector` as a query has it, by key; empty for one that says nothing."""
    found = sorted(requirements(selector or {}), key=lambda each: each.key)
    return ",".join(_term(each) for each in found)


def _term(each: Requirement) -> str:
    values = ",".join(sorted(each.values))
    match each.operator:
        case "In" if len(each.values) == 1:
            return f"{each.key}={values}"
        case "In":
            return f"{each.key} in ({values})"
        case "NotIn":
            return f"{each.key} notin ({values})"
        case "Exists":
            return each.key
        case _:
            return f"!{each.key}"
