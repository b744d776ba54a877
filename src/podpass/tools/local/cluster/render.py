"""Objects and lists as a client wants to see them: as they are, as a table, or their metadata alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from podpass.clock import Clock
from podpass.tools.local.cluster import answer, columns
from podpass.tools.local.cluster.answer import METADATA, OBJECT, TABLE, Accepted, Answer
from podpass.tools.local.cluster.kinds import Kind
from podpass.tools.local.cluster.request import Request
from podpass.tools.local.cluster.status import bad_request
from podpass.tools.local.cluster.store import Object

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
    form = answer.accepted(request)
    if form.form == OBJECT:
        return answer.whole(request, typed(kind, obj), status, form.media_type)
    if form.form == METADATA:
        return answer.whole(request, _partial(obj, form), status, form.media_type)
    metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
    made = table(request, kind, [obj], clock) | {"metadata": metadata}
    return answer.whole(request, _in_version(made, form), status, form.media_type)


def many(request: Request, kind: Kind, page: Page, clock: Clock) -> Answer:
    """Answer a list in the form its client accepts; items of a plain list carry no kind."""
    form = answer.accepted(request)
    if form.form == OBJECT:
        head = b'{"kind":"%s","apiVersion":"%s","metadata":' % (
            kind.list_kind.encode(),
            _version(kind),
        )
        body = head + orjson.dumps(page.metadata) + b',"items":[' + b",".join(page.raws) + b"]}"
        return answer.whole(request, body, media_type=form.media_type)
    objects = [orjson.loads(raw) for raw in page.raws]
    if form.form == TABLE:
        made = table(request, kind, objects, clock) | {"metadata": page.metadata}
        return answer.whole(request, _in_version(made, form), media_type=form.media_type)
    partial = {
        "kind": "PartialObjectMetadataList",
        "apiVersion": f"meta.k8s.io/{form.version}",
        "metadata": page.metadata,
        "items": [_partial(obj, form) for obj in objects],
    }
    return answer.whole(request, partial, media_type=form.media_type)


def table(request: Request, kind: Kind, objects: Sequence[Object], clock: Clock) -> Object:
    """Draw objects as a table, with as much of each as `includeObject` asks for.

    Errors:  StatusError 400.
    """
    include = request.option("includeObject") or "Metadata"
    if include not in _INCLUDES:
        raise bad_request(f"includeObject {include!r}: want None, Metadata or Object")
    whole = [typed(kind, obj) for obj in objects]
    made: Object = columns.table(kind, whole, clock(), include=include)
    return made


def in_event(request: Request, kind: Kind, raw: bytes, form: Accepted, clock: Clock) -> bytes:
    """Write an object as it stands in a watch event."""
    if form.form == OBJECT:
        return document(kind, raw)
    obj = orjson.loads(raw)
    if form.form == METADATA:
        return orjson.dumps(_partial(obj, form))
    metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
    made = table(request, kind, [obj], clock) | {"metadata": metadata}
    return orjson.dumps(_in_version(made, form))


def _partial(obj: Object, form: Accepted) -> Object:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{form.version}",
        "metadata": obj["metadata"],
    }


def _in_version(made: Object, form: Accepted) -> Object:
    return made | {"apiVersion": f"meta.k8s.io/{form.version}"}
