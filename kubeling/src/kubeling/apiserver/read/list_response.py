"""List responses, encoded in chunks: 10,000 pods are 30 MB.

A list is a head and items, in JSON, indented JSON or YAML. A list that fits into one chunk is a whole
response. A longer list is a stream; other requests run between its chunks.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import orjson

from kubeling.apiserver import response
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.read import object_response
from kubeling.apiserver.read.object_response import ListResult
from kubeling.apiserver.request import Request
from kubeling.apiserver.response import (
    METADATA,
    OBJECT,
    TABLE,
    YAML,
    OutputFormat,
    Response,
    StreamResponse,
)
from kubeling.apiserver.storage.fairness import CooperativeYield
from kubeling.apiserver.storage.storage import Object
from kubeling.clock import Clock

_CHUNK_BYTES = 64 * 1024
_WRITE_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _ListEncoder:
    """Encodes a list: its beginning, each item, the separator and the end."""

    begin: Callable[[Object, str], bytes]
    item: Callable[[bytes], bytes]
    between: bytes
    end: bytes


def respond(
    request: Request, kind: Kind, result: ListResult, clock: Clock
) -> Response | StreamResponse:
    """Respond with a list in the format that the client accepts. Raises StatusError 400, 406."""
    form = response.negotiate(request)
    encoder = _encoder_for(request, form)
    head, member = _head(kind, form, result)
    if not result.raws:
        return response.encode(request, head | {member: []}, media_type=form.media_type)
    items = _items(kind, form, result, clock(), object_response.include_object(request))
    chunks = _chunks(encoder, encoder.begin(head, member), items)
    first = list(islice(chunks, 2))
    if len(first) < 2:
        return Response(200, b"".join(first), form.media_type)
    return StreamResponse(
        200, _stream(first, chunks), form.media_type, write_timeout=_WRITE_TIMEOUT_SECONDS
    )


async def _stream(first: Sequence[bytes], others: Iterator[bytes]) -> AsyncIterator[bytes]:
    cooperative = CooperativeYield()
    for chunk in first:
        yield chunk
    for chunk in others:
        # An empty chunk means that the time slice is over, not that there is something to send.
        if chunk:
            yield chunk
        await cooperative.yield_if_due()


def _chunks(encoder: _ListEncoder, begin: bytes, items: Iterator[bytes]) -> Iterator[bytes]:
    """Encode a list in chunks; the last chunk contains the end."""
    lines, size, cooperative = [begin], len(begin), CooperativeYield()
    for at, item in enumerate(items):
        lines.append(encoder.between + encoder.item(item) if at else encoder.item(item))
        size += len(lines[-1])
        if size >= _CHUNK_BYTES or cooperative.is_due:
            yield b"".join(lines)
            lines, size, cooperative = [], 0, CooperativeYield()
    yield b"".join([*lines, encoder.end])


def _head(kind: Kind, form: OutputFormat, result: ListResult) -> tuple[Object, str]:
    """Return the list without its items, and the name of the member for the items."""
    if form.form == OBJECT:
        type_meta = {"kind": kind.list_kind, "apiVersion": kind.api_version}
        return type_meta | {"metadata": result.metadata}, "items"
    type_meta = {"kind": form.form, "apiVersion": f"meta.k8s.io/{form.version}"}
    if form.form == TABLE:
        columns = {"columnDefinitions": object_response.column_definitions(kind)}
        return type_meta | {"metadata": result.metadata} | columns, "rows"
    return type_meta | {"kind": METADATA + "List", "metadata": result.metadata}, "items"


def _items(
    kind: Kind, form: OutputFormat, result: ListResult, now: float, include: str
) -> Iterator[bytes]:
    """Yield each item as JSON; the items of a plain list have a `kind` only if it is a custom kind."""
    for raw in result.raws:
        if form.form == OBJECT:
            yield raw if kind.custom is None else object_response.encode_with_type_meta(kind, raw)
        elif form.form == METADATA:
            yield orjson.dumps(object_response.partial_metadata(orjson.loads(raw), form))
        else:
            rows = object_response.object_table(kind, [orjson.loads(raw)], now, include)["rows"]
            yield orjson.dumps(rows[0])


def _encoder_for(request: Request, form: OutputFormat) -> _ListEncoder:
    if form.media_type == YAML:
        return _ListEncoder(_yaml_head, _yaml_item, b"", b"")
    if response.is_pretty(request):
        return _ListEncoder(_pretty_head, _pretty_item, b",", b"\n  ]\n}\n")
    return _ListEncoder(_json_head, bytes, b",", b"]}\n")


def _json_head(head: Object, member: str) -> bytes:
    return orjson.dumps(head)[:-1] + b',"%s":[' % member.encode()


def _pretty_head(head: Object, member: str) -> bytes:
    return orjson.dumps(head, option=orjson.OPT_INDENT_2)[:-2] + b',\n  "%s": [' % member.encode()


def _pretty_item(raw: bytes) -> bytes:
    written = orjson.dumps(orjson.loads(raw), option=orjson.OPT_INDENT_2)
    return b"\n    " + written.replace(b"\n", b"\n    ")


def _yaml_head(head: Object, member: str) -> bytes:
    return response.encode_yaml(head) + b"%s:\n" % member.encode()


def _yaml_item(raw: bytes) -> bytes:
    lines = response.encode_yaml(raw).rstrip(b"\n")
    return b"- " + lines.replace(b"\n", b"\n  ") + b"\n"
