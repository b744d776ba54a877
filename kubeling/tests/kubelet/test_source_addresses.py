"""The node accepts from the interface of a pod only packets with the address of this pod."""

import asyncio
import os
import sys

import pytest

from kubeling.kubelet.node_network import SHARED_ADDRESS, NetworkUnavailable, NodeNetwork

pytestmark = pytest.mark.processes

OWN, OTHER = "127.64.1.1", "127.64.1.2"
# A container with NET_ADMIN may use an address that is not its own.
SEND = """
import socket, sys
address, port, *sources = sys.argv[1:]
for source in sources:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, 19, 1)  # IP_TRANSPARENT
        sock.bind((source, 0))
        sock.sendto(source.encode(), (address, int(port)))
"""


async def test_datagram_with_the_address_of_another_pod_is_dropped() -> None:
    """The attack: requests to the cluster's DNS that use up the share of another pod."""
    try:
        network = await NodeNetwork.open(os.environ["PATH"])
    except NetworkUnavailable as exc:
        pytest.skip(f"{exc.message}: {exc.hint}")
    try:
        if not network.is_privileged:
            pytest.skip("a container with NET_ADMIN cannot change this network")
        pods = [await network.create_pod(address) for address in (OWN, OTHER)]
        receiver = network.open_socket(bind=(SHARED_ADDRESS, 0), kind="udp")

        async def send(*sources: str) -> None:
            command = [*network.enter(pods[0]), sys.executable, "-c", SEND]
            port = str(receiver.getsockname()[1])
            process = await asyncio.create_subprocess_exec(*command, SHARED_ADDRESS, port, *sources)
            assert await process.wait() == 0

        async def receive() -> tuple[str, str]:
            async with asyncio.timeout(30):
                data, peer = await asyncio.get_running_loop().sock_recvfrom(receiver, 100)
            return data.decode(), peer[0]

        with receiver:
            # The first one also resolves the address of the node, so the order of the others is kept.
            await send(OWN)
            assert await receive() == (OWN, OWN)
            await send(OTHER, OWN)
            assert await receive() == (OWN, OWN)
        for each in pods:
            os.close(each)
    finally:
        await network.close()
