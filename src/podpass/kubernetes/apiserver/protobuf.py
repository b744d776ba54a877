"""Bodies in Kubernetes' protobuf form, as typed Go clients send them (`kubectl create token` among them).

Only read, never written: every such client takes JSON back. Field numbers stand in `protobuf.json`
(scripts/make_protobuf.py), the types of the values in `schema.json`.
Source: Kubernetes API concepts, "Alternate representations of resources"; k8s.io/apimachinery v0.37
pkg/runtime/serializer/protobuf.
"""

import base64
import functools
import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import orjson

from podpass.clock import rfc3339
from podpass.errors import Error
from podpass.kubernetes.apiserver import schema

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_MAX_DEPTH = 64
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
Object = dict[str, Any]
Value = int | bytes


class MalformedBody(Error):
    """The bytes are no protobuf message of the type they should be."""

    code = "malformed_protobuf"
    status = 400
    hint = "send the object as JSON"


@functools.cache
def numbers() -> Mapping[str, Mapping[str, str]]:
    """Read the field numbers, once, when first asked."""
    text = resources.files(__package__).joinpath("protobuf.json").read_text()
    loaded: dict[str, dict[str, str]] = json.loads(text)
    return loaded


def decode(data: bytes) -> Object:
    """Read an object with its envelope.

    Errors:  MalformedBody.
    """
    if not data.startswith(_MAGIC):
        raise MalformedBody("no Kubernetes protobuf")
    envelope = {number: value for number, _, value in _fields(data[4:])}
    about = {number: value for number, _, value in _fields(_as_bytes(envelope.get(1, b"")))}
    kind = _text(about.get(2, b""))
    if kind not in numbers():
        raise MalformedBody(f"kind {kind!r} is not known here")
    body = _message(kind, _as_bytes(envelope.get(2, b"")), 0)
    return {"kind": kind, "apiVersion": _text(about.get(1, b""))} | body


def _fields(data: bytes) -> Iterator[tuple[int, int, Value]]:
    """Yield number, wire type and value of each field of a message."""
    at = 0
    while at < len(data):
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
    raise MalformedBody("a number does not end")


def _as_bytes(value: Value) -> bytes:
    if isinstance(value, bytes):
        return value
    raise MalformedBody("a number where bytes should be")


def _text(value: Value) -> str:
    try:
        return _as_bytes(value).decode()
    except UnicodeDecodeError as exc:
        raise MalformedBody("text that is not UTF-8") from exc


def _signed(value: Value) -> int:
    if not isinstance(value, int):
        raise MalformedBody("bytes where a number should be")
    return value - (1 << 64) if value >> 63 else value


def _message(kind: str, data: bytes, depth: int) -> Object:
    found: Object = {}
    _fill(found, kind, data, schema.types().get(kind, {}), depth)
    return found


def _fill(found: Object, kind: str, data: bytes, types: Mapping[str, str], depth: int) -> None:
    """Read a message into an object; fields of a part that JSON writes in place go there too."""
    if depth > _MAX_DEPTH:
        raise MalformedBody("nested too deep")
    names = numbers()[kind]
    for number, _, value in _fields(data):
        name = names.get(str(number), "")
        if name.startswith("="):
            _fill(found, name[1:], _as_bytes(value), types, depth + 1)
            continue
        pointer, name = name.startswith("*"), name.lstrip("*")
        below = types.get(name)
        if below is None:
            continue
        if below.startswith("["):
            found.setdefault(name, []).append(_value(below[1:-1], value, depth))
        elif below.startswith("{"):
            key, each = _entry(below[1:-1], value, depth)
            found.setdefault(name, {})[key] = each
        else:
            read = _value(below, value, depth)
            # Go writes what is no pointer even where it was never set.
            if read is not None and (pointer or read not in ("", 0, {})):
                found[name] = read


def _entry(kind: str, value: Value, depth: int) -> tuple[str, Any]:
    parts = {number: each for number, _, each in _fields(_as_bytes(value))}
    inner = parts.get(2, b"")
    if kind == "[string]":  # a list in a map is a message of its own
        return _text(parts.get(1, b"")), [_text(each) for _, _, each in _fields(_as_bytes(inner))]
    return _text(parts.get(1, b"")), _value(kind, inner, depth)


def _value(kind: str, value: Value, depth: int) -> Any:
    match kind:
        case "string":
            return _text(value)
        case "integer":
            return _signed(value)
        case "boolean":
            return bool(value)
        case "bytes":
            return base64.b64encode(_as_bytes(value)).decode()
        case "time" | "microTime":
            return _time(kind, _as_bytes(value))
        case "quantity":
            return _text(_first(value, 1, b""))
        case "intOrString":
            is_text = _first(value, 1, 0)
            return _text(_first(value, 3, b"")) if is_text else _signed(_first(value, 2, 0))
        case "object":
            return _free(_as_bytes(_first(value, 1, b"")))
        case _:
            return _message(kind, _as_bytes(value), depth + 1)


def _first(value: Value, wanted: int, default: Value) -> Value:
    found = {number: each for number, _, each in _fields(_as_bytes(value))}
    return found.get(wanted, default)


def _free(raw: bytes) -> Any:
    try:
        return orjson.loads(raw) if raw else {}
    except ValueError as exc:
        raise MalformedBody("a field that should hold JSON does not") from exc


def _time(kind: str, data: bytes) -> str | None:
    if not data:
        return None  # never set
    seconds, nanos = _signed(_first(data, 1, 0)), _signed(_first(data, 2, 0))
    try:
        text = rfc3339(seconds)
    except (ValueError, OverflowError, OSError) as exc:
        raise MalformedBody("a time out of range") from exc
    return text if kind == "time" else f"{text[:-1]}.{nanos // 1000:06d}Z"
