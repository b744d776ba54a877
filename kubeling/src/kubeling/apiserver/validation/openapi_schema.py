"""Validate values against the OpenAPI schema of a CustomResourceDefinition, with the library jsonschema-rs.

Its regular expressions take linear time, as those of the real API server. A pattern of a definition therefore
cannot block the server. The library is imported when the first custom resource is written.
"""

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from kubeling.apiserver.status import Cause, CauseType

Schema = Mapping[str, Any]
Location = tuple[str | int, ...]

MAX_CAUSES = 100
# The maximum number of errors that are examined: each value of an object may have one.
_MAX_ERRORS = 10_000
_PATTERN_BYTES = 1 << 20
_MAX_MESSAGE = 200
_KEYWORDS = (
    *("maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "multipleOf", "maxLength"),
    *("minLength", "pattern", "maxItems", "minItems", "maxProperties", "minProperties"),
    *("required", "format"),
)
_GO_DURATION = re.compile(r"[-+]?(?:0|(?:(?:\d+(?:\.\d*)?|\.\d+) ?(?:ns|us|µs|μs|ms|s|m|h|d|w))+)")
_MAC = re.compile(r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}")
_REASONS = {
    "type": CauseType.TYPE_INVALID,
    "format": CauseType.INVALID,
    "enum": CauseType.NOT_SUPPORTED,
    "required": CauseType.REQUIRED,
    "maxLength": CauseType.TOO_LONG,
}


class Validator:
    """A compiled schema.

    Raises ValueError if the schema cannot be compiled, such as for an invalid pattern.
    """

    def __init__(self, schema: Schema) -> None:
        import jsonschema_rs

        try:
            self._compiled = jsonschema_rs.Draft4Validator(
                translate(schema),
                formats=_FORMATS,
                validate_formats=True,
                pattern_options=jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES),
                offline=True,
            )
        except jsonschema_rs.ValidationError as exc:
            raise ValueError(exc.message) from exc

    def errors(self, value: Any) -> Iterator[tuple[Location, Cause]]:
        """Yield each problem: the location of the value that has it, and its cause."""
        try:
            for error in islice(self._compiled.iter_errors(value), _MAX_ERRORS):
                yield _cause(error)
        except ValueError:
            yield (), Cause(CauseType.INVALID, "is nested too deeply")


def _cause(error: Any) -> tuple[Location, Cause]:
    location, keyword = tuple(error.instance_path), error.kind.name
    if keyword == "required":
        missing = (*location, error.kind.property)
        return location, Cause(CauseType.REQUIRED, "Required value", format_location(missing))
    reason = _REASONS.get(keyword, CauseType.INVALID)
    message = _unsupported(error) if keyword == "enum" else error.message
    return location, Cause(reason, message[:_MAX_MESSAGE], format_location(location))


def _unsupported(error: Any) -> str:
    allowed = ", ".join(json.dumps(each) for each in error.kind.options)
    return f"Unsupported value: {json.dumps(error.instance)}: supported values: {allowed}"


def format_location(location: Sequence[str | int]) -> str:
    """Format a location as a field: `spec.containers[0].image`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


def translate(schema: Schema) -> dict[str, Any]:
    """Translate an OpenAPI schema to JSON Schema draft 4, without the extensions of Kubernetes."""
    # An empty list of required fields is no JSON Schema of this draft.
    made = {name: schema[name] for name in _KEYWORDS if schema.get(name) not in (None, [], "")}
    kind, enum = schema.get("type"), schema.get("enum")
    if schema.get("x-kubernetes-int-or-string"):
        kind = ["integer", "string"]
    if enum:
        made["enum"] = [*enum, None] if schema.get("nullable") else enum
    if kind:
        kinds = kind if isinstance(kind, list) else [kind]
        made["type"] = [*kinds, "null"] if schema.get("nullable") else kind
    if properties := schema.get("properties"):
        made["properties"] = {name: translate(each) for name, each in properties.items()}
    if isinstance(items := schema.get("items"), dict):
        made["items"] = translate(items)
    if isinstance(other := schema.get("additionalProperties"), dict):
        made["additionalProperties"] = translate(other)
    for name in ("allOf", "anyOf", "oneOf"):
        if schema.get(name):
            made[name] = [translate(each) for each in schema[name]]
    if isinstance(schema.get("not"), dict):
        made["not"] = translate(schema["not"])
    return made


def set_errors(
    schema: Schema, value: Any, location: Location = ()
) -> Iterator[tuple[Location, Cause]]:
    """Yield the items that a list of type set or map contains twice."""
    if isinstance(value, dict):
        properties, other = schema.get("properties") or {}, schema.get("additionalProperties")
        for name, each in value.items():
            below = properties.get(name, other)
            if isinstance(below, dict):
                yield from set_errors(below, each, (*location, name))
    elif isinstance(value, list):
        yield from _duplicates(schema, value, location)
        for at, each in enumerate(value):
            yield from set_errors(schema.get("items") or {}, each, (*location, at))


def _duplicates(
    schema: Schema, values: list[Any], location: Location
) -> Iterator[tuple[Location, Cause]]:
    kind, found = schema.get("x-kubernetes-list-type"), set[str]()
    if kind not in ("map", "set"):
        return
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    for at, each in enumerate(values):
        if kind == "map" and not isinstance(each, dict):
            continue
        name = repr([each.get(key) for key in keys]) if kind == "map" else repr(each)
        if name in found:
            field = format_location((*location, at))
            yield location, Cause(CauseType.DUPLICATE, "is in the list twice", field)
        found.add(name)


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _is_cidr(text: str) -> bool:
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return "/" in text


def _is_date_time(text: str) -> bool:
    try:
        return "T" in text.upper() and datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


_FORMATS: dict[str, Callable[..., bool]] = {
    "byte": _is_base64,
    "cidr": _is_cidr,
    "date-time": _is_date_time,
    "datetime": _is_date_time,
    # A duration of Go, not of ISO 8601.
    "duration": lambda text: _GO_DURATION.fullmatch(text) is not None,
    "mac": lambda text: _MAC.fullmatch(text) is not None,
    # Formats of JSON Schema that Kubernetes does not check.
    **dict.fromkeys(("time", "regex", "json-pointer", "uri-reference"), lambda _: True),
}
