"""A sidecar that forwards nothing."""

import asyncio

from podpass.imds.forwarder import Forwarder


async def test_sidecar_of_a_local_instance_sends_nothing_to_the_metadata_service() -> None:
    connections = 0

    async def count(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    async with await asyncio.start_server(count, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        forwarder = Forwarder(address, is_enabled=False)
        reply = await forwarder.forward("GET", "/metadata/instance", [], b"")
    assert (reply.status, connections) == (404, 0)
    assert reply.body == b"this sidecar answers token requests only\n"
