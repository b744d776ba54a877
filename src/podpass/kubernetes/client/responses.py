"""Responses of an API server: bodies of bounded size, lines of a watch, objects, and errors."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson

from podpass.kubernetes.client.errors import KubeError

Object = dict[str, Any]

# A page of 250 objects has a few megabytes; a server must not fill the memory of its client.
MAX_RESPONSE_BYTES = 64 * 1024 * 1024
_MAX_LINE_BYTES = 16 * 1024 * 1024
_MAX_MESSAGE = 1024


def parse_object(content: bytes) -> Object:
    """Parse a response body as a JSON object. Raises KubeError."""
    try:
        value = orjson.loads(content)
    except ValueError as exc:
        raise KubeError(502, "BadAnswer", "the response of the API server is not JSON") from exc
    if not isinstance(value, dict):
        raise KubeError(502, "BadAnswer", "the response of the API server is not an object")
    return value


def error_of(status: int, content: bytes) -> KubeError:
    """Return the error of the Status in the body; a body of another kind is ignored."""
    try:
        body = orjson.loads(content)
    except ValueError:
        body = None
    return status_error(status, body)


def status_error(status: int, body: Any) -> KubeError:
    """Return the error of a Status."""
    if not isinstance(body, dict) or body.get("kind") != "Status":
        return KubeError(status, "Unknown", f"the API server returned status {status}")
    message = str(body.get("message") or f"the API server returned status {status}")[:_MAX_MESSAGE]
    return KubeError(status, str(body.get("reason") or "Unknown"), message)


async def read_body(answer: aiohttp.ClientResponse) -> bytes:
    """Return the body of a response. Raises KubeError for one that is too large."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES:
            limit = f"{MAX_RESPONSE_BYTES // 1024 // 1024} MiB"
            raise KubeError(
                502,
                "BadAnswer",
                f"the response of the API server to {answer.method} {answer.url.path} is larger than {limit}",
            )
    return bytes(body)


async def read_lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield the lines of a watch. Raises ValueError for a line that is too long."""
    # StreamReader.readline stops at 64 KiB; a ConfigMap alone may have a megabyte.
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line
        if len(rest) > _MAX_LINE_BYTES:
            raise ValueError("a watch event is too long")
