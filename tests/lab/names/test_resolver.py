"""The resolver on loopback, asked by a real client."""

import asyncio
import contextlib
import errno
import ipaddress
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence

import dns.asyncquery
import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpass.lab.names import messages, resolver
from tests.http.unread import closing_error, connected, wait_until_forgotten
from tests.lab.names.corefiles import SERVED
from tests.lab.names.server import ADDRESSES, HOST, Cloud, running

OTHER = "127.64.0.2"  # another client, with the address of a pod
QUERY = dns.message.make_query("demo.vault.azure.net", "A").to_wire()


def _addresses(reply: dns.message.Message) -> list[str]:
    return [record.address for rrset in reply.answer for record in rrset]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize(
    "name",
    [
        *("login.microsoftonline.com", "LOGIN.Windows.NET", "graph.microsoft.com"),
        *("vault.azure.net", "demo.vault.azure.net"),
        *("DEMO.vault.azure.net", "eastus.oic.prod-aks.azure.com"),
    ],
)
async def test_served_name_has_the_addresses_of_the_gateway(
    cloud: Cloud, name: str, tcp: bool
) -> None:
    reply = await cloud.ask(name, tcp=tcp)
    assert _addresses(reply) == ["10.96.7.7"]
    assert reply.flags & dns.flags.AA
    assert reply.question[0].name.to_text() == name + ".", "the case of the question is repeated"
    assert _addresses(await cloud.ask(name, "AAAA", tcp=tcp)) == ["fd00::77"]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize(
    ("own", "kind", "other"),
    [("10.96.7.7", "A", "AAAA"), ("fd00::77", "AAAA", "A")],
    ids=["ipv4-only", "ipv6-only"],
)
async def test_name_in_a_cluster_of_one_family_exists_without_addresses_of_the_other(
    own: str, kind: str, other: str, tcp: bool
) -> None:
    """Clients query both types: NXDOMAIN would mean that the name does not exist for either."""
    async with running(addresses=[ipaddress.ip_address(own)]) as found:
        for name in ("login.microsoftonline.com", "demo.vault.azure.net"):
            assert _addresses(await found.ask(name, kind, tcp=tcp)) == [own]
            reply = await found.ask(name, other, tcp=tcp)
            assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])
            (soa,) = reply.authority
            assert soa[0].minimum == 1
        for each in (kind, other):
            reply = await found.ask("new.vault.azure.net", each, tcp=tcp)
            assert reply.rcode() == dns.rcode.NXDOMAIN


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
async def test_resolver_serves_and_forwards_over_ipv6(tcp: bool) -> None:
    async with (
        running(host="::1") as behind,
        running(upstream=("::1", behind.port), host="::1", addresses=()) as front,
    ):
        assert _addresses(await front.ask("graph.microsoft.com", "AAAA", tcp=tcp)) == ["::1"]
        reply = await front.ask("www.example.org", "AAAA", tcp=tcp)
        assert reply.rcode() == dns.rcode.REFUSED, "the answer of the other server"


async def test_new_vault_has_a_name_at_once_and_a_deleted_one_has_none(cloud: Cloud) -> None:
    name = "new.vault.azure.net"
    reply = await cloud.ask(name)
    assert reply.rcode() == dns.rcode.NXDOMAIN
    (soa,) = reply.authority
    assert (soa.name.to_text(), soa.ttl, soa[0].minimum) == ("vault.azure.net.", 1, 1)
    cloud.vaults.add("new")
    assert _addresses(await cloud.ask(name)) == ["10.96.7.7"]
    cloud.vaults.remove("new")
    assert (await cloud.ask(name, "AAAA")).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("kind", ["TXT", "MX", "HTTPS", "NS", "ANY", "TYPE65000"])
async def test_query_of_another_type_for_a_served_name_has_no_records(
    cloud: Cloud, kind: str
) -> None:
    reply = await cloud.ask("graph.microsoft.com", kind)
    assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])
    assert len(reply.authority) == 1


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("a.demo.vault.azure.net", dns.rcode.NXDOMAIN),
        ("beta.graph.microsoft.com", dns.rcode.NXDOMAIN),
        ("www.microsoft.com", dns.rcode.REFUSED),
        (".", dns.rcode.REFUSED),
    ],
)
async def test_name_that_is_not_served_has_no_address(
    cloud: Cloud, name: str, code: dns.rcode.Rcode
) -> None:
    assert (await cloud.ask(name)).rcode() == code


async def test_query_of_another_class_is_refused(cloud: Cloud) -> None:
    reply = await cloud.ask("graph.microsoft.com", rdclass="CH")
    assert reply.rcode() == dns.rcode.REFUSED


async def test_edns_query_is_answered_and_an_unknown_edns_version_is_refused(cloud: Cloud) -> None:
    reply = await cloud.ask("graph.microsoft.com", edns=0)
    assert (reply.edns, reply.payload, _addresses(reply)) == (0, 1232, ["10.96.7.7"])
    assert (await cloud.ask("graph.microsoft.com")).edns == -1
    assert (await cloud.ask("graph.microsoft.com", edns=1)).rcode() == dns.rcode.BADVERS


async def test_failed_directory_lookup_returns_servfail(cloud: Cloud) -> None:
    cloud.fails = True
    reply = await cloud.ask("demo.vault.azure.net")
    assert reply.rcode() == dns.rcode.SERVFAIL
    assert _addresses(await cloud.ask("graph.microsoft.com")) == ["10.96.7.7"]


async def test_connection_carries_several_queries(cloud: Cloud) -> None:
    received = await cloud.send_tcp(QUERY, QUERY)
    (size,) = struct.unpack("!H", received[:2])
    assert len(received) == 2 * (2 + size)


@pytest.mark.parametrize(
    "packet",
    [b"", b"\0" * 11, b"\0\0\x80\0" + QUERY[4:], b"\0" * (messages.MAX_QUERY_BYTES + 1)],
    ids=["empty", "short", "response", "huge"],
)
async def test_invalid_packet_ends_the_tcp_connection(cloud: Cloud, packet: bytes) -> None:
    assert await cloud.send_tcp(packet, QUERY) == b""


async def test_connection_that_its_client_resets_at_once_is_no_error(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    """The address of such a client is unknown."""
    client = socket.create_connection((HOST, cloud.port))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert await cloud.ask("login.microsoftonline.com", tcp=True)
    assert caplog.records == []


def test_response_and_short_packet_get_no_reply() -> None:
    response = QUERY[:2] + b"\x81\x80" + QUERY[4:]
    for packet in (response, QUERY[:11], b""):
        assert messages.read_query(packet) is None


async def test_flood_of_packets_is_bounded_and_the_resolver_answers_afterwards(
    cloud: Cloud,
) -> None:
    cloud.waits = asyncio.Event()
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((HOST, cloud.port))
        before = len(asyncio.all_tasks())
        for _ in range(resolver.MAX_IN_FLIGHT + 100):
            await loop.sock_sendall(sock, QUERY)
            # The loop reads one packet in each iteration.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        async with asyncio.timeout(60):
            while len(asyncio.all_tasks()) - before > resolver.MAX_IN_FLIGHT // 2:  # noqa: ASYNC110
                await asyncio.sleep(0)
        cloud.waits.set()
        cloud.waits = None
        assert await loop.sock_recv(sock, 512)
        while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110 there is no event for it
            await asyncio.sleep(0)
    assert _addresses(await cloud.ask("demo.vault.azure.net")) == ["10.96.7.7"]


async def test_connections_are_bounded(cloud: Cloud) -> None:
    share = resolver.MAX_CONNECTIONS // 2
    opened = [await asyncio.open_connection(HOST, cloud.port) for _ in range(share)]
    # After an answer, the resolver serves the connection.
    for _, writer in opened:
        writer.write(struct.pack("!H", len(QUERY)) + QUERY)
    for reader, _ in opened:
        assert await reader.readexactly(2)
    opened.append(await asyncio.open_connection(HOST, cloud.port))
    reader, writer = opened[-1]
    writer.write(struct.pack("!H", len(QUERY)) + QUERY)
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read(1) == b"", "closed without an answer"
    assert _addresses(await cloud.ask("demo.vault.azure.net", tcp=True, source=OTHER))
    for _, writer in opened:
        writer.close()
    await asyncio.gather(*(each.wait_closed() for _, each in opened), return_exceptions=True)


@contextlib.asynccontextmanager
async def _silent_upstream() -> AsyncIterator[tuple[socket.socket, Cloud]]:
    """Run a resolver whose upstream server never answers; yield the UDP socket of that server, too."""
    udp, tcp = resolver.bind(HOST, 0)
    udp.setblocking(False)
    with udp, tcp:
        async with running((HOST, tcp.getsockname()[1])) as front:
            yield udp, front


async def _forward_forever(port: int, sources: Sequence[str]) -> None:
    """Send one query for a name of the other server from each address."""
    loop = asyncio.get_running_loop()
    for number, source in enumerate(sources):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.bind((source, 0))
            query = dns.message.make_query(f"www{number}.example.org", "A").to_wire()
            await loop.sock_sendto(sock, query, (HOST, port))
            await asyncio.sleep(0)


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("sources", [1, 600], ids=["one-client", "forged-addresses"])
async def test_served_names_do_not_wait_for_forwarded_ones(tcp: bool, sources: int) -> None:
    """Each forwarded query waits for five seconds. Fails if 512 of them use up all queries."""
    async with _silent_upstream() as (_, front):
        addresses = [f"127.1.{n % sources // 200}.{n % sources % 200 + 1}" for n in range(1200)]
        await _forward_forever(front.port, addresses)
        for source in (addresses[0], OTHER):
            reply = await front.ask("demo.vault.azure.net", tcp=tcp, source=source)
            assert _addresses(reply) == ["10.96.7.7"]
        if sources > 1:
            assert (await front.ask("www.example.com")).rcode() == dns.rcode.SERVFAIL


async def test_client_that_forwards_without_end_leaves_a_share_for_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with _silent_upstream() as (upstream, front):
        await _forward_forever(front.port, [HOST] * (resolver.MAX_FORWARDED + 100))
        assert (await front.ask("www.example.com")).rcode() == dns.rcode.SERVFAIL
        asking = asyncio.create_task(front.ask("www.example.com", source=OTHER))
        loop = asyncio.get_running_loop()
        wanted = b"\x03www\x07example\x03com\x00"
        async with asyncio.timeout(60):
            while wanted not in await loop.sock_recv(upstream, 512):
                pass
        asking.cancel()
    refused = [each for each in caplog.records if each.getMessage() == "dns_queries_refused"]
    assert len(refused) == 1, "one line a minute"
    assert "127.0.0.1 has used its share" in vars(refused[0])["cause"]


async def test_client_that_asks_for_one_name_without_end_does_not_block_it_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resolver, "_UPSTREAM_SECONDS", 600.0)  # no query ends before the test does
    async with _silent_upstream() as (upstream, front):
        loop = asyncio.get_running_loop()
        query = dns.message.make_query("www.example.com", "A")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.bind((HOST, 0))
            for number in range(resolver.MAX_SAME_QUESTION):
                query.id = number
                await loop.sock_sendto(sock, query.to_wire(), (HOST, front.port))
                await asyncio.wait_for(loop.sock_recv(upstream, 512), 60)
        asking = asyncio.create_task(front.ask("www.example.com", source=OTHER))
        await asyncio.wait_for(loop.sock_recv(upstream, 512), 25)
        asking.cancel()


async def test_connection_reads_no_query_while_its_replies_wait() -> None:
    """The attack: a client sends queries and reads no reply."""
    async with _silent_upstream() as (_, front):
        _, writer = await asyncio.open_connection(HOST, front.port)
        before = len(asyncio.all_tasks())
        slow = dns.message.make_query("www.example.org", "A").to_wire()
        writer.write((len(slow).to_bytes(2, "big") + slow) * 60)
        await writer.drain()
        for _ in range(20):  # each reply shows that the resolver had time to read
            await front.ask("demo.vault.azure.net")
        assert len(asyncio.all_tasks()) - before <= resolver.MAX_CONNECTION_QUERIES + 1
        writer.close()


@pytest.mark.parametrize("count", [1, 3, 60])
async def test_client_that_reads_no_reply_is_disconnected(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """The attack: such clients keep connections outside of their share, and data in the kernel."""

    async def answer(query: messages.Query, _: Callable[[str], bool]) -> bytes:
        return query.wire[:2] + bytes(60_000)

    monkeypatch.setattr(resolver, "_IDLE_SECONDS", 0.5)
    async with running(answer_name=answer) as cloud:
        with connected((HOST, cloud.port), receive_buffer=4096) as client:
            query = dns.message.make_query("www.example.org", "A").to_wire()
            client.sendall((len(query).to_bytes(2, "big") + query) * count)
            client.shutdown(socket.SHUT_WR)
            if count > 1:
                assert await closing_error(client) == errno.ECONNRESET
            await wait_until_forgotten(cloud.port, client)


async def test_addresses_of_one_ipv6_network_have_one_share() -> None:
    """The attack: a host with a /64 sends each query from another address."""
    blocked = asyncio.Event()

    async def host_exists(_name: str) -> bool:
        await blocked.wait()
        return True

    cloud = resolver.CloudResolver(
        ["*.vault.azure.net"], [ipaddress.ip_address("10.96.7.7")], host_exists=host_exists
    )
    sources = [f"2001:db8::{number:x}" for number in range(resolver.MAX_IN_FLIGHT)]
    attack = asyncio.gather(*(cloud.answer(QUERY, each, tcp=False) for each in sources))
    await asyncio.sleep(0)
    other = asyncio.create_task(cloud.answer(QUERY, "2001:db8:0:1::1", tcp=False))
    await asyncio.sleep(0)
    blocked.set()
    assert await other is not None
    assert sum(each is not None for each in await attack) == resolver.MAX_IN_FLIGHT // 2


async def test_queries_of_one_connection_do_not_wait_for_each_other() -> None:
    slow = dns.message.make_query("www.example.org", "A").to_wire()
    async with _silent_upstream() as (_, front):
        reader, writer = await asyncio.open_connection(HOST, front.port)
        for query in (slow, QUERY):
            writer.write(struct.pack("!H", len(query)) + query)
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        reply = dns.message.from_wire(await reader.readexactly(size))
        assert (reply.id, _addresses(reply)) == (int.from_bytes(QUERY[:2]), ["10.96.7.7"])
        writer.close()


async def test_other_names_are_forwarded_to_the_dns_of_the_cluster(cloud: Cloud) -> None:
    async with running((HOST, cloud.port)) as front:
        cloud.vaults.add("far")
        # Its zone is served here, so the other server is not asked.
        assert (await front.ask("far.vault.azure.net")).rcode() == dns.rcode.NXDOMAIN
        for tcp in (False, True):
            reply = await front.ask("www.example.org", tcp=tcp)
            assert reply.rcode() == dns.rcode.REFUSED, "the answer of the other server"


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
async def test_resolver_without_an_address_answers_with_the_address_that_the_client_used(
    tcp: bool,
) -> None:
    async with running(addresses=()) as found:
        assert _addresses(await found.ask("graph.microsoft.com", tcp=tcp)) == ["127.0.0.1"]
        reply = await found.ask("graph.microsoft.com", "AAAA", tcp=tcp)
        assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])


def test_ipv4_mapped_address_is_read_as_ipv4() -> None:
    assert str(resolver.find_own_address("::ffff:127.0.0.1")) == "127.0.0.1"


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
async def test_query_that_the_upstream_server_sends_back_is_refused(tcp: bool) -> None:
    """Fails without the check: the query goes around until the time limit."""
    async with running(loops=True) as found:
        reply = await found.ask("www.example.org", tcp=tcp)
        assert reply.rcode() == dns.rcode.REFUSED


class _Upstream(asyncio.DatagramProtocol):
    """Answers with forged packets first."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        query = dns.message.from_wire(data)
        reply = dns.message.make_response(query)
        answers = [reply.to_wire()]
        forged = dns.message.make_response(dns.message.make_query("evil.example", "A"))
        forged.id = query.id
        answers.insert(0, forged.to_wire())  # another question
        reply.set_rcode(dns.rcode.REFUSED)
        answers.insert(0, struct.pack("!H", query.id ^ 1) + reply.to_wire()[2:])  # another number
        answers.insert(0, data)  # not a response
        answers.insert(0, b"\0")
        for answer in answers:
            self.transport.sendto(answer, addr)  # type: ignore[attr-defined]


async def test_reply_with_another_question_or_id_is_ignored() -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(_Upstream, local_addr=(HOST, 0))
    port = transport.get_extra_info("sockname")[1]
    async with running((HOST, port)) as front:
        reply = await front.ask("www.example.org")
        assert reply.rcode() == dns.rcode.NOERROR
        assert reply.question[0].name.to_text() == "www.example.org."
    transport.close()


async def test_unreachable_upstream_server_returns_servfail() -> None:
    udp, tcp = resolver.bind(HOST, 0)
    port = tcp.getsockname()[1]
    udp.close()
    tcp.close()
    async with running((HOST, port)) as front:
        for use_tcp in (False, True):
            reply = await front.ask("www.example.org", tcp=use_tcp)
            assert reply.rcode() == dns.rcode.SERVFAIL


async def test_failures_are_logged_once_a_minute_with_their_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 1000.0

    async def fail(_name: str) -> bool:
        raise RuntimeError("the database is unavailable")

    answers = resolver.CloudResolver(SERVED, ADDRESSES, host_exists=fail, clock=lambda: now)
    for now in (1000.0, 1001.0, 1059.9, 1060.0, 1061.0):  # noqa: B007 the clock reads it
        assert await answers.answer(QUERY, HOST, tcp=False) is not None
    lines = [each for each in caplog.records if each.getMessage() == "dns_query_failed"]
    assert [vars(each)["failed"] for each in lines] == [1, 3]
    assert all(each.exc_info for each in lines)


async def test_unreachable_upstream_is_logged_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    udp, tcp = resolver.bind(HOST, 0)
    port = tcp.getsockname()[1]
    udp.close()
    tcp.close()
    query = dns.message.make_query("www.example.org", "A").to_wire()
    answers = resolver.CloudResolver(
        SERVED, ADDRESSES, host_exists=Cloud().has_host, upstream=(HOST, port)
    )
    for _ in range(3):
        await answers.answer(query, HOST, tcp=True)
    (line,) = (each for each in caplog.records if each.getMessage() == "dns_upstream_failed")
    assert (vars(line)["cause"], line.exc_info) == ("ConnectionRefusedError", None)


def test_bind_reports_a_port_that_is_in_use() -> None:
    udp, tcp = resolver.bind(HOST, 0)
    with pytest.raises(OSError, match="in use"):
        resolver.bind(HOST, tcp.getsockname()[1])
    udp.close()
    tcp.close()


@given(st.binary(max_size=64) | st.binary(max_size=40).map(lambda tail: QUERY[:20] + tail))
def test_any_packet_gets_a_short_reply_or_none(packet: bytes) -> None:
    found = messages.read_query(packet)
    if isinstance(found, bytes):
        assert found[:2] == packet[:2]
        assert found[2] & 0x80
        assert len(found) <= 512
    elif found is not None:
        assert found.wire == packet


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({4: b"\0\0"}, dns.rcode.FORMERR),
        ({4: b"\0\2"}, dns.rcode.FORMERR),
        ({6: b"\xff\xff"}, dns.rcode.FORMERR),
        ({8: b"\0\1"}, dns.rcode.FORMERR),
        ({10: b"\0\3"}, dns.rcode.FORMERR),
        ({10: b"\0\1"}, dns.rcode.FORMERR),
        ({12: b"\xc0\x0c"}, dns.rcode.FORMERR),
        ({2: b"\x28\0"}, dns.rcode.NOTIMP),
    ],
    ids=[
        *("no-question", "two-questions", "answers", "authority", "additional", "cut"),
        *("pointer-to-itself", "update"),
    ],
)
def test_malformed_query_is_refused(change: dict[int, bytes], code: int) -> None:
    packet = bytearray(QUERY)
    for place, value in change.items():
        packet[place : place + len(value)] = value
    reply = messages.read_query(bytes(packet))
    assert isinstance(reply, bytes)
    assert reply[:2] == QUERY[:2]
    assert reply[3] & 15 == code


def test_too_large_query_is_refused_before_it_is_parsed() -> None:
    padding = dns.edns.GenericOption("PADDING", b"x" * messages.MAX_QUERY_BYTES)
    large = dns.message.make_query("demo.vault.azure.net", "A", use_edns=0, options=[padding])
    record = b"\1a\0\0\1\0\1\0\0\0\5\0\4\1\2\3\4"
    many = QUERY[:10] + b"\0\3" + QUERY[12:] + 3 * record
    for packet in (large.to_wire(max_size=65535), many):
        assert dns.message.from_wire(packet).question
        reply = messages.read_query(packet)
        assert isinstance(reply, bytes)
        assert reply[3] & 15 == dns.rcode.FORMERR


def test_longest_names_and_many_addresses_fit_into_every_packet() -> None:
    name = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 45, "vault.azure.net"])
    query = messages.read_query(dns.message.make_query(name, "A", use_edns=0).to_wire())
    assert isinstance(query, messages.Query)
    assert len(messages.build_answer(query, "vault.azure.net", None)) <= 512


async def test_forwarding_loop_that_changes_the_query_id_ends() -> None:
    """Two resolvers forward to each other; each changes the number, as most forwarders do."""
    sockets = [resolver.bind(HOST, 0) for _ in range(2)]
    ports = [tcp.getsockname()[1] for _, tcp in sockets]
    received = 0

    class Counting(resolver.CloudResolver):
        async def answer(self, wire: bytes, client: str, *, tcp: bool) -> bytes | None:
            nonlocal received
            received += 1
            return await super().answer(wire, client, tcp=tcp)

    async def exists(_name: str) -> bool:
        return True

    async with contextlib.AsyncExitStack() as stack:
        for (udp, tcp), port in zip(sockets, reversed(ports), strict=True):
            found = Counting(["graph.microsoft.com"], (), host_exists=exists, upstream=(HOST, port))
            await stack.enter_async_context(resolver.run_resolver(found, udp, tcp))
        query = dns.message.make_query("www.example.org", "A")
        reply = await dns.asyncquery.udp(query, HOST, port=ports[0], timeout=30)
        # Refused if two of the random numbers are equal, as for a loop without another forwarder.
        assert reply.rcode() in (dns.rcode.SERVFAIL, dns.rcode.REFUSED)
    assert received <= 2 * resolver.MAX_SAME_QUESTION + 1


class _LargeUpstream(asyncio.DatagramProtocol):
    """Answers with more than fits into one packet."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        reply = dns.message.make_response(dns.message.from_wire(data)).to_wire()
        self.transport.sendto(reply + bytes(4000), addr)  # type: ignore[attr-defined]


async def test_large_reply_of_another_server_is_truncated_over_udp() -> None:
    """A query with a forged source address would send it to another host."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(_LargeUpstream, local_addr=(HOST, 0))
    async with running((HOST, transport.get_extra_info("sockname")[1])) as front:
        query = dns.message.make_query("www.example.org", "TXT", use_edns=0, payload=65535)
        with pytest.raises(dns.message.Truncated) as refused:
            await dns.asyncquery.udp(
                query, HOST, port=front.port, timeout=30, raise_on_truncation=True
            )
    reply = refused.value.kwargs["message"]
    assert (reply.id, reply.question, reply.answer) == (query.id, query.question, [])
    transport.close()


async def test_query_of_another_class_for_a_served_name_is_not_forwarded() -> None:
    udp, tcp = resolver.bind(HOST, 0)
    port = tcp.getsockname()[1]
    udp.close()
    tcp.close()
    async with running((HOST, port)) as front:
        reply = await front.ask("demo.vault.azure.net", rdclass="CH")
        assert reply.rcode() == dns.rcode.REFUSED, "the other server would be unreachable"
