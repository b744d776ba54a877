"""HTTP responses, whole or streamed, and content negotiation."""

import dataclasses
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from kubeling.apiserver.request import Request
from kubeling.apiserver.status import StatusError, not_acceptable
from kubeling.asgi import Headers, Receive, Send

_MAX_TOTAL_CHARS = 4096
_MAX_TRUNCATED_CHARS = 256
# A line break would end the header and start another header with content from the warning.
_FORBIDDEN_CATEGORIES = ("Cc", "Cs")


def format_warnings(warnings: Iterable[str]) -> list[bytes]:
    """Format warnings as header values, each once; truncate each and omit the last if they are too long.

    Units: characters; at most 4096 in total, and 256 per warning if they are truncated.
    Source:  the warning recorder of kube-apiserver.
    """
    unique = list(dict.fromkeys(warnings))
    if sum(map(len, unique)) > _MAX_TOTAL_CHARS:
        unique = list(_truncate(unique))
    # The characters are checked last: a request can cause a warning for each of 100,000 fields.
    return [b'299 - "%s"' % _quote(each) for each in unique if _is_sendable(each)]


def _truncate(warnings: Iterable[str]) -> Iterator[str]:
    remaining = _MAX_TOTAL_CHARS
    for each in warnings:
        if remaining <= 0:
            return
        yield each[:_MAX_TRUNCATED_CHARS]
        remaining -= len(each[:_MAX_TRUNCATED_CHARS])


def _is_sendable(text: str) -> bool:
    return bool(text) and not any(
        unicodedata.category(char) in _FORBIDDEN_CATEGORIES for char in text
    )


def _quote(text: str) -> bytes:
    return text.replace("\\", "\\\\").replace('"', '\\"').encode()


JSON = "application/json"
YAML = "application/yaml"
_MAX_BLOCK_YAML_BYTES = 64 * 1024
TEXT = "text/plain; charset=utf-8"
OBJECT, TABLE, METADATA = "object", "Table", "PartialObjectMetadata"
_FORM_BY_NAME = {
    "Table": TABLE,
    "PartialObjectMetadata": METADATA,
    "PartialObjectMetadataList": METADATA,
}
_META_VERSIONS = ("v1", "v1beta1")
# User agents that get indented JSON by default, because users read the output of these tools.
_PRETTY_AGENTS = ("curl", "wget", "mozilla/")


@dataclass(frozen=True, slots=True)
class Response:
    """A whole HTTP response; an empty `content_type` sends no header.

    `retry_after` is in seconds; None sends no header. `headers` are more headers.
    """

    status: int
    body: bytes
    content_type: str = JSON
    retry_after: int | None = None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class StreamResponse:
    """An HTTP response that is sent in chunks, until the iterator ends or the client disconnects.

    `write_timeout` is in seconds, for a client that does not read; None has no timeout.
    """

    status: int
    chunks: AsyncIterator[bytes]
    content_type: str = JSON
    write_timeout: float | None = None


@dataclass(frozen=True, slots=True)
class PassedOnResponse:
    """A response that another application sends on the connection; `pass_on` gets the headers to add."""

    pass_on: Callable[[Receive, Send, Headers], Awaitable[None]]
    status: int = 101


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """The representation of an object in a response: the object, a table or its metadata; JSON or YAML."""

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
        """Return the weight of the entry; 0 if it is malformed."""
        try:
            return float(self.params.get("q", "1"))
        except ValueError:
            return 0.0


def media_ranges(accept: str) -> list[MediaRange]:
    """Parse an Accept header, the highest weight first; an empty or missing header accepts everything."""
    ranges = []
    for entry in (accept or "*/*").split(","):
        kind, *params = (part.strip() for part in entry.split(";"))
        if kind:
            pairs = (param.partition("=") for param in params)
            ranges.append(MediaRange(kind.lower(), {key.strip(): value for key, _, value in pairs}))
    return sorted(ranges, key=lambda each: -each.quality)


def negotiate(request: Request, *, has_table: bool = True) -> OutputFormat:
    """Choose the representation of an object by the Accept header.

    `has_table` is false for bodies without columns: reviews, bindings, evictions, tokens. Raises StatusError
    406; media types that are not supported (protobuf, CBOR) are skipped.
    """
    for each in media_ranges(request.headers.get("accept", "")):
        media_type = each.type if each.type == YAML else JSON
        if each.type not in (JSON, YAML, "*/*", "application/*"):
            continue
        if "as" not in each.params:
            return OutputFormat(media_type=media_type)
        version = each.params.get("v", "v1")
        form = _FORM_BY_NAME.get(each.params["as"])
        if form == TABLE and not has_table:
            continue
        if form and each.params.get("g") == "meta.k8s.io" and version in _META_VERSIONS:
            return OutputFormat(form, media_type, version)
    raise not_acceptable([JSON, YAML])


def encode(request: Request, body: Any, status: int = 200, media_type: str = JSON) -> Response:
    """Encode a body as JSON or YAML; bytes are JSON already."""
    if media_type == YAML:
        return Response(status, encode_yaml(body), YAML)
    if is_pretty(request):
        value = orjson.loads(body) if isinstance(body, bytes) else body
        return Response(status, orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
    plain_text = body if isinstance(body, bytes) else orjson.dumps(body)
    return Response(status, plain_text + b"\n")


def encode_yaml(body: Any) -> bytes:
    """Encode a body as YAML; bytes are JSON already.

    A large body is indented JSON, which is YAML too: libyaml would block the event loop for seconds.
    """
    import yaml

    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    value = orjson.loads(raw)
    if len(raw) > _MAX_BLOCK_YAML_BYTES:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n"
    # Use libyaml if it is installed: a page of pods would take seconds without it.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(value, Dumper=dumper, sort_keys=False).encode()


def is_pretty(request: Request) -> bool:
    """Return whether a client wants indented JSON."""
    if "pretty" in request.query:
        return request.option("pretty").lower() not in ("", "false", "0")
    return request.headers.get("user-agent", "").lower().startswith(_PRETTY_AGENTS)


def encode_status(error: StatusError, request: Request | None = None) -> Response:
    """Encode an error as a Status."""
    if request is None:
        return Response(error.status, orjson.dumps(error.body()) + b"\n")
    response = encode(request, error.body(), error.status)
    return dataclasses.replace(response, retry_after=error.retry_after)


def plain_text(status: int, body: str) -> Response:
    """Build a plain text response."""
    return Response(status, body.encode(), TEXT)
