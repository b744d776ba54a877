"""Label and field selectors, from the text of a query or from a `LabelSelector` object."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kubeling.apiserver.conversion import stored_field
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.status import StatusError, bad_request

Predicate = Callable[[Mapping[str, Any]], bool]
"""Returns whether an object matches."""

_KEY = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
)
_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_SET = re.compile(r"(\S+)\s+(in|notin)\s*\(([^()]*)\)")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement on one label; `values` is empty for Exists and DoesNotExist."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether labels meet the requirement."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":  # an object without the label matches NotIn too
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case _:
                return value is None


def parse_label_selector(text: str) -> Predicate:
    """Parse a label selector, such as `a=b,c!=d,e in (f,g),h notin (i),j,!k`; an empty one matches all.

    Raises StatusError 400.
    """
    required = [_parse_label_term(term) for term in _split(text)] if text.strip() else []

    def test(obj: Mapping[str, Any]) -> bool:
        found = (obj.get("metadata") or {}).get("labels") or {}
        return all(each.matches(found) for each in required)

    return test


def _split(text: str) -> list[str]:
    """Split at commas outside parentheses."""
    terms, depth, start = [], 0, 0
    for at, char in enumerate(text):
        if char in "()":
            depth += 1 if char == "(" else -1
        if char == "," and depth == 0:
            terms.append(text[start:at])
            start = at + 1
    return [*(term.strip() for term in terms), text[start:].strip()]


def _parse_label_term(term: str) -> Requirement:
    if found := _SET.fullmatch(term):
        operator = "In" if found[2] == "in" else "NotIn"
        return _requirement(
            found[1], operator, [value.strip() for value in found[3].split(",")], term
        )
    for operator_text, operator in (("!=", "NotIn"), ("==", "In"), ("=", "In")):
        if operator_text in term:
            key, _, value = term.partition(operator_text)
            return _requirement(key.strip(), operator, [value.strip()], term)
    if term.startswith("!"):
        return _requirement(term[1:].strip(), "DoesNotExist", [], term)
    return _requirement(term, "Exists", [], term)


def _requirement(key: str, operator: str, values: list[str], term: str) -> Requirement:
    if not _KEY.fullmatch(key) or not all(_VALUE.fullmatch(value) for value in values):
        raise bad_request(f"unable to parse requirement {term!r} of the label selector")
    return Requirement(key, operator, frozenset(values))


def parse_field_selector(kind: Kind, text: str) -> Predicate:
    """Parse a field selector of a kind, such as `a.b=c,d!=e`.

    Raises StatusError 400, also for a field that the kind does not support.
    """
    terms = [_parse_field_term(kind, term.strip()) for term in text.split(",") if term.strip()]

    def test(obj: Mapping[str, Any]) -> bool:
        return all((field_value(kind, obj, path) == value) is equal for path, equal, value in terms)

    return test


def required_name(text: str) -> str:
    """Return the name that a field selector requires of every object; empty if it requires none.

    RBAC authorizes a list of this name by rules with resourceNames, so the selector is read here exactly as
    `parse_field_selector` reads it. A selector that is not valid requires no name.
    """
    for term in text.split(","):
        try:
            path, operator_text, value = _split_field_term(term.strip())
        except StatusError:
            continue
        if path.strip() == "metadata.name" and operator_text != "!=":
            name = value.strip()
            # As in the real API server: no object has such a name.
            return "" if name in (".", "..") or "/" in name or "%" in name else name
    return ""


def _parse_field_term(kind: Kind, term: str) -> tuple[str, bool, str]:
    path, operator_text, value = _split_field_term(term)
    path = path.strip()
    known = {"metadata.name", *kind.field_selectors}
    if kind.namespaced:
        known.add("metadata.namespace")
    if path not in known:
        raise bad_request(f'"{path}" is not a supported field selector of {kind.plural}')
    return path, operator_text != "!=", value.strip()


def _split_field_term(term: str) -> tuple[str, str, str]:
    for operator_text in ("!=", "==", "="):
        if operator_text in term:
            path, _, value = term.partition(operator_text)
            return path, operator_text, value
    raise bad_request(f"invalid field selector {term!r}: want path=value")


def field_value(kind: Kind, obj: Mapping[str, Any], path: str) -> str:
    """Return the value of a field for a field selector."""
    if kind.type_name == "Event" and path == "source":
        found = (obj.get("source") or {}).get("component") or obj.get("reportingComponent")
    else:
        is_new = kind.type_name == "events.v1.Event"
        found = get_path(obj, stored_field(path) if is_new else path)
    if isinstance(found, bool):
        return "true" if found else "false"
    return kind.field_selectors.get(path, "") if found is None else str(found)


def get_path(obj: Any, path: str) -> Any:
    """Return the value at a dotted path; None if the path does not exist."""
    for part in path.split("."):
        if not isinstance(obj, Mapping):
            return None
        obj = obj.get(part)
    return obj


def matches(selector: Mapping[str, Any] | None, found: Mapping[str, str]) -> bool:
    """Return whether labels match a `LabelSelector`: an empty one matches all, None matches nothing."""
    return selector is not None and all(each.matches(found) for each in requirements(selector))


def requirements(selector: Mapping[str, Any]) -> list[Requirement]:
    """Return the requirements of a `LabelSelector` object."""
    equal = (selector.get("matchLabels") or {}).items()
    return [Requirement(key, "In", frozenset([value])) for key, value in equal] + [
        Requirement(each["key"], each["operator"], frozenset(each.get("values") or ()))
        for each in selector.get("matchExpressions") or ()
    ]


def workload_selector(kind: Kind, workload: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the selector of a workload as a `LabelSelector`; a ReplicationController has only labels."""
    selector: Mapping[str, Any] | None = (workload.get("spec") or {}).get("selector")
    is_map = kind.type_name == "ReplicationController" and selector is not None
    return {"matchLabels": selector} if is_map else selector


def format_selector(selector: Mapping[str, Any] | None) -> str:
    """Format a `LabelSelector` as text, sorted by key; empty for an empty selector."""
    found = sorted(requirements(selector or {}), key=lambda each: each.key)
    return ",".join(_format_requirement(each) for each in found)


def _format_requirement(each: Requirement) -> str:
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
