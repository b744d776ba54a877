"""Responses of the console as values: status, body, headers; and the files that pages load."""

from functools import cache
from importlib import resources

from podpass.http.server import Headers

Response = tuple[int, bytes, Headers]

HTML = (b"content-type", b"text/html; charset=utf-8")
TEXT = (b"content-type", b"text/plain; charset=utf-8")
_STATIC = {
    "htmx.min.js": b"text/javascript; charset=utf-8",
    "hx-sse.min.js": b"text/javascript; charset=utf-8",
    "console.js": b"text/javascript; charset=utf-8",
    "console.css": b"text/css; charset=utf-8",
    "icon.svg": b"image/svg+xml",
}


def text_response(status: int, text: str) -> Response:
    """Return a response with a text."""
    return status, text.encode(), (TEXT,)


def static_response(name: str) -> Response:
    """Return the response with a file that pages load."""
    if name not in _STATIC:
        return text_response(404, "The console has no such file.\n")
    return 200, _read_static(name), ((b"content-type", _STATIC[name]),)


@cache
def _read_static(name: str) -> bytes:
    return resources.files("podpass.console").joinpath("static", name).read_bytes()
