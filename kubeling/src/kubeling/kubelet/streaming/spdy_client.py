"""Commands by SPDY: one stream for each of input, output, terminal size and result.

The real API server speaks this to the kubelet, and kubectl before 1.31 to the API server.
"""

import asyncio
from collections.abc import Mapping

import orjson

from kubeling.kubelet.errors import KubeletError
from kubeling.kubelet.streaming.command_client import (
    STDERR,
    STDOUT,
    Status,
    StreamOptions,
    WindowSize,
)
from kubeling.kubelet.streaming.inbox import Inbox
from kubeling.kubelet.streaming.spdy import SpdyConnection, SpdyStream
from kubeling.tasks import cancel_all

# The last one is that of a client that names none.
PROTOCOLS = (
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
    "",
)
CREATION_SECONDS = 30.0
_MAX_SIZE_MESSAGE = 1024


class SpdyClient:
    """A command's client by SPDY; create it with `open`."""

    def __init__(
        self, connection: SpdyConnection, protocol: str, streams: Mapping[str, SpdyStream]
    ) -> None:
        self._connection, self._protocol, self._streams = connection, protocol, streams
        self.stdin = streams["stdin"].inbox if "stdin" in streams else Inbox()
        self.size = WindowSize()

    @classmethod
    async def open(
        cls, connection: SpdyConnection, protocol: str, options: StreamOptions
    ) -> "SpdyClient":
        """Wait until the client has opened all its streams. Raises KubeletError, TimeoutError."""
        expected = {"error"}
        expected |= {name for name in ("stdin", STDOUT, STDERR) if getattr(options, name)}
        if options.tty and protocol.startswith(("v3.", "v4.")):
            expected.add("resize")
        streams: dict[str, SpdyStream] = {}
        async with asyncio.timeout(CREATION_SECONDS):
            while expected - streams.keys():
                stream = await connection.incoming.get()
                if stream is None:
                    raise KubeletError(400, "the client has closed the connection")
                kind = stream.headers.get("streamtype", "")
                if kind not in expected or kind in streams:
                    await stream.reset()
                else:
                    streams[kind] = stream
        return cls(connection, protocol, streams)

    async def run(self) -> None:
        """Receive terminal sizes until the client disconnects; `stdin` receives the input."""
        resizing = asyncio.create_task(self._receive_sizes())
        try:
            while (stream := await self._connection.incoming.get()) is not None:
                await stream.reset()
        finally:
            await cancel_all([resizing])

    async def _receive_sizes(self) -> None:
        if (stream := self._streams.get("resize")) is None:
            return
        text = b""
        while data := await stream.inbox.read():
            *messages, text = (text + data).split(b"\n")
            for message in messages:
                self.size.update(message)
            text = text[-_MAX_SIZE_MESSAGE:]

    async def write(self, stream: str, data: bytes) -> None:
        """Send output, or its end."""
        if stream not in self._streams:
            return
        if data:
            await self._streams[stream].write(data)
        else:
            await self._streams[stream].end()

    async def ping(self) -> None:
        """Send a ping."""
        await self._connection.ping()

    async def finish(self, status: Status) -> None:
        """Send the result on the error stream, and end all streams."""
        error = self._streams["error"]
        if self._protocol.startswith("v4."):
            await error.write(orjson.dumps(status))
        elif status["status"] != "Success":
            await error.write(status["message"].encode())
        for name in ("stdin", STDOUT, STDERR, "error", "resize"):
            if name in self._streams:
                await self._streams[name].end()
        await self._connection.close()
