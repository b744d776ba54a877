"""Basic validation rules: each yields a cause for an invalid value.

The paths and the accepted values are those of the real API, and so are the messages about immutable fields,
which clients search for; the other messages are our own.
"""

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Protocol

import orjson

from kubeling.apiserver.status import Cause, CauseType

Causes = Iterator[Cause]
Check = Callable[[Any, str], Causes]
"""Check a value; its path is in the causes."""

MAX_INT32 = 2**31 - 1

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_NAME_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
# In this cluster the addresses of pods are loopback addresses.
_POD_ADDRESSES = ipaddress.ip_network("127.64.0.0/10")
_PORT_NAME = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9](?:[a-z0-9-]{0,13}[a-z0-9])?")


def is_label(text: str) -> bool:
    """Return whether a text is a DNS label (RFC 1123) of up to 63 characters."""
    return _LABEL.fullmatch(text) is not None


def is_subdomain(text: str) -> bool:
    """Return whether a text is a DNS subdomain (RFC 1123) of up to 253 characters."""
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None


def is_service_name(text: str) -> bool:
    """Return whether a text is a DNS label that starts with a letter (RFC 1035)."""
    return _LABEL_1035.fullmatch(text) is not None


def is_path_segment(text: str) -> bool:
    """Return whether a name is a valid path segment; RBAC names may contain colons and capitals."""
    return text not in (".", "..") and "/" not in text and "%" not in text


def is_qualified(text: str) -> bool:
    """Return whether a text is a qualified name: `name` or `example.com/name`."""
    prefix, slash, name = text.rpartition("/")
    return _NAME_PART.fullmatch(name) is not None and (not slash or is_subdomain(prefix))


def is_label_value(text: str) -> bool:
    """Return whether a text is a valid value of a label."""
    return _LABEL_VALUE.fullmatch(text) is not None


def is_data_key(text: str) -> bool:
    """Return whether a text is a valid key of a config map or secret, which becomes a file name."""
    return _DATA_KEY.fullmatch(text) is not None and text != "." and not text.startswith("..")


def is_port_name(text: str) -> bool:
    """Return whether a text is a valid name of a port."""
    return _PORT_NAME.fullmatch(text) is not None


class ObjectCheck(Protocol):
    """Check an object, or a part of an object at a path."""

    def __call__(self, found: Any, path: str = "", /) -> Causes: ...


def fields(**checks: Check) -> ObjectCheck:
    """Return a check of the fields of an object, in the given order; a missing field is None."""

    def check(found: Any, path: str = "", /) -> Causes:
        for name, of in checks.items():
            yield from of((found or {}).get(name), f"{path}.{name}" if path else name)

    return check


def items(check: Check, *unique_by: str | tuple[str, ...]) -> Check:
    """Return a check of the items of a list.

    Args:
        unique_by: a field, or several fields together, that no two items share.
    """

    def check_items(found: Any, path: str) -> Causes:
        found_items = list(indexed(found, path))
        for item, at in found_items:
            yield from check(item, at)
        for key in unique_by:
            if isinstance(key, str):
                yield from unique((item.get(key), f"{at}.{key}") for item, at in found_items)
            else:
                yield from unique((tuple(map(item.get, key)), at) for item, at in found_items)

    return check_items


def every(*checks: Check) -> Check:
    """Return a check that consists of several checks."""
    return lambda found, path: (cause for check in checks for cause in check(found, path))


def optional(check: Check) -> Check:
    """Return a check that is skipped for a missing or empty value."""
    return lambda found, path: check(found, path) if found else iter(())


def number(low: int, high: int = MAX_INT32) -> Check:
    """Return a check of a number with inclusive bounds; None is valid."""
    return lambda value, path: between(value, low, high, path)


def text(fits: Callable[[str], bool], what: str) -> Check:
    """Return a check of a text, which is empty if it is missing."""
    return lambda value, path: invalid(
        not fits(value or ""), path, f"{value or ''!r} is not a valid {what}"
    )


def absent(reason: str) -> Check:
    """Return a check that a value is missing or empty."""
    return lambda value, path: forbidden(value, path, reason)


def required(value: Any, path: str, reason: str = "Required value") -> Causes:
    """Yield a cause if a value is missing or empty."""
    if value in (None, "", [], {}):
        yield Cause(CauseType.REQUIRED, reason, path)


def invalid(broken: object, path: str, reason: str) -> Causes:
    """Yield a cause if `broken` is true."""
    if broken:
        yield Cause(CauseType.INVALID, reason, path)


def forbidden(broken: object, path: str, reason: str) -> Causes:
    """Yield a cause of reason Forbidden if `broken` is true."""
    if broken:
        yield Cause(CauseType.FORBIDDEN, reason, path)


def not_found(reason: str, path: str) -> Causes:
    """Yield a cause of reason NotFound."""
    yield Cause(CauseType.NOT_FOUND, reason, path)


def one_of(value: Any, allowed: Collection[str], path: str) -> Causes:
    """Check that a value is one of the allowed values."""
    if value not in allowed:
        yield Cause(
            CauseType.NOT_SUPPORTED, f"{value!r} is not one of {', '.join(sorted(allowed))}", path
        )


def between(value: Any, low: int, high: int, path: str) -> Causes:
    """Check that a number is within inclusive bounds; None is valid."""
    if value is not None and not low <= value <= high:
        yield Cause(CauseType.INVALID, f"{value} is not between {low} and {high}", path)


def port(value: Any, path: str) -> Causes:
    """Check a port number; zero counts as missing."""
    if value in (None, 0):
        yield from required(None, path)
    else:
        yield from between(value, 1, 65535, path)


def port_reference(value: Any, path: str) -> Causes:
    """Check a port given by number or by name."""
    if isinstance(value, str):
        yield from port_name(value, path)
    else:
        yield from between(0 if value is None else value, 1, 65535, path)


def label_name(value: Any, path: str) -> Causes:
    """Check a required name, which must be a DNS label."""
    if value:
        yield from invalid(not is_label(value), path, f"{value!r} is not a DNS label")
    else:
        yield from required(None, path)


def unique(values: Iterable[tuple[Any, str]]) -> Causes:
    """Check that values are unique; takes pairs of value and path, and ignores unset values."""
    found = set()
    for value, path in values:
        if value in (None, ""):
            continue
        if value in found:
            yield Cause(CauseType.DUPLICATE, f"{value!r} is not unique", path)
        found.add(value)


port_name = text(is_port_name, "port name")
label_key = text(is_qualified, "label key")
label_value = text(is_label_value, "label value")


def labels(found: Mapping[str, str] | None, path: str) -> Causes:
    """Check labels."""
    for key, value in (found or {}).items():
        yield from label_key(key, path)
        yield from label_value(value, path)


def annotation_keys(found: Mapping[str, str] | None, path: str) -> Causes:
    """Check the keys of annotations."""
    for key in found or {}:
        broken = not is_qualified(key.lower())
        yield from invalid(broken, path, f"{key!r} is not a valid annotation key")


def selector(found: Mapping[str, Any] | None, path: str) -> Causes:
    """Check a `LabelSelector`."""
    found = found or {}
    yield from labels(found.get("matchLabels"), f"{path}.matchLabels")
    for each, here in indexed(found.get("matchExpressions"), f"{path}.matchExpressions"):
        operator, values = each.get("operator"), each.get("values")
        if operator in ("In", "NotIn"):
            yield from required(values, f"{here}.values")
        elif operator in ("Exists", "DoesNotExist"):
            yield from forbidden(values, f"{here}.values", f"{operator} takes no values")
        else:
            yield from invalid(True, f"{here}.operator", "is not an operator of a label selector")
        yield from label_key(each.get("key"), f"{here}.key")


def relative_path(value: Any, path: str) -> Causes:
    """Check a path that must be relative and stay inside its volume."""
    yield from required(value, path)
    text = str(value or "")
    yield from invalid(text.startswith("/"), path, "must be a relative path")
    # Otherwise a volume could write outside its own directory.
    yield from invalid(".." in text.split("/"), path, "must not contain ..")


def ip(value: Any, path: str) -> Causes:
    """Check an IP address."""
    try:
        ipaddress.ip_address(value or "")
    except ValueError:
        yield Cause(CauseType.INVALID, f"{value or ''!r} is not an IP address", path)


def endpoint_ip(endpoint: Mapping[str, Any], value: Any, path: str) -> Causes:
    """Check the IP address of an endpoint: a user must not reach the API server's machine through a pod."""
    try:
        address = ipaddress.ip_address(value or "")
    except ValueError:
        yield from ip(value, path)
        return
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    # Pods may also have the address of the machine.
    is_pod = address in _POD_ADDRESSES or (endpoint.get("targetRef") or {}).get("kind") == "Pod"
    for broken, reason in (
        (address.is_unspecified, "may not be unspecified"),
        (
            address.is_loopback and not is_pod,
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (address.is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (address.is_multicast, "may not be in a multicast range"),
    ):
        yield from invalid(broken, path, reason)


def immutable(new: Any, old: Any, path: str, reason: str = "field is immutable") -> Causes:
    """Check that a value did not change."""
    if new != old:
        yield from invalid(True, path, f"Invalid value: {orjson.dumps(new).decode()}: {reason}")


def immutable_forbidden(new: Any, old: Any, path: str, reason: str = "") -> Causes:
    """Check that a value did not change, where the real API forbids a change instead of the value."""
    reason = reason or f"updates to {path} are forbidden."
    yield from forbidden(new != old, path, f"Forbidden: {reason}")


def indexed(items: Any, path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield each object of a list with its path."""
    for at, each in enumerate(items or ()):
        yield each or {}, f"{path}[{at}]"
