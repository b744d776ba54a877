"""Decode request bodies in the protobuf encoding of Kubernetes, as typed Go clients send them.

`kubectl create token` is such a client. Responses are never protobuf, because every such client accepts
JSON. Field numbers are in `protobuf.json` (scripts/make_protobuf.py), the types of values in the schema.
Source: Kubernetes API concepts, "Alternate representations of resources"; k8s.io/apimachinery v0.37
pkg/runtime/serializer/protobuf.
"""

import base64
import functools
import json
import math
import struct
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import orjson

from kubeling.apiserver import schema
from kubeling.apiserver.kinds import kind_by_type
from kubeling.apiserver.limits import MAX_VALUES
from kubeling.clock import rfc3339
from kubeling.errors import Error

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_MAX_DEPTH = 64
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
# In JSON, each of these fields of a JSON schema is a schema or another type. In protobuf, it is a message
# with a field for each of these types; here are their numbers: the schema, and the other type.
_SCHEMA_OR = {"items": (1, 2), "additionalItems": (2, 1), "additionalProperties": (2, 1)}
Object = dict[str, Any]
Value = int | bytes


class MalformedBody(Error):
    """The bytes are not a valid protobuf message of the expected type."""

    code = "malformed_protobuf"
    status = 400
    hint = "send the object as JSON"


@functools.cache
def numbers() -> Mapping[str, Mapping[str, str]]:
    """Load the field numbers at the first call."""
    text = resources.files(__package__).joinpath("protobuf.json").read_text()
    loaded: dict[str, dict[str, str]] = json.loads(text)
    return loaded


def decode(data: bytes) -> Object:
    """Decode an object with its envelope. Raises MalformedBody."""
    if not data.startswith(_MAGIC):
        raise MalformedBody("the body does not start with the Kubernetes protobuf prefix")
    envelope = {number: value for number, _, value in _fields(data[4:])}
    type_meta = {number: value for number, _, value in _fields(_as_bytes(envelope.get(1, b"")))}
    kind, api_version = _text(type_meta.get(2, b"")), _text(type_meta.get(1, b""))
    found = kind_by_type(api_version, kind)
    type_name = found.type_name if found else kind
    if type_name not in numbers():
        raise MalformedBody(f"kind {kind!r} is not supported")
    body = _decode_message(type_name, _as_bytes(envelope.get(2, b"")), 0)
    return {"kind": kind, "apiVersion": api_version} | body


def _fields(data: bytes) -> Iterator[tuple[int, int, Value]]:
    """Yield the number, wire type and value of each field of a message."""
    at = fields = 0
    while at < len(data):
        fields += 1
        if fields > MAX_VALUES:
            raise MalformedBody(f"a message has more than {MAX_VALUES} fields")
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_EIGHT, _FOUR):
            size = 8 if wire == _EIGHT else 4
        else:
            raise MalformedBody("unknown wire type")
        if at + size > len(data):
            raise MalformedBody("a field is longer than its message")
        yield number, wire, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise MalformedBody("a varint is not terminated")


def _as_bytes(value: Value) -> bytes:
    if isinstance(value, bytes):
        return value
    raise MalformedBody("found a number where bytes are expected")


def _text(value: Value) -> str:
    try:
        return _as_bytes(value).decode()
    except UnicodeDecodeError as exc:
        raise MalformedBody("a string is not valid UTF-8") from exc


def _signed(value: Value) -> int:
    if not isinstance(value, int):
        raise MalformedBody("found bytes where a number is expected")
    return value - (1 << 64) if value >> 63 else value


def _decode_message(kind: str, data: bytes, depth: int) -> Object:
    found: Object = {}
    _decode_into(found, kind, data, schema.types().get(kind, {}), depth)
    return found


def _decode_into(
    found: Object, kind: str, data: bytes, types: Mapping[str, str], depth: int
) -> None:
    """Decode a message into an object; fields of an inlined message are added to the same object."""
    if depth > _MAX_DEPTH:
        raise MalformedBody("the message is nested too deeply")
    names = numbers()[kind]
    for number, _, value in _fields(data):
        name = names.get(str(number), "")
        if name.startswith("="):
            _decode_into(found, name[1:], _as_bytes(value), types, depth + 1)
            continue
        pointer, name = name.startswith("*"), name.lstrip("*")
        below = types.get(name)
        if below is None:
            continue
        if kind == "JSONSchemaProps" and name in _SCHEMA_OR:
            found[name] = _decode_schema_or(name, value, depth)
        elif below.startswith("["):
            found.setdefault(name, []).append(_decode_value(below[1:-1], value, depth))
        elif below.startswith("{"):
            key, each = _decode_map_entry(below[1:-1], value, depth)
            found.setdefault(name, {})[key] = each
        else:
            decoded = _decode_value(below, value, depth)
            # Go encodes a field that is not a pointer even if it was never set.
            is_set = pointer or decoded not in ("", 0, {}) or _is_needed(kind, name, decoded)
            if decoded is not None and is_set:
                found[name] = decoded


def _is_needed(kind: str, name: str, decoded: Any) -> bool:
    """Return whether a field is false and required, as `served` of a version."""
    return decoded is False and name in schema.required(kind)


def _decode_schema_or(name: str, value: Value, depth: int) -> Any:
    """Decode a field that is a JSON schema, or else a list of schemas or a boolean."""
    of_schema, of_other = _SCHEMA_OR[name]
    parts = [(number, each) for number, _, each in _fields(_as_bytes(value))]
    schemas = [
        _decode_value("JSONSchemaProps", each, depth)
        for number, each in parts
        if number == of_schema or (number == of_other and name == "items")
    ]
    if name == "items":
        return schemas[0] if of_schema in dict(parts) else schemas
    return schemas[0] if schemas else bool(dict(parts).get(of_other))


def _decode_map_entry(kind: str, value: Value, depth: int) -> tuple[str, Any]:
    parts = {number: each for number, _, each in _fields(_as_bytes(value))}
    inner = parts.get(2, b"")
    if kind == "[string]":  # a list in a map is a separate message
        return _text(parts.get(1, b"")), [_text(each) for _, _, each in _fields(_as_bytes(inner))]
    return _text(parts.get(1, b"")), _decode_value(kind, inner, depth)


def _decode_value(kind: str, value: Value, depth: int) -> Any:
    match kind:
        case "string":
            return _text(value)
        case "integer" | "int32":
            return _signed(value)
        case "number":
            return _decode_double(_as_bytes(value))
        case "boolean":
            return bool(value)
        case "bytes":
            return base64.b64encode(_as_bytes(value)).decode()
        case "time" | "microTime":
            return _decode_time(kind, _as_bytes(value))
        case "quantity":
            return _text(_first_field(value, 1, b""))
        case "intOrString":
            is_text = _first_field(value, 1, 0)
            return (
                _text(_first_field(value, 3, b""))
                if is_text
                else _signed(_first_field(value, 2, 0))
            )
        case "object":
            raw = _as_bytes(_first_field(value, 1, b""))
            try:
                return orjson.loads(raw) if raw else {}
            except ValueError as exc:
                raise MalformedBody("a field does not contain valid JSON") from exc
        case _:
            return _decode_message(kind, _as_bytes(value), depth + 1)


def _first_field(value: Value, wanted: int, default: Value) -> Value:
    found = {number: each for number, _, each in _fields(_as_bytes(value))}
    return found.get(wanted, default)


def _decode_double(data: bytes) -> int | float:
    """Decode a double as in JSON, where whole numbers have no fraction."""
    if len(data) != struct.calcsize("<d"):
        raise MalformedBody("a number does not have 8 bytes")
    (value,) = struct.unpack("<d", data)
    if not math.isfinite(value):
        raise MalformedBody("a number is not finite")
    return int(value) if value.is_integer() else float(value)


def _decode_time(kind: str, data: bytes) -> str | None:
    if not data:
        return None  # never set
    seconds, nanos = _signed(_first_field(data, 1, 0)), _signed(_first_field(data, 2, 0))
    try:
        text = rfc3339(seconds)
    except (ValueError, OverflowError, OSError) as exc:
        raise MalformedBody("a time is out of range") from exc
    return text if kind == "time" else f"{text[:-1]}.{nanos // 1000:06d}Z"
