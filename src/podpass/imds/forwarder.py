"""Forward requests for other paths to the metadata service of the machine, as azure-workload-identity does.

An instance on a laptop turns this off: its machine may be an Azure virtual machine.
"""

import asyncio
from urllib.parse import urlsplit

from podpass.http.client import HttpServer, RequestFailed, send_request
from podpass.http.reply import Reply
from podpass.http.request_validation import Headers
from podpass.imds.responses import text_error

ADDRESS = "http://169.254.169.254:80"
MAX_BODY_BYTES = 1024 * 1024
_SECONDS = 10.0
_CONCURRENT = 16
# Headers of one connection, and those that depend on the connection of the other side.
_HOP_HEADERS = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer"),
        *(b"transfer-encoding", b"upgrade", b"host", b"content-length"),
    )
)


class Forwarder:
    """Sends requests to the metadata service directly, without a proxy of the environment.

    The address is link-local: a proxy would reach the metadata service of another machine.
    """

    def __init__(self, address: str = ADDRESS, *, is_enabled: bool = True) -> None:
        self._is_enabled = is_enabled
        parts = urlsplit(address)
        self._server = HttpServer(host=parts.hostname or "", port=parts.port or 80)
        self._slots = asyncio.Semaphore(_CONCURRENT)

    async def forward(self, method: str, target: str, headers: Headers, body: bytes) -> Reply:
        """Forward one request; a failure becomes an error response."""
        if not self._is_enabled:
            return text_error(404, "this sidecar answers token requests only")
        if not target.startswith("/"):
            return text_error(400, "the target of the request is not a path")
        sent = [pair for pair in headers if pair[0].lower() not in _HOP_HEADERS]
        try:
            async with self._slots, asyncio.timeout(_SECONDS):
                response = await send_request(
                    self._server, method, target, sent, body, max_bytes=MAX_BODY_BYTES
                )
        except TimeoutError:
            return text_error(
                500, f"the metadata service did not answer within {_SECONDS:.0f} seconds"
            )
        except RequestFailed as exc:
            return text_error(500, f"the metadata service sent no response: {exc.message}")
        except OSError as exc:
            return text_error(500, f"the metadata service cannot be reached: {type(exc).__name__}")
        # A response to HEAD has the length of the body that GET would return.
        dropped = _HOP_HEADERS - {b"content-length"} if method == "HEAD" else _HOP_HEADERS
        kept = [
            (name.lower(), value) for name, value in response.headers if name.lower() not in dropped
        ]
        return Reply(response.status, tuple(kept), response.body)
