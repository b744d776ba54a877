"""Responses with one object: the object itself, a table, or only its metadata."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from kubeling.apiserver import response
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.read import table
from kubeling.apiserver.request import Request
from kubeling.apiserver.response import METADATA, OBJECT, OutputFormat, Response
from kubeling.apiserver.status import bad_request
from kubeling.apiserver.storage.storage import Object
from kubeling.clock import Clock

_INCLUDES = ("None", "Metadata", "Object")


@dataclass(frozen=True, slots=True)
class ListResult:
    """One page of a list, with the metadata of the list."""

    raws: Sequence[bytes]
    metadata: dict[str, Any]


def in_version(kind: Kind, raw: bytes) -> bytes:
    """Return the JSON of a stored object in the version of a kind."""
    conversion = kind.conversion
    return raw if conversion is None else conversion.encode(raw)


def encode_with_type_meta(kind: Kind, raw: bytes) -> bytes:
    """Add `kind` and `apiVersion` at the start of an object's JSON."""
    return b'{"kind":"%s","apiVersion":"%s",' % (kind.kind.encode(), _version(kind)) + raw[1:]


def _version(kind: Kind) -> bytes:
    return kind.api_version.encode()


def with_type_meta(kind: Kind, obj: Object) -> Object:
    """Add `kind` and `apiVersion` at the start of an object."""
    return {"kind": kind.kind, "apiVersion": kind.api_version, **obj}


def respond(request: Request, kind: Kind, obj: Object, clock: Clock, status: int = 200) -> Response:
    """Respond with an object in the format that the client accepts.

    Raises StatusError 406; a kind that is not stored has no table.
    """
    form = response.negotiate(request, has_table=kind.stored)
    if form.form == OBJECT:
        return response.encode(request, with_type_meta(kind, obj), status, form.media_type)
    if form.form == METADATA:
        return response.encode(request, partial_metadata(obj, form), status, form.media_type)
    metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
    made = object_table(kind, [obj], clock(), include_object(request)) | {"metadata": metadata}
    return response.encode(request, _in_version(made, form), status, form.media_type)


def include_object(request: Request) -> str:
    """Return how much of each object a table includes. Raises StatusError 400."""
    include = request.option("includeObject") or "Metadata"
    if include not in _INCLUDES:
        raise bad_request(f"includeObject {include!r}: want None, Metadata or Object")
    return include


def object_table(kind: Kind, objects: Sequence[Object], now: float, include: str) -> Object:
    """Build a table of objects."""
    made: Object = table.make_table(
        kind, [with_type_meta(kind, obj) for obj in objects], now, include=include
    )
    return made


def column_definitions(kind: Kind) -> list[Object]:
    """Return the column definitions of a kind's tables."""
    made: list[Object] = table.make_table(kind, [], 0)["columnDefinitions"]
    return made


def encode_in_event(kind: Kind, raw: bytes, form: OutputFormat, now: float, include: str) -> bytes:
    """Encode an object for a watch event; a table has no column definitions."""
    if form.form == OBJECT:
        return encode_with_type_meta(kind, raw)
    obj = orjson.loads(raw)
    if form.form == METADATA:
        return orjson.dumps(partial_metadata(obj, form))
    metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
    made = object_table(kind, [obj], now, include)
    return orjson.dumps(_in_version(made | {"metadata": metadata, "columnDefinitions": None}, form))


def partial_metadata(obj: Object, form: OutputFormat) -> Object:
    """Return an object's metadata as PartialObjectMetadata."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{form.version}",
        "metadata": obj["metadata"],
    }


def _in_version(made: Object, form: OutputFormat) -> Object:
    return made | {"apiVersion": f"meta.k8s.io/{form.version}"}
