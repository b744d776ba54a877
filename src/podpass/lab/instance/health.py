"""The probes of the cloud half: the process is alive, and all its parts serve."""

from collections.abc import Callable

from podpass.http.server import App, Receive, Scope, Send, respond

_TEXT = ((b"content-type", b"text/plain; charset=utf-8"),)


def create_app(is_ready: Callable[[], bool]) -> App:
    """Create the application of the probes."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path not in ("/healthz", "/readyz"):
            await respond(send, 404, b"", _TEXT)
        elif scope["method"] not in ("GET", "HEAD"):
            await respond(send, 405, b"", (*_TEXT, (b"allow", b"GET, HEAD")))
        elif path == "/readyz" and not is_ready():
            await respond(send, 503, b"starting\n", _TEXT)
        else:
            await respond(send, 200, b"ok\n", _TEXT)

    return app
