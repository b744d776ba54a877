"""What goes back: a whole answer or a stream, and the form a client accepts it in."""

import dataclasses
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.status import StatusError, not_acceptable

JSON = "application/json"
YAML = "application/yaml"
TEXT = "text/plain; charset=utf-8"
OBJECT, TABLE, METADATA = "object", "Table", "PartialObjectMetadata"
_FORMS = {"Table": TABLE, "PartialObjectMetadata": METADATA, "PartialObjectMetadataList": METADATA}
_META_VERSIONS = ("v1", "v1beta1")
# Who gets indented JSON without asking: tools that people read by eye.
_READERS = ("curl", "wget", "mozilla/")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer; an empty `content_type` sends none.

    Units:   `retry_after` in seconds; None sends none.
    """

    status: int
    body: bytes
    content_type: str = JSON
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """An HTTP answer that comes in pieces, until the iterator ends or the client leaves.

    Units:   `patience` in seconds for a client that takes nothing; None waits for ever.
    """

    status: int
    chunks: AsyncIterator[bytes]
    content_type: str = JSON
    patience: float | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The form an object is answered in."""

    form: str = OBJECT
    media_type: str = JSON
    version: str = "v1"


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One entry of an Accept header."""

    type: str
    params: dict[str, str]

    @property
    def quality(self) -> float:
        try:
            return float(self.params.get("q", "1"))
        except ValueError:
            return 0.0


def media_ranges(accept: str) -> list[MediaRange]:
    """Read an Accept header, the wanted first; none or an empty one takes everything."""
    ranges = []
    for entry in (accept or "*/*").split(","):
        kind, *params = (part.strip() for part in entry.split(";"))
        if kind:
            pairs = (param.partition("=") for param in params)
            ranges.append(MediaRange(kind.lower(), {key.strip(): value for key, _, value in pairs}))
    return sorted(ranges, key=lambda each: -each.quality)


def accepted(request: Request) -> Accepted:
    """Choose the form of an object: itself, a table, or its metadata; JSON or YAML.

    Errors:  StatusError 406; forms that are not made here (protobuf, CBOR) are passed over.
    """
    for each in media_ranges(request.headers.get("accept", "")):
        media_type = each.type if each.type == YAML else JSON
        if each.type not in (JSON, YAML, "*/*", "application/*"):
            continue
        if "as" not in each.params:
            return Accepted(media_type=media_type)
        version = each.params.get("v", "v1")
        form = _FORMS.get(each.params["as"])
        if form and each.params.get("g") == "meta.k8s.io" and version in _META_VERSIONS:
            return Accepted(form, media_type, version)
    raise not_acceptable([JSON, YAML])


def accepts(request: Request, media_type: str) -> bool:
    """Tell whether a client takes a media type."""
    wanted = (media_type, "*/*", media_type.partition("/")[0] + "/*")
    return any(each.type in wanted for each in media_ranges(request.headers.get("accept", "")))


def whole(request: Request, body: Any, status: int = 200, media_type: str = JSON) -> Answer:
    """Write a body as JSON or YAML; bytes are JSON already."""
    if media_type == YAML:
        import yaml

        value = orjson.loads(body) if isinstance(body, bytes) else body
        return Answer(status, yaml.safe_dump(value, sort_keys=False).encode(), YAML)
    if is_pretty(request):
        value = orjson.loads(body) if isinstance(body, bytes) else body
        return Answer(status, orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
    text = body if isinstance(body, bytes) else orjson.dumps(body)
    return Answer(status, text + b"\n")


def is_pretty(request: Request) -> bool:
    """Tell whether a client wants JSON that people can read."""
    if "pretty" in request.query:
        return request.option("pretty").lower() not in ("", "false", "0")
    return request.headers.get("user-agent", "").lower().startswith(_READERS)


def failure(error: StatusError, request: Request | None = None) -> Answer:
    """Write an error as its Status."""
    if request is None:
        return Answer(error.status, orjson.dumps(error.body()) + b"\n")
    told = whole(request, error.body(), error.status)
    return dataclasses.replace(told, retry_after=error.retry_after)


def text(status: int, body: str) -> Answer:
    return Answer(status, body.encode(), TEXT)


def only(request: Request, media_types: Sequence[str]) -> None:
    """Refuse a client that takes none of what an endpoint makes.

    Errors:  StatusError 406.
    """
    if not any(accepts(request, each) for each in media_types):
        raise not_acceptable(media_types)
