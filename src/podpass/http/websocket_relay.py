"""Copy the frames of a WebSocket from its server to its client, each with a write of its own.

Over TLS, a write becomes a record. Older Python clients wait for the socket before they read the next frame:
a second frame in the same record has already left the socket, so they would wait without end.
"""

import asyncio

_CHUNK = 64 * 1024
_LENGTH = 0x7F
_EXTENDED = {126: 2, 127: 8}


async def relay_frames(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy unmasked frames until the server closes the connection.

    Errors:  OSError.
    """
    while True:
        try:
            head = await reader.readexactly(2)
            length = head[1] & _LENGTH
            if size := _EXTENDED.get(length):
                extended = await reader.readexactly(size)
                head, length = head + extended, int.from_bytes(extended, "big")
            while length > _CHUNK:
                part = await reader.readexactly(_CHUNK)
                writer.write(head + part)
                await writer.drain()
                head, length = b"", length - _CHUNK
            writer.write(head + await reader.readexactly(length))
            await writer.drain()
        except asyncio.IncompleteReadError:
            return
