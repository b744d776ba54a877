"""Commands by WebSocket: each message begins with the number of its channel.

channel.k8s.io                  the oldest protocol: the error channel contains text
v4.channel.k8s.io               the error channel contains a Status with the exit code
v5.channel.k8s.io               the client can end its input: a message with 255 and the channel
base64.channel.k8s.io, v4....   for browsers: text, with the number of the channel as a digit
"""

import base64
import binascii

import orjson

from kubeling.asgi import WebSocket
from kubeling.kubelet.streaming.command_client import (
    STDERR,
    STDOUT,
    Status,
    StreamOptions,
    WindowSize,
)
from kubeling.kubelet.streaming.inbox import Inbox

PROTOCOLS = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
)
_STDIN, _ERROR, _RESIZE, _CLOSE = 0, 3, 4, 255
_OUTPUTS = {STDOUT: 1, STDERR: 2}
_HAS_STATUS, _HAS_CLOSE = ("v4.", "v5."), "v5."


class ChannelCodec:
    """Encodes and decodes the messages of a subprotocol."""

    def __init__(self, protocol: str) -> None:
        self.is_text = "base64" in protocol

    def encode(self, channel: int, data: bytes) -> bytes:
        """Build the message of a channel."""
        if self.is_text:
            return b"%d" % channel + base64.b64encode(data)
        return bytes([channel]) + data

    def decode(self, message: bytes) -> tuple[int, bytes] | None:
        """Return the channel and the data of a message; None if it is malformed or empty."""
        if not message:
            return None
        if not self.is_text:
            return message[0], message[1:]
        try:
            return message[0] - ord("0"), base64.b64decode(message[1:], validate=True)
        except binascii.Error:
            return None


class WebSocketClient:
    """A command's client by WebSocket."""

    def __init__(self, socket: WebSocket, options: StreamOptions) -> None:
        self._socket, self._options = socket, options
        self._codec = ChannelCodec(socket.protocol)
        self.stdin, self.size = Inbox(), WindowSize()

    async def open(self) -> None:
        """Send an empty message: clients wait for one before they send input."""
        for stream, wanted in ((STDOUT, self._options.stdout), (STDERR, self._options.stderr)):
            if wanted:
                await self._send(_OUTPUTS[stream], b"")
                return
        await self._send(_ERROR, b"")

    async def run(self) -> None:
        """Receive input and terminal sizes until the client disconnects."""
        while (message := await self._socket.receive()) is not None:
            if (parts := self._codec.decode(message)) is None:
                continue
            channel, data = parts
            if channel == _CLOSE and self._socket.protocol.startswith(_HAS_CLOSE):
                if data == bytes([_STDIN]):
                    await self.stdin.end()
            elif channel == _STDIN and self._options.stdin:
                await self.stdin.feed(data)
            elif channel == _RESIZE:
                self.size.update(data)

    async def write(self, stream: str, data: bytes) -> None:
        """Send output; the protocol has no message for the end of the output."""
        if data:
            await self._send(_OUTPUTS[stream], data)

    async def ping(self) -> None:
        """Do nothing: the server of the WebSocket pings the client."""

    async def finish(self, status: Status) -> None:
        """Send the result on the error channel."""
        if self._socket.protocol.startswith(_HAS_STATUS):
            await self._send(_ERROR, orjson.dumps(status))
        elif status["status"] != "Success":
            await self._send(_ERROR, status["message"].encode())

    async def _send(self, channel: int, data: bytes) -> None:
        await self._socket.send(self._codec.encode(channel, data), text=self._codec.is_text)
