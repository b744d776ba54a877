"""The small rules validation is made of: each yields a cause for a value that breaks it.

Paths are those of the real API's causes. What the rules say is ours; what they allow is the API's.
"""

import ipaddress
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from podpass.kubernetes.apiserver.status import Cause, Why

Causes = Iterator[Cause]

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_NAME_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_PORT_NAME = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9](?:[a-z0-9-]{0,13}[a-z0-9])?")


def is_label(text: str) -> bool:
    """Tell a DNS label (RFC 1123) of up to 63 characters."""
    return _LABEL.fullmatch(text) is not None


def is_subdomain(text: str) -> bool:
    """Tell a DNS subdomain (RFC 1123) of up to 253 characters."""
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None


def is_service_name(text: str) -> bool:
    """Tell a DNS label that starts with a letter (RFC 1035)."""
    return _LABEL_1035.fullmatch(text) is not None


def is_path_segment(text: str) -> bool:
    """Tell a name that can stand in a path as it is; RBAC names may hold colons and capitals."""
    return text not in (".", "..") and "/" not in text and "%" not in text


def is_qualified(text: str) -> bool:
    """Tell a qualified name: `name` or `example.com/name`."""
    prefix, sign, name = text.rpartition("/")
    return _NAME_PART.fullmatch(name) is not None and (not sign or is_subdomain(prefix))


def is_label_value(text: str) -> bool:
    return _LABEL_VALUE.fullmatch(text) is not None


def is_data_key(text: str) -> bool:
    """Tell a key of a config map or secret: it becomes a file's name."""
    return _DATA_KEY.fullmatch(text) is not None and text != "." and not text.startswith("..")


def is_port_name(text: str) -> bool:
    return _PORT_NAME.fullmatch(text) is not None


def required(value: Any, path: str, why: str = "must be given") -> Causes:
    if value in (None, "", [], {}):
        yield Cause(Why.REQUIRED, why, path)


def invalid(broken: object, path: str, why: str) -> Causes:
    """Yield a cause if `broken` holds."""
    if broken:
        yield Cause(Why.INVALID, why, path)


def forbidden(broken: object, path: str, why: str) -> Causes:
    if broken:
        yield Cause(Why.FORBIDDEN, why, path)


def not_found(why: str, path: str) -> Causes:
    yield Cause(Why.NOT_FOUND, why, path)


def one_of(value: Any, allowed: Collection[str], path: str) -> Causes:
    if value not in allowed:
        yield Cause(
            Why.NOT_SUPPORTED, f"{value!r} is not one of {', '.join(sorted(allowed))}", path
        )


def between(value: Any, low: int, high: int, path: str) -> Causes:
    """Bounds are inclusive; a value that is not set breaks nothing."""
    if value is not None and not low <= value <= high:
        yield Cause(Why.INVALID, f"{value} is not between {low} and {high}", path)


def port(value: Any, path: str) -> Causes:
    """Check a port's number; zero counts as not given."""
    if value in (None, 0):
        yield from required(None, path)
    else:
        yield from between(value, 1, 65535, path)


def port_reference(value: Any, path: str) -> Causes:
    """Check a port given by number or by name."""
    if isinstance(value, str):
        yield from invalid(not is_port_name(value), path, f"{value!r} is not a port's name")
    else:
        yield from between(0 if value is None else value, 1, 65535, path)


def label_name(value: Any, path: str) -> Causes:
    """Check a name that must be there and be a DNS label."""
    if value:
        yield from invalid(not is_label(value), path, f"{value!r} is not a DNS label")
    else:
        yield from required(None, path)


def unique(values: Iterable[tuple[Any, str]]) -> Causes:
    """Check that no value comes twice; takes pairs of value and path, unset values do not count."""
    seen = set()
    for value, path in values:
        if value in (None, ""):
            continue
        if value in seen:
            yield Cause(Why.DUPLICATE, f"{value!r} stands here twice", path)
        seen.add(value)


def labels(found: Mapping[str, str], path: str) -> Causes:
    for key, value in found.items():
        yield from invalid(not is_qualified(key), path, f"{key!r} is not a label's key")
        yield from invalid(not is_label_value(value), path, f"{value!r} is not a label's value")


def selector(found: Mapping[str, Any], path: str) -> Causes:
    """Check a `LabelSelector`."""
    yield from labels(found.get("matchLabels") or {}, f"{path}.matchLabels")
    for at, each in enumerate(found.get("matchExpressions") or ()):
        here = f"{path}.matchExpressions[{at}]"
        operator, values = each.get("operator"), each.get("values")
        if operator in ("In", "NotIn"):
            yield from required(values, f"{here}.values")
        elif operator in ("Exists", "DoesNotExist"):
            yield from forbidden(values, f"{here}.values", f"{operator} takes no values")
        else:
            yield from invalid(True, f"{here}.operator", "is not a label selector's operator")
        key = str(each.get("key", ""))
        yield from invalid(not is_qualified(key), f"{here}.key", f"{key!r} is not a label's key")


def relative_path(value: Any, path: str) -> Causes:
    """Check a path that must stay below where it is put."""
    yield from required(value, path)
    text = str(value or "")
    yield from invalid(text.startswith("/"), path, "must be a relative path")
    # Or a volume could write outside its own folder.
    yield from invalid(".." in text.split("/"), path, "must not contain ..")


def ip(value: Any, path: str) -> Causes:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        yield Cause(Why.INVALID, f"{value!r} is not an IP address", path)


def immutable(new: Any, old: Any, path: str) -> Causes:
    yield from invalid(new != old, path, "cannot be changed once set")


def indexed(items: Any, path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield each object of a list with its path."""
    for at, each in enumerate(items or ()):
        yield each or {}, f"{path}[{at}]"
