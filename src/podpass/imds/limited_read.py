"""Read a response body of limited size."""

from aiohttp import StreamReader


async def read_limited(content: StreamReader, limit: int) -> bytes:
    """Read a body to its end, or its first `limit` bytes."""
    parts, size = [], 0
    while size < limit and (part := await content.read(limit - size)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)
