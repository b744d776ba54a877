"""An object as a client wants to see it: as it is, as a table, or its metadata alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from podpass.clock import Clock
from podpass.kubernetes.apiserver import response
from podpass.kubernetes.apiserver.kinds import Kind
from podpass.kubernetes.apiserver.read import table as columns
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.response import METADATA, OBJECT, Accepted, Answer
from podpass.kubernetes.apiserver.status import bad_request
from podpass.kubernetes.apiserver.storage.storage import Object

_INCLUDES = ("None", "Metadata", "Object")


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, with the metadata of the list."""

    raws: Sequence[bytes]
    metadata: dict[str, Any]


def document(kind: Kind, raw: bytes) -> bytes:
    """Put `kind` and `apiVersion` in front of an object's JSON."""
    return b'{"kind":"%s","apiVersion":"%s",' % (kind.kind.encode(), _version(kind)) + raw[1:]


def _version(kind: Kind) -> bytes:
    return kind.api_version.encode()


def typed(kind: Kind, obj: Object) -> Object:
    """Put `kind` and `apiVersion` in front of an object."""
    return {"kind": kind.kind, "apiVersion": kind.api_version, **obj}


def one(request: Request, kind: Kind, obj: Object, clock: Clock, status: int = 200) -> Answer:
    """Answer one object in the form its client accepts."""
    form = response.accepted(request)
    if form.form == OBJECT:
        return response.whole(request, typed(kind, obj), status, form.media_type)
    if form.form == METADATA:
        return response.whole(request, partial(obj, form), status, form.media_type)
    metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
    made = table(kind, [obj], clock(), include_of(request)) | {"metadata": metadata}
    return response.whole(request, _in_version(made, form), status, form.media_type)


def include_of(request: Request) -> str:
    """Read how much of each object goes along in a table.

    Errors:  StatusError 400.
    """
    include = request.option("includeObject") or "Metadata"
    if include not in _INCLUDES:
        raise bad_request(f"includeObject {include!r}: want None, Metadata or Object")
    return include


def table(kind: Kind, objects: Sequence[Object], now: float, include: str) -> Object:
    """Draw objects as a table."""
    made: Object = columns.table(kind, [typed(kind, obj) for obj in objects], now, include=include)
    return made


def column_definitions(kind: Kind) -> list[Object]:
    """Say what the columns of a kind's tables are."""
    made: list[Object] = columns.table(kind, [], 0)["columnDefinitions"]
    return made


def in_event(kind: Kind, raw: bytes, form: Accepted, now: float, include: str) -> bytes:
    """Write an object as it stands in a watch event; a table without its columns' names."""
    if form.form == OBJECT:
        return document(kind, raw)
    obj = orjson.loads(raw)
    if form.form == METADATA:
        return orjson.dumps(partial(obj, form))
    metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
    made = table(kind, [obj], now, include)
    return orjson.dumps(_in_version(made | {"metadata": metadata, "columnDefinitions": None}, form))


def partial(obj: Object, form: Accepted) -> Object:
    """Give an object's metadata alone."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{form.version}",
        "metadata": obj["metadata"],
    }


def _in_version(made: Object, form: Accepted) -> Object:
    return made | {"apiVersion": f"meta.k8s.io/{form.version}"}
