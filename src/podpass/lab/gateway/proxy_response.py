"""The responses of the gateway, as a proxy, to requests that get no tunnel."""

import asyncio
import contextlib

from podpass.lab.gateway.proxy_request import RequestHead

_SEND_SECONDS = 1.0


async def respond_without_tunnel(writer: asyncio.StreamWriter, head: RequestHead) -> None:
    if head.target == "/healthz" and head.method in ("GET", "HEAD"):
        await respond(writer, 200, "ok" if head.method == "GET" else "")
    elif head.target.lower().startswith("http://"):
        await respond(
            writer,
            501,
            "the podpass gateway supports only HTTPS (CONNECT); unset HTTP_PROXY for plain HTTP",
        )
    else:
        await respond(writer, 405, "this is the podpass gateway, a proxy: set it as HTTPS_PROXY")


_PHRASES = {
    200: "OK",
    400: "Bad Request",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
}


async def respond(
    writer: asyncio.StreamWriter, status: int, text: str, *, phrase: str | None = None
) -> None:
    body = (text + "\n").encode() if text else b""
    allow = "Allow: CONNECT\r\n" if status == 405 else ""
    head = (
        f"HTTP/1.1 {status} {phrase or _PHRASES[status]}\r\n{allow}"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SEND_SECONDS):
            await writer.drain()
