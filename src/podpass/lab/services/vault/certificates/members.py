"""Read members of JSON objects in requests on certificates. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from podpass.lab.services.vault.errors import BadParameter


def as_object(given: object, name: str) -> Mapping[str, Any]:
    """Return a value that must be an object. Raises BadParameter."""
    if not isinstance(given, dict):
        raise BadParameter(f"{name} must be an object.")
    return given


def section(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object in an object, by default an empty one. Raises BadParameter."""
    return {} if given.get(name) is None else as_object(given[name], name)


def text(given: Mapping[str, Any], name: str, default: str, limit: int = 255) -> str:
    """Return a string of at most `limit` characters, by default `default`. Raises BadParameter."""
    value = given.get(name)
    if value is None:
        return default
    if not isinstance(value, str) or len(value) > limit or "\0" in value:
        raise BadParameter(f"{name} must be a string of at most {limit} characters.")
    return value


def choice(given: Mapping[str, Any], name: str, known: Sequence[str], default: str) -> str:
    """Return one of the known strings, which are compared without case. Raises BadParameter."""
    value = text(given, name, default)
    found = next((each for each in known if each.lower() == value.lower()), None)
    if value and found is None:
        raise BadParameter(f"{name} must be one of {', '.join(known)}.")
    return found or default


def flag(given: Mapping[str, Any], name: str, default: bool) -> bool:
    """Return true or false, by default `default`. Raises BadParameter."""
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadParameter(f"{name} must be true or false.")
    return default if value is None else value


def number(given: Mapping[str, Any], name: str, allowed: range) -> int:
    """Return a number of a range. Raises BadParameter."""
    value = given.get(name)
    if type(value) is not int or value not in allowed:
        raise BadParameter(f"{name} must be a number from {allowed[0]} to {allowed[-1]}.")
    return value


def as_list(given: object, name: str, limit: int) -> Sequence[Any]:
    """Return a value that must be a list of at most `limit` members. Raises BadParameter."""
    if not isinstance(given, list) or len(given) > limit:
        raise BadParameter(f"{name} must be a list of at most {limit} members.")
    return given


def texts(given: object, name: str, limit: int, length: int = 255) -> list[str]:
    """Return a list of strings of 1 to `length` characters. Raises BadParameter."""
    found = as_list(given, name, limit)
    for each in found:
        if not isinstance(each, str) or not 0 < len(each) <= length or "\0" in each:
            raise BadParameter(f"{name} must have strings of 1 to {length} characters.")
    return list(found)
