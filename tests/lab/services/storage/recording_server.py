"""A server in Azurite's place that records requests, for what only the other side of a proxy can show."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from podpass.http.server import Receive, Scope, Send, read_body


@dataclass
class RecordingServer:
    """A server in Azurite's place: it records requests and returns a prepared response."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=lambda: [b"stored"])
    aborts: bool = False
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.started.set()
        body = await read_body(receive, 64 * 1024 * 1024)
        self.requests.append(
            {
                "method": scope["method"],
                "target": f"{scope['raw_path'].decode()}?{scope['query_string'].decode()}",
                "headers": [
                    (name.decode(), value.decode("latin-1")) for name, value in scope["headers"]
                ],
                "body": body,
            }
        )
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        for chunk in self.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if not self.aborts:
            await send({"type": "http.response.body", "body": b""})

    @property
    def last(self) -> dict[str, Any]:
        return self.requests[-1]

    def header(self, name: str) -> list[str]:
        """Return all values of a header of the last request."""
        return [value for key, value in self.last["headers"] if key == name]
