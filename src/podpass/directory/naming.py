"""Naming rules of directory objects. Pure.

Source:  https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from podpass.directory.errors import InvalidValue
from podpass.guids import is_lower_guid

MAX_TAGS = 50

_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_USER_NAME = re.compile(
    r"[A-Za-z0-9'.!#^~_+-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
)
_UNIQUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,119}")
_ACTION = re.compile(r"[A-Za-z0-9.*_-]+(?:/[A-Za-z0-9.*_-]+)*")
_FORBIDDEN_IN_TAGS = frozenset("<>%&\\?/")
_MAX_URI = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One broken rule: the field and what is wrong with it."""

    field: str
    message: str


def check_guid(field: str, value: str) -> None:
    """Reject a value that is not a GUID in lower case. Raises InvalidValue."""
    if not is_lower_guid(value):
        raise InvalidValue(f"{field} {value!r}: want a GUID in lower case", field=field)


def check_domain(domain: str) -> None:
    """Reject a value that is not a domain name in lower case. Raises InvalidValue."""
    if not _DOMAIN.fullmatch(domain) or is_lower_guid(domain):
        raise InvalidValue(f"domain {domain!r}: want a host name in lower case", field="domains")


def group_name_fault(name: str) -> Fault | None:
    """Return the fault of a resource group name, or None."""
    plain = all(char.isalnum() or char in "_-.()" for char in name)
    if 0 < len(name) <= 90 and plain and not name.endswith("."):
        return None
    return Fault(
        field="name",
        message=f"name {name!r}: want 1 to 90 letters, digits, '_', '-', '.', '(' and ')',"
        " not ending with '.'",
    )


def user_name_fault(name: str) -> Fault | None:
    """Return the fault of a user principal name, or None."""
    if len(name) <= 113 and _USER_NAME.fullmatch(name):
        return None
    return Fault(
        field="name", message=f"name {name!r}: want name@domain with a name of 1 to 64 characters"
    )


def unique_name_fault(name: str) -> Fault | None:
    """Return the fault of an application's unique name, or None."""
    if _UNIQUE_NAME.fullmatch(name):
        return None
    want = "1 to 120 letters, digits, '.', '_', ':', '/' and '-', beginning with a letter or digit"
    return Fault(field="unique_name", message=f"unique name {name!r}: want {want}")


def uri_fault(uri: str) -> Fault | None:
    """Return the fault of an application's identifier URI, or None.

    Source:  https://learn.microsoft.com/entra/identity-platform/identifier-uri-formats
    """
    try:
        parts = urlsplit(uri)
        fits = bool(parts.scheme) and bool(parts.netloc or parts.path.strip("/"))
        fits = fits and not parts.fragment and not parts.query and "*" not in uri
    except ValueError:
        fits = False
    # Outside ASCII, lower() maps several characters to one, so that two different URIs would be equal.
    fits = fits and uri.isascii() and uri.isprintable() and " " not in uri and len(uri) <= _MAX_URI
    if fits:
        return None
    want = f"an absolute URI of at most {_MAX_URI} plain characters without '*', '?' and '#'"
    return Fault(field="identifier_uris", message=f"identifier URI {uri!r}: want {want}")


def uri_key(uri: str) -> str:
    """Return the comparison key of an identifier URI: lower case, without one trailing slash."""
    return uri.removesuffix("/").lower()


def tags_fault(tags: Mapping[str, str]) -> Fault | None:
    """Return the first fault of a resource's tags, or None."""
    if len(tags) > MAX_TAGS:
        return Fault(field="tags", message=f"want at most {MAX_TAGS} tags, not {len(tags)}")
    if len({name.lower() for name in tags}) < len(tags):
        return Fault(field="tags", message="duplicate tag name; names are compared without case")
    for name, value in tags.items():
        if not 0 < len(name) <= 512 or _FORBIDDEN_IN_TAGS.intersection(name):
            text = "want 1 to 512 characters, none of < > % & \\ ? /"
            return Fault(field="tags", message=f"tag name {name!r}: {text}")
        if len(value) > 256:
            return Fault(
                field="tags", message=f"tag {name!r}: want a value of at most 256 characters"
            )
    return None


def raise_fault(*faults: Fault | None) -> None:
    """Raise the first fault that is not None. Raises InvalidValue."""
    for fault in faults:
        if fault is not None:
            raise InvalidValue(fault.message, field=fault.field)


def role_name_fault(name: str) -> Fault | None:
    """Return the fault of a custom role's name, or None."""
    if 0 < len(name) <= 512 and name.isprintable() and name.strip() == name:
        return None
    return Fault(field="name", message=f"name {name!r}: want 1 to 512 printable characters")


def action_fault(field: str, pattern: str) -> Fault | None:
    """Return the fault of an action pattern of a custom role, or None."""
    # Patterns with many wildcards are slow to match.
    if _ACTION.fullmatch(pattern) and pattern.count("*") <= 5 and len(pattern) <= 500:
        return None
    want = "letters, digits, '.', '-', '_' and '*' between slashes"
    return Fault(field=field, message=f"action {pattern!r}: want {want}")
