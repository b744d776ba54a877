"""A list as a client wants to see it, written piece by piece: 10,000 pods are 30 MB.

A list is a head and its items, in JSON, indented JSON or YAML. What fits into one piece is answered as a
whole; what does not is a stream, between whose pieces others have their turn.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from podpass.clock import Clock
from podpass.kubernetes.apiserver import response
from podpass.kubernetes.apiserver.kinds import Kind
from podpass.kubernetes.apiserver.read import object_response
from podpass.kubernetes.apiserver.read.object_response import Page
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.response import (
    METADATA,
    OBJECT,
    TABLE,
    YAML,
    Accepted,
    Answer,
    Stream,
)
from podpass.kubernetes.apiserver.storage.fairness import Pace
from podpass.kubernetes.apiserver.storage.storage import Object

_PIECE_BYTES = 64 * 1024
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Writer:
    """How lists are written: what stands before the items, each of them, between and behind them."""

    begin: Callable[[Object, str], bytes]
    item: Callable[[bytes], bytes]
    between: bytes
    end: bytes


def answered(request: Request, kind: Kind, page: Page, clock: Clock) -> Answer | Stream:
    """Answer a list in the form its client accepts.

    Errors:  StatusError 400, 406.
    """
    form = response.accepted(request)
    writer = _writer(request, form)
    head, member = _head(kind, form, page)
    if not page.raws:
        return response.whole(request, head | {member: []}, media_type=form.media_type)
    shown = _items(kind, form, page, clock(), object_response.include_of(request))
    pieces = _pieces(writer, writer.begin(head, member), shown)
    first = list(islice(pieces, 2))
    if len(first) < 2:
        return Answer(200, b"".join(first), form.media_type)
    return Stream(200, _paced(first, pieces), form.media_type, patience=_PATIENCE_SECONDS)


async def _paced(first: Sequence[bytes], others: Iterator[bytes]) -> AsyncIterator[bytes]:
    pace = Pace()
    for piece in first:
        yield piece
    for piece in others:
        # An empty one says that time has passed, not that there is something to send.
        if piece:
            yield piece
        await pace.step()


def _pieces(writer: _Writer, begin: bytes, items: Iterator[bytes]) -> Iterator[bytes]:
    """Cut a written list into pieces; the last has its end."""
    lines, size, pace = [begin], len(begin), Pace()
    for at, item in enumerate(items):
        lines.append(writer.between + writer.item(item) if at else writer.item(item))
        size += len(lines[-1])
        if size >= _PIECE_BYTES or pace.is_due:
            yield b"".join(lines)
            lines, size, pace = [], 0, Pace()
    yield b"".join([*lines, writer.end])


def _head(kind: Kind, form: Accepted, page: Page) -> tuple[Object, str]:
    """Give what stands before the items, and the name of the member they are in."""
    if form.form == OBJECT:
        about = {"kind": kind.list_kind, "apiVersion": kind.api_version}
        return about | {"metadata": page.metadata}, "items"
    about = {"kind": form.form, "apiVersion": f"meta.k8s.io/{form.version}"}
    if form.form == TABLE:
        columns = {"columnDefinitions": object_response.column_definitions(kind)}
        return about | {"metadata": page.metadata} | columns, "rows"
    return about | {"kind": METADATA + "List", "metadata": page.metadata}, "items"


def _items(kind: Kind, form: Accepted, page: Page, now: float, include: str) -> Iterator[bytes]:
    """Give each item as JSON; those of a plain list carry no kind."""
    for raw in page.raws:
        if form.form == OBJECT:
            yield raw
        elif form.form == METADATA:
            yield orjson.dumps(object_response.partial(orjson.loads(raw), form))
        else:
            rows = object_response.table(kind, [orjson.loads(raw)], now, include)["rows"]
            yield orjson.dumps(rows[0])


def _writer(request: Request, form: Accepted) -> _Writer:
    if form.media_type == YAML:
        return _Writer(_yaml_head, _yaml_item, b"", b"")
    if response.is_pretty(request):
        return _Writer(_pretty_head, _pretty_item, b",", b"\n  ]\n}\n")
    return _Writer(_json_head, bytes, b",", b"]}\n")


def _json_head(head: Object, member: str) -> bytes:
    return orjson.dumps(head)[:-1] + b',"%s":[' % member.encode()


def _pretty_head(head: Object, member: str) -> bytes:
    return orjson.dumps(head, option=orjson.OPT_INDENT_2)[:-2] + b',\n  "%s": [' % member.encode()


def _pretty_item(raw: bytes) -> bytes:
    written = orjson.dumps(orjson.loads(raw), option=orjson.OPT_INDENT_2)
    return b"\n    " + written.replace(b"\n", b"\n    ")


def _yaml_head(head: Object, member: str) -> bytes:
    return _yaml(head) + b"%s:\n" % member.encode()


def _yaml_item(raw: bytes) -> bytes:
    return _yaml([orjson.loads(raw)])


def _yaml(value: Any) -> bytes:
    import yaml

    # libyaml's writer where it is there: a page of pods would take seconds without it.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(value, Dumper=dumper, sort_keys=False).encode()
