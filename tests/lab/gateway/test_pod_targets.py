"""The addresses that a pod with its own network reaches through the gateway."""

import asyncio
import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from podpass.http.server import bind
from podpass.lab.gateway import gateway, pod_targets
from podpass.lab.gateway.pod_targets import Address, may_reach

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_SET_FLAGS, _SET_ADDRESS, _UP_AND_RUNNING = 0x8914, 0x8916, 0x41


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        # Public and private addresses that no test machine has; the check sends no packet.
        ("203.0.114.9", True),
        ("10.250.251.252", True),
        ("2620:fe::1234", True),
        ("127.0.0.1", False),
        ("127.99.0.1", False),
        ("0.0.0.0", False),
        ("169.254.169.254", False),
        ("168.63.129.16", False),
        ("::1", False),
        ("::", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.250.251.252", False),
        ("64:ff9b::7f00:1", False),
        ("fe80::1", False),
        ("fe80::1%lo", False),
        ("fd00:ec2::254", False),
        ("224.0.0.1", False),
    ],
)
def test_pod_reaches_addresses_of_other_hosts_only(address: str, allowed: bool) -> None:
    assert may_reach(address) is allowed


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a network an address")
async def test_other_address_of_this_machine_is_refused() -> None:
    """Programs that listen on all addresses are reached there, too."""

    def check() -> tuple[bool, bool]:
        """Run in a network namespace of this thread, whose loopback interface has an address."""
        assert ctypes.CDLL(None).unshare(_NEW_NETWORK) == 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            up = struct.pack("16sH22x", b"lo", _UP_AND_RUNNING)
            fcntl.ioctl(control, _SET_FLAGS, up)
            address = socket.inet_aton("10.250.251.252")
            named = struct.pack("16sH2x4s16x", b"lo:0", socket.AF_INET, address)
            fcntl.ioctl(control, _SET_ADDRESS, named)
        return may_reach("10.250.251.252"), may_reach("10.250.251.253")

    with ThreadPoolExecutor(1) as pool:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(pool, check) == (False, True)


async def _greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"reached")
    writer.close()


@contextlib.asynccontextmanager
async def _run() -> AsyncIterator[tuple[Address, Address, int]]:
    """Run a gateway and a server; yield the addresses of the gateway, and the port of the server."""
    pods, usual = bind("127.0.0.1", 0), bind("127.0.0.1", 0)
    async with await asyncio.start_server(_greet, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()[:2]
        async with gateway.run_gateway(usual, {"vault.azure.net": address}, pods=pods):
            yield pods.getsockname(), usual.getsockname(), address[1]


async def _connect(proxy: Address, target: str) -> tuple[int, str]:
    """Ask for a tunnel; return the status, and what is read after it."""
    reader, writer = await asyncio.open_connection(*proxy)
    try:
        writer.write(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        return int(head.split()[1]), (await reader.read()).decode()
    finally:
        writer.close()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0.0.0.0", "[::ffff:127.0.0.1]"]
)
async def test_pod_does_not_reach_a_loopback_service_that_other_programs_reach(host: str) -> None:
    async with _run() as (pods, usual, port):
        assert await _connect(usual, f"{host}:{port}") == (200, "reached")
        status, text = await _connect(pods, f"{host}:{port}")
    assert status == 502
    assert (
        f"{host.strip('[]')}:{port}: pods and containers with their own network reach neither"
        in text
    )


async def test_host_with_one_refused_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(_host: str, _port: object, **_options: object) -> list[object]:
        return [(2, 1, 6, "", ("203.0.114.9", 0)), (2, 1, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(pod_targets.TargetRefused):
        await pod_targets.PodTargets().find("mixed.example", 443)


async def test_pod_reaches_the_names_of_azure() -> None:
    async with _run() as (pods, _, _):
        assert await _connect(pods, "vault.azure.net:443") == (200, "reached")


async def test_pod_is_connected_to_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second lookup of the name could return a loopback address."""
    async with _run() as (pods, _, port):
        silent = bind("127.0.0.1", 0)
        closed = silent.getsockname()[1]
        silent.close()

        async def find(_self: object, _host: str, _port: int) -> list[Address]:
            return [("127.0.0.1", closed), ("127.0.0.1", port)]

        monkeypatch.setattr(pod_targets.PodTargets, "find", find)
        assert await _connect(pods, "other.invalid:443") == (200, "reached")


async def test_unknown_host_is_reported_to_the_pod() -> None:
    async with _run() as (pods, _, _):
        status, text = await _connect(pods, "a..b:443")
    assert status == 502
    assert "the host name does not resolve" in text


class _FromOutside:
    """A connection that another machine or container has opened, to an address outside loopback."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def get_extra_info(self, name: str, default: object = None) -> object:
        own = ("192.0.2.1", 18440)
        return own if name == "sockname" else self._writer.get_extra_info(name, default)


@contextlib.asynccontextmanager
async def _run_outside() -> AsyncIterator[tuple[Address, Address]]:
    """Run a gateway for clients outside; yield its address, and that of a server on loopback."""
    async with await asyncio.start_server(_greet, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()[:2]
        served = gateway.Gateway({"vault.azure.net": address}, ("0.0.0.0", 18440), host_exists=None)

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            outside: Any = _FromOutside(writer)
            await served.handle(reader, outside)

        async with await asyncio.start_server(handle, "127.0.0.1", 0) as proxy:
            yield proxy.sockets[0].getsockname()[:2], address
            await served.stop()


async def test_client_of_another_host_reaches_azure_and_no_loopback_service() -> None:
    async with _run_outside() as (proxy, (_, port)):
        assert await _connect(proxy, "vault.azure.net:443") == (200, "reached")
        status, text = await _connect(proxy, f"localhost:{port}")
    assert (status, "pods and containers" in text) == (502, True)


async def test_gateway_on_all_addresses_does_not_connect_to_itself() -> None:
    """Programs of the same container reach loopback services, but not the gateway again."""
    sock = bind("0.0.0.0", 0)
    async with gateway.run_gateway(sock, {}):
        port = sock.getsockname()[1]
        for host in ("127.0.0.1", "127.0.0.2"):
            status, text = await _connect(("127.0.0.1", port), f"{host}:{port}")
            assert (status, text) == (502, "the gateway does not connect to itself\n")
