"""The gateway with real TLS: hosts that it serves, tunnels and refuses."""

import asyncio
import contextlib
import errno
import itertools
import socket
import ssl
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any

import aiohttp
import pytest
import trustme

from podpass.http.server import Limits, Receive, Reply, Scope, Send, bind, respond, serving
from podpass.lab.data import ports
from podpass.lab.gateway import gateway, sni, tunnel
from podpass.lab.gateway.pod_targets import Address, PodTargets, TargetRefused
from podpass.lab.gateway.refused_hosts import RefusedHosts
from podpass.lab.gateway.tunnel_sources import TunnelSources
from podpass.log import AUTHORITY_NOT_SERVED
from tests.http.unread import closing_error, connected, wait_until_forgotten
from tests.ports import free_port

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PORTS = {name: 1000 + n for n, name in enumerate(ports.SERVICES)}
TABLE = gateway.routes(PORTS)


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("login.microsoftonline.com", "authority"),
        ("LOGIN.MicrosoftOnline.com", "authority"),
        ("login.microsoftonline.com.", "authority"),
        ("sts.windows.net", "authority"),
        ("management.azure.com", "azure"),
        ("graph.microsoft.com", "azure"),
        ("vault.azure.net", "vault"),
        ("demo-vault.vault.azure.net", "vault"),
        ("eastus.oic.prod-aks.azure.com", "issuer"),
        ("a.b.vault.azure.net", None),
        ("vault.azure.net.evil.example", None),
        ("evilvault.azure.net", None),
        ("login.microsoftonline.com.evil.example", None),
        ("example.com", None),
        ("localhost", None),
        ("", None),
    ],
)
def test_azure_host_is_routed_to_its_service_and_others_are_not(
    host: str, service: str | None
) -> None:
    found = gateway.route(TABLE, host)
    assert found == (("127.0.0.1", PORTS[service]) if service else None)


def test_storage_hosts_are_routed_only_if_their_service_is_served() -> None:
    host = "orders.blob.core.windows.net"
    assert gateway.route(TABLE, host) is None
    served = gateway.routes({**PORTS, "storage": 999}, storage=("blob",))
    assert gateway.route(served, host) == ("127.0.0.1", 999)
    assert gateway.route(served, "orders.queue.core.windows.net") is None
    assert gateway.route(served, "blob.core.windows.net") is None


@asynccontextmanager
async def _listening(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[Address]:
    serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving[task] = writer
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await serve(reader, writer)

    server = await asyncio.start_server(tracked, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        for task, writer in serving.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*serving, return_exceptions=True)


@asynccontextmanager
async def _gateway(table: Mapping[str, Address], **chosen: Any) -> AsyncIterator[Address]:
    """Run a gateway; `chosen` are limits, and arguments of `run_gateway`."""
    sock, names = bind("127.0.0.1", 0), {each.name for each in fields(gateway.GatewayLimits)}
    limits = gateway.GatewayLimits(**{name: chosen.pop(name) for name in names & chosen.keys()})
    async with gateway.run_gateway(sock, table, limits=limits, **chosen):
        yield sock.getsockname()[:2]


async def _connect(proxy: Address, target: str) -> tuple[bytes, Stream]:
    reader, writer = await asyncio.open_connection(*proxy)
    writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    return (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0], (reader, writer)


async def _send_request(proxy: Address, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*proxy)
    writer.write(request)
    try:
        return await reader.read()
    finally:
        writer.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def _authority(*names: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


async def test_tls_of_an_azure_host_is_terminated_by_the_service_of_this_instance() -> None:
    server, client = _authority("demo-vault.vault.azure.net")
    async with (
        _listening(_echo, server) as service,
        _gateway({"*.vault.azure.net": service}) as proxy,
    ):
        status, (reader, writer) = await _connect(proxy, "demo-vault.vault.azure.net:443")
        assert status == b"HTTP/1.1 200 Connection established"
        await writer.start_tls(client, server_hostname="demo-vault.vault.azure.net")
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()


async def test_tls_of_another_host_is_tunnelled_unchanged() -> None:
    """The client gets the certificate of the remote host: TLS is not terminated."""
    server, client = _authority("localhost")
    async with _listening(_echo, server) as (_, port), _gateway({}) as proxy:
        status, (reader, writer) = await _connect(proxy, f"localhost:{port}")
        assert status.startswith(b"HTTP/1.1 200")
        await writer.start_tls(client, server_hostname="localhost")
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()


async def test_bytes_sent_with_the_request_are_not_lost() -> None:
    async with _listening(_echo) as service, _gateway({"vault.azure.net": service}) as proxy:
        reader, writer = await asyncio.open_connection(*proxy)
        writer.write(b"CONNECT vault.azure.net:443 HTTP/1.1\r\n\r\nearly")
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(5) == b"early"
        writer.close()


async def test_body_of_a_client_with_nagles_algorithm_is_not_delayed() -> None:
    """Python's urllib3 uses it with a proxy: each request with a body took 40 ms, so this test 10 seconds."""

    async def respond_to_pairs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while pair := await reader.read(1) and await reader.read(1):
            writer.write(pair)
        writer.close()

    async with (
        _listening(respond_to_pairs) as service,
        _gateway({"vault.azure.net": service}) as proxy,
    ):
        _, (reader, writer) = await _connect(proxy, "vault.azure.net:443")
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        async with asyncio.timeout(6):
            for _ in range(250):
                writer.write(b"h")
                writer.write(b"b")
                assert await reader.readexactly(1) == b"b"
        writer.close()


async def test_half_closed_connection_still_receives() -> None:
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = len(await reader.read())
        writer.write(str(size).encode())
        writer.close()

    async with _listening(count) as service, _gateway({"vault.azure.net": service}) as proxy:
        _, (reader, writer) = await _connect(proxy, "vault.azure.net:443")
        writer.write(b"x" * 100_000)
        writer.write_eof()
        assert await reader.read() == b"100000"
        writer.close()


async def test_stalled_reader_applies_back_pressure_to_the_sender() -> None:
    """Without back-pressure, one slow download would fill the memory of the instance."""
    sent = 0
    stalled = asyncio.Event()

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        try:
            while sent < 256 * 1024 * 1024:
                writer.write(b"x" * 65536)
                await asyncio.wait_for(writer.drain(), 0.5)
                sent += 65536
        except TimeoutError:
            stalled.set()
        writer.transport.abort()

    async with _listening(flood) as service, _gateway({"vault.azure.net": service}) as proxy:
        _, (reader, writer) = await _connect(proxy, "vault.azure.net:443")
        del reader  # stop reading
        async with asyncio.timeout(30):
            await stalled.wait()
        assert sent < 64 * 1024 * 1024
        writer.transport.abort()


@asynccontextmanager
async def _direct(table: Mapping[str, Address], **limits: Any) -> AsyncIterator[Address]:
    direct = bind("127.0.0.1", 0)
    async with _gateway(table, direct=direct, **limits):
        yield direct.getsockname()[:2]


async def test_server_name_of_a_direct_connection_selects_the_service() -> None:
    """Clients that ignore proxy variables connect without a request to the proxy."""
    server, client = _authority("demo-vault.vault.azure.net")
    async with (
        _listening(_echo, server) as service,
        _direct({"*.vault.azure.net": service}, host_exists=_demo_exists) as address,
    ):
        reader, writer = await asyncio.open_connection(
            *address, ssl=client, server_hostname="demo-vault.vault.azure.net"
        )
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()


@pytest.mark.parametrize("host", ["localhost", "gone.vault.azure.net"])
async def test_direct_connection_to_another_name_is_refused(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second socket serves only Azure's names; it is not an open relay, even to a host that responds."""
    server, client = _authority(host)
    async with (
        _listening(_echo, server) as service,
        _direct({"*.vault.azure.net": service}, host_exists=_demo_exists) as address,
    ):
        monkeypatch.setattr(gateway, "HTTPS", service[1])
        with pytest.raises(ssl.SSLError) as refused:
            await asyncio.open_connection(*address, ssl=client, server_hostname=host)
        assert refused.value.reason == "TLSV1_UNRECOGNIZED_NAME"


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b""])
async def test_direct_connection_without_a_hello_is_closed(data: bytes) -> None:
    async with _direct({}, hello_seconds=0.05) as address:
        assert await _send_request(address, data) in (sni.UNRECOGNIZED_NAME, sni.INTERNAL_ERROR)


async def test_hello_that_arrives_byte_by_byte_is_read_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Parsing all data again at each byte took eleven seconds for a hello of 16 KB."""
    records, read = 1000, 0
    record_length = sni.record_length

    def count(header: bytes) -> int:
        nonlocal read
        read += 1
        return record_length(header)

    monkeypatch.setattr(sni, "record_length", count)
    message = b"\x01" + records.to_bytes(3) + bytes(records)
    async with _direct({}) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in message:
            for part in (b"\x16\x03\x01\x00\x01", bytes([byte])):
                writer.write(part)
                await asyncio.sleep(0)
        assert await reader.read() == sni.UNRECOGNIZED_NAME
        writer.close()
    assert read == len(message)


async def test_hello_over_the_limit_is_refused() -> None:
    """Fails without the limit: a client would send records until the time limit."""
    hello = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(tunnel.MAX_HEAD_BYTES)
    async with _direct({}, hello_seconds=600) as address, asyncio.timeout(60):
        assert await _send_request(address, hello) == sni.UNRECOGNIZED_NAME


@pytest.mark.parametrize("port", [80, 8443])
async def test_other_port_of_an_azure_host_is_refused(port: int) -> None:
    """A client with another port must not send its token to the real host."""
    async with _gateway(TABLE) as proxy:
        status, (reader, writer) = await _connect(proxy, f"login.microsoftonline.com:{port}")
        assert status == b"HTTP/1.1 502 Bad Gateway"
        assert b"443 only" in await reader.read()
        writer.close()


async def _demo_exists(host: str) -> bool:
    return host == "demo-vault.vault.azure.net"


async def test_connection_to_an_unknown_vault_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """In Azure the host name would not resolve; here the tunnel is refused with a reason."""
    async with _gateway(TABLE, host_exists=_demo_exists) as proxy:
        status, (reader, writer) = await _connect(proxy, "Other-Vault.vault.azure.net:443")
        assert status.startswith(b"HTTP/1.1 502 ")
        for text in (status, await reader.read()):
            assert b"vault other-vault does not exist" in text
            assert b"podpass vault list" in text
        writer.close()
    record = next(each for each in caplog.records if each.getMessage() == "vault_unknown")
    assert vars(record)["host"] == "Other-Vault.vault.azure.net"
    assert "vault other-vault does not exist" in vars(record)["cause"]


async def test_existing_vaults_and_other_hosts_are_connected() -> None:
    async with _listening(_echo) as service:
        table = dict.fromkeys(("*.vault.azure.net", "vault.azure.net", "sts.windows.net"), service)
        async with _gateway(table, host_exists=_demo_exists) as proxy:
            for host in ("DEMO-vault.vault.azure.net.", "vault.azure.net", "sts.windows.net"):
                status, (_, writer) = await _connect(proxy, f"{host}:443")
                assert status.startswith(b"HTTP/1.1 200 ")
                writer.close()


async def test_unknown_vault_name_cannot_inject_a_header() -> None:
    async with _gateway(TABLE, host_exists=_demo_exists) as proxy:
        answer = await _send_request(
            proxy, b"CONNECT a\nb\x1b\xe9.vault.azure.net:443 HTTP/1.1\r\n\r\n"
        )
    assert answer.startswith(b"HTTP/1.1 502 vault ab does not exist")


async def test_refused_connection_is_reported_with_host_and_reason() -> None:
    port = free_port()
    async with _gateway({}) as proxy:
        status, (reader, writer) = await _connect(proxy, f"127.0.0.1:{port}")
        assert status.startswith(b"HTTP/1.1 502")
        body = (await reader.read()).decode()
        assert f"127.0.0.1:{port}" in body
        assert "refused" in body
        writer.close()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 300])
async def test_unresolvable_host_is_refused_with_502(host: str) -> None:
    async with _gateway({}) as proxy:
        status, (_, writer) = await _connect(proxy, f"{host}:443")
        assert status.startswith(b"HTTP/1.1 502")
        writer.close()


async def test_authority_that_was_not_reached_is_logged_with_its_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A client that asks another authority than the instance's; each host is logged once a minute."""
    caplog.set_level("DEBUG", "podpass.lab.gateway.refused_hosts")
    authority = "login.microsoftonline.us"

    async def find(*_: object) -> Sequence[Address]:
        raise TargetRefused("the host is not for pods")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PodTargets, "find", find)
        async with _gateway({}, pods=(pods := bind("127.0.0.1", 0))):
            for host in (authority, "LOGIN.microsoftonline.us.", "b.invalid"):
                reader, writer = await asyncio.open_connection(
                    *pods.getsockname()[:2], local_addr=(OTHER, 0)
                )
                writer.write(f"CONNECT {host}:443 HTTP/1.1\r\n\r\n".encode())
                assert (await reader.read()).startswith(b"HTTP/1.1 502")
                writer.close()
    found = [vars(each) for each in caplog.records if "host" in vars(each)]
    assert [(each["msg"], each["levelname"], each["host"], each["source"]) for each in found] == [
        (AUTHORITY_NOT_SERVED, "WARNING", authority, OTHER),
        ("host_not_reached", "DEBUG", "b.invalid", OTHER),
    ]
    assert found[0]["cause"].endswith("AzureUSGovernment: the host is not for pods")
    assert found[1]["cause"] == "the host is not for pods"


def test_log_of_hosts_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """The attack: a client asks for hosts without end, or one address hides those of the others."""
    caplog.set_level("DEBUG", "podpass.lab.gateway.refused_hosts")
    now, authority = [0.0], "login.microsoftonline.us"
    hosts = RefusedHosts(lambda: now[0])
    for number in range(100):
        hosts.report(f"{number}.invalid", 443, OTHER, "")
    hosts.report(f"{OTHER}.invalid", 443, "127.64.0.3", "")
    assert [vars(each)["source"] for each in caplog.records] == [OTHER] * 16 + ["127.64.0.3"]
    for number in range(1000):
        hosts.report("x" * 1000, 443, f"10.0.{number // 250}.{number % 250}", "")
    assert len(caplog.records) == 256
    assert len(vars(caplog.records[-1])["host"]) == 253
    for number in range(1000):
        hosts.report(authority, 443, f"10.0.{number // 250}.{number % 250}", "")
    assert len(caplog.records) == 512, "other hosts hide no authority"
    now[0] = 61.0
    hosts.report_connected("example.org", 443, OTHER)
    hosts.report_connected("Login.microsoftonline.us.", 443, OTHER)
    assert len(caplog.records) == 513


def test_authority_of_an_address_that_pods_share_is_logged_again_for_the_next_pod(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Otherwise `podpass doctor` has no line that is newer than a pod that was created again."""
    now = [0.0]
    hosts = RefusedHosts(lambda: now[0])
    authorities = ("login.microsoftonline.us", "login.microsoftonline.de")
    for now[0] in (1.0, 2.0, 7.0, 8.0, 50.0):
        for source in ("127.0.0.1", "127.64.0.2", "10.0.0.2"):
            hosts.report(authorities[0], 443, source, "")
    lines = Counter(vars(each)["source"] for each in caplog.records)
    assert lines == {"127.0.0.1": 3, "127.64.0.2": 1, "10.0.0.2": 1}
    # A program that repeats its request without end stays within the limit of one source.
    caplog.clear()
    for second in range(59):
        now[0] = 100.0 + second
        for each in authorities:
            hosts.report(each, 443, "127.0.0.1", "")
    assert len(caplog.records) == 16


async def test_host_that_resets_the_connection_at_once_is_a_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def connect(addresses: Sequence[Address]) -> Stream:
        """Connect, and return after the reset has arrived: the address of the host is then unknown."""
        connected = socket.create_connection(addresses[0])
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        return await asyncio.open_connection(sock=connected)

    monkeypatch.setattr(gateway, "connect", connect)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with _gateway({}) as proxy:
            status, (reader, writer) = await _connect(
                proxy, f"127.0.0.1:{listener.getsockname()[1]}"
            )
            assert status == b"HTTP/1.1 502 Bad Gateway"
            assert b"has closed the connection" in await reader.read()
            writer.close()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_the_gateway_does_not_connect_to_itself(name: str) -> None:
    async with _gateway({}) as proxy:
        status, (reader, writer) = await _connect(proxy, f"{name}:{proxy[1]}")
        assert status.startswith(b"HTTP/1.1 502")
        assert b"itself" in await reader.read()
        writer.close()


@pytest.mark.parametrize(
    ("request_line", "status", "words"),
    [
        (b"GET /healthz HTTP/1.1", b"200", b"ok"),
        (b"GET http://example.com/ HTTP/1.1", b"501", b"only HTTPS"),
        (b"GET / HTTP/1.1", b"405", b"HTTPS_PROXY"),
        (b"POST /healthz HTTP/1.1", b"405", b"HTTPS_PROXY"),
        (b"CONNECT example.com HTTP/1.1", b"400", b"host:port"),
        (b"CONNECT  HTTP/1.1", b"400", b"host:port"),
        (b"SSH-2.0-OpenSSH", b"400", b"is not HTTP"),
        (b"\x16\x03\x01\x02", b"400", b"is not HTTP"),
        (b"CONNECT example.com:443 HTTP/2", b"400", b"is not HTTP"),
    ],
)
async def test_request_other_than_connect_is_refused_with_an_explanation(
    request_line: bytes, status: bytes, words: bytes
) -> None:
    async with _gateway({}) as proxy:
        answer = await _send_request(proxy, request_line + b"\r\nHost: x\r\n\r\n")
    assert answer.split(b" ", 2)[1] == status
    assert words in answer


async def test_too_large_request_head_is_refused() -> None:
    async with _gateway({}) as proxy:
        # One segment: the gateway reads all of it, so closing the connection does not discard the response.
        head = b"CONNECT x:443 HTTP/1.1\r\nX: " + b"a" * tunnel.MAX_HEAD_BYTES
        assert b" 431 " in await _send_request(proxy, head)


async def test_incomplete_request_head_times_out() -> None:
    """Slow request heads would exhaust the connections of the gateway (slowloris)."""
    async with _gateway({}, head_seconds=0.05) as proxy:
        assert b" 408 " in await _send_request(proxy, b"CONNECT x:443 HTT")


async def test_stop_closes_open_tunnels() -> None:
    async with _listening(_echo) as service:
        async with _gateway({"vault.azure.net": service}) as proxy:
            _, (reader, writer) = await _connect(proxy, "vault.azure.net:443")
            idle_reader, idle_writer = await asyncio.open_connection(*proxy)
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            with contextlib.suppress(ConnectionError):
                assert await idle_reader.read() == b""
        for each in (writer, idle_writer):
            each.close()
    with pytest.raises(OSError):  # noqa: PT011 which one is the system's choice
        await asyncio.open_connection(*proxy)


async def test_tunnels_above_the_limit_are_refused_until_one_closes() -> None:
    async with (
        _listening(_echo) as service,
        _gateway({"vault.azure.net": service}, tunnels=1) as own,
    ):
        status, (reader, writer) = await _connect(own, "vault.azure.net:443")
        assert b" 200 " in status
        refused, (_, other) = await _connect(own, "vault.azure.net:443")
        assert b" 503 127.0.0.1 has used its share" in refused
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        other.close()
        again, (_, third) = await _connect(own, "vault.azure.net:443")
        assert b" 200 " in again
        third.close()


async def test_tunnel_whose_service_has_closed_ends_before_its_client_closes() -> None:
    """The attack: a client keeps tunnels to closed services, and so its share, until it closes them."""

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.close()

    host = "vault.azure.net"
    async with (
        _listening(close) as service,
        _gateway({host: service}, tunnels=1, half_open_seconds=0.1) as own,
        asyncio.timeout(60),
    ):
        _, (reader, first) = await _connect(own, f"{host}:443")
        first.write(b"x")
        assert await reader.read() == b""
        status = b" 503 "
        while b" 503 " in status:
            status, (_, writer) = await _connect(own, f"{host}:443")
            writer.close()
        assert b" 200 " in status
        first.close()


async def test_half_open_tunnel_that_makes_progress_is_not_cut() -> None:
    """A client may end its request, as programs that relay a file do, and then read a long response."""

    async def respond_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        for _ in range(8):
            writer.write(b"x")
            await asyncio.sleep(1)
        writer.close()

    host = "vault.azure.net"
    async with (
        _listening(respond_slowly) as service,
        _gateway({host: service}, half_open_seconds=5) as own,
        asyncio.timeout(60),
    ):
        _, (reader, writer) = await _connect(own, f"{host}:443")
        writer.write_eof()
        assert await reader.read() == b"x" * 8
        writer.close()


async def _send_without_end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            writer.write(bytes(65536))
            await writer.drain()
    finally:
        writer.close()


async def test_tunnel_of_a_client_that_reads_nothing_ends() -> None:
    """The attack: clients request long downloads and do not read, and so keep tunnels and buffers."""
    host = "vault.azure.net"
    async with (
        _listening(_send_without_end) as service,
        _gateway({host: service}, tunnels=1, stall_seconds=0.1) as own,
        asyncio.timeout(60),
    ):
        _, (reader, first) = await _connect(own, f"{host}:443")
        status = b" 503 "
        while b" 503 " in status:
            status, (_, writer) = await _connect(own, f"{host}:443")
            writer.close()
        assert b" 200 " in status
        # Without a reset, the kernel would keep a megabyte for the closed connection.
        with pytest.raises(ConnectionResetError):
            await reader.read()
        first.close()


async def test_tunnel_that_has_ended_leaves_no_data_in_the_kernel() -> None:
    """The attack: a client requests an answer, ends its side, and reads nothing."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.write(bytes(64 * 1024))
        writer.close()

    host = "vault.azure.net"
    async with _listening(answer) as service, _gateway({host: service}, stall_seconds=0.5) as own:
        with connected(own, receive_buffer=4096) as client:
            client.send(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            client.shutdown(socket.SHUT_WR)
            await wait_until_forgotten(own[1], client)


async def test_ended_tunnel_of_a_client_that_reads_nothing_keeps_its_share_until_it_is_reset() -> (
    None
):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        # More than the kernel accepts: the rest waits in the transport, below its limit.
        writer.write(bytes(180 * 1024))
        writer.close()

    host = "vault.azure.net"
    async with _listening(answer) as service, _gateway({host: service}, stall_seconds=0.5) as own:
        with connected(own, receive_buffer=4096) as client:
            client.send(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            client.shutdown(socket.SHUT_WR)
            assert await closing_error(client) == errno.ECONNRESET


async def test_tunnel_of_a_client_that_reads_slowly_is_not_cut() -> None:
    host = "vault.azure.net"
    async with (
        _listening(_send_without_end) as service,
        _gateway({host: service}, stall_seconds=5) as own,
        asyncio.timeout(60),
    ):
        _, (reader, writer) = await _connect(own, f"{host}:443")
        for _ in range(6):
            await asyncio.sleep(1)
            assert len(await reader.readexactly(1 << 20)) == 1 << 20
        writer.close()


OTHER = "127.64.0.2"  # another client, with the address of a pod


@asynccontextmanager
async def _opened(count: int, address: Address, **more: Any) -> AsyncIterator[list[Stream]]:
    """Open connections that send nothing."""
    streams = [await asyncio.open_connection(*address, **more) for _ in range(count)]
    try:
        yield streams
    finally:
        for _, writer in streams:
            writer.transport.abort()


async def test_client_that_takes_every_tunnel_leaves_some_for_another_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without shares, a pod that opens 2,000 tunnels refuses all other pods."""
    host = "vault.azure.net"
    server, client = _authority(host)
    direct = bind("127.0.0.1", 0)
    now = 1000.0
    limits = {"tunnels": 20, "direct": direct, "clock": lambda: now}
    async with (
        _listening(_echo, server) as service,
        _gateway({host: service}, **limits) as proxy,
        contextlib.AsyncExitStack() as stack,
    ):
        opened = [await _connect(proxy, f"{host}:443") for _ in range(20)]
        for _, (_, writer) in opened:
            stack.callback(writer.transport.abort)
        refused = b"503 127.0.0.1 has used its share of the tunnels of the gateway"
        answers = [status.split(b" ", 1)[1] for status, _ in opened]
        assert answers == [b"200 Connection established"] * 10 + [refused] * 10
        address = direct.getsockname()[:2]
        with pytest.raises(ssl.SSLError) as alert:
            await asyncio.open_connection(*address, ssl=client, server_hostname=host)
        assert alert.value.reason == "TLSV1_ALERT_INTERNAL_ERROR", "the name is right"
        _, writer = await asyncio.open_connection(
            *address, ssl=client, server_hostname=host, local_addr=(OTHER, 0)
        )
        stack.callback(writer.transport.abort)
        now += 60
        _, (_, last) = await _connect(proxy, f"{host}:443")
        last.close()
    lines = [each for each in caplog.records if each.getMessage() == "tunnels_refused"]
    assert [vars(each)["failed"] for each in lines] == [1, 11]
    assert "127.0.0.1 has used its share" in vars(lines[0])["cause"]
    assert not any(each.exc_info for each in lines)


async def test_addresses_of_one_ipv6_network_have_one_share_of_tunnels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The attack: a host with a /64 opens each tunnel from another address."""
    addresses = (f"2001:db8::{number:x}" for number in itertools.count(1))
    monkeypatch.setattr(gateway, "_source_of", lambda _: (next(addresses), 1))
    async with (
        _listening(_echo) as service,
        _gateway({"vault.azure.net": service}, tunnels=4) as proxy,
        contextlib.AsyncExitStack() as stack,
    ):
        opened = [await _connect(proxy, "vault.azure.net:443") for _ in range(4)]
        for _, (_, writer) in opened:
            stack.callback(writer.transport.abort)
        assert [b" 200 " in status for status, _ in opened] == [True, True, False, False]


async def test_connections_without_a_hello_do_not_block_other_clients() -> None:
    host = "vault.azure.net"
    server, client = _authority(host)
    async with (
        _listening(_echo, server) as service,
        _direct({host: service}, hello_seconds=600, waiting=20) as address,
        _opened(10, address),
    ):
        async with asyncio.timeout(60):
            assert await _send_request(address, b"") == sni.INTERNAL_ERROR, "refused at once"
        _, writer = await asyncio.open_connection(
            *address, ssl=client, server_hostname=host, local_addr=(OTHER, 0)
        )
        writer.close()


@pytest.mark.processes
async def test_connection_without_a_hello_ends_after_three_seconds() -> None:
    assert gateway.LIMITS.hello_seconds == 3
    async with _direct({}, head_seconds=600) as address, asyncio.timeout(60):
        assert await _send_request(address, b"\x16") == sni.INTERNAL_ERROR


async def test_client_sees_no_wrong_name_alert_if_the_service_does_not_respond() -> None:
    host = "vault.azure.net"
    _, client = _authority(host)
    async with _direct({host: ("127.0.0.1", free_port())}) as address:
        with pytest.raises(ssl.SSLError) as alert:
            await asyncio.open_connection(*address, ssl=client, server_hostname=host)
    assert alert.value.reason == "TLSV1_ALERT_INTERNAL_ERROR"


class _Echo:
    """Answers with the address of the client, on the fast path and on the usual one."""

    def fast_path(self, scope: Scope, _body: bytes) -> Coroutine[Any, Any, Reply]:
        async def reply() -> Reply:
            return Reply(200, (), f"fast {scope['client'][0]}".encode())

        return reply()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        await respond(send, 200, scope["client"][0].encode(), ())


async def test_address_takes_only_its_share_of_a_service_behind_the_gateway() -> None:
    """The attack: one client takes all connections that a service accepts from the gateway's address."""
    sources, sock = TunnelSources(), bind("127.0.0.1", 0)
    service, request = sock.getsockname()[:2], "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

    async def is_served(source: str, target: Address) -> bool:
        """Send a request from an address, and keep the connection."""
        connect = "" if target == service else "CONNECT vault.azure.net:443 HTTP/1.1\r\n\r\n"
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(*target, local_addr=(source, 0))
            stack.callback(writer.close)
            writer.write(f"{connect}{request}".encode())
            return bool(await reader.readuntil(source.encode()))
        return False

    limits = Limits(source_connections=2)
    async with (
        serving(_Echo(), sock, limits=limits, find_client=sources.find),
        _gateway({"vault.azure.net": service}, sources=sources) as proxy,
    ):
        with contextlib.ExitStack() as stack:
            assert [await is_served(OTHER, proxy) for _ in range(3)] == [True, True, False]
            assert not await is_served(OTHER, service)
            assert await is_served("127.0.0.1", proxy)
            assert await is_served("127.0.0.1", service)
            assert not await is_served("127.0.0.1", proxy)


@pytest.mark.parametrize(("method", "answer"), [("GET", OTHER), ("POST", f"fast {OTHER}")])
async def test_service_behind_the_gateway_sees_the_address_of_the_client(
    method: str, answer: str
) -> None:
    sources, sock = TunnelSources(), bind("127.0.0.1", 0)
    service = sock.getsockname()[:2]
    async with (
        serving(_Echo(), sock, find_client=sources.find),
        _gateway({"vault.azure.net": service}, sources=sources) as proxy,
    ):
        reader, writer = await asyncio.open_connection(*proxy, local_addr=(OTHER, 0))
        request = (
            f"{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        writer.write(f"CONNECT vault.azure.net:443 HTTP/1.1\r\n\r\n{request}".encode())
        assert (await reader.read()).endswith(f"\r\n{answer}".encode())
        writer.close()
        async with aiohttp.ClientSession() as session:
            # A client of the service's own port has its own address.
            url = f"http://127.0.0.1:{service[1]}/"
            async with session.get(url) as response:
                assert await response.text() == "127.0.0.1"
