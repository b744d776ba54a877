"""The DNS server of the cluster: it answers for Services and their endpoints, and forwards all other queries.

Source: Kubernetes DNS-Based Service Discovery, 1.1.0.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import islice
from pathlib import Path
from typing import Any

from kubeling.kubelet.node_network import DNS_ADDRESS, NodeNetwork
from kubeling.kubelet.relay import Shares, client_address
from kubeling.kubelet.service_network import Endpoint, ServiceNetwork
from kubeling.tasks import cancel_all

_log = logging.getLogger(__name__)

DOMAIN = "cluster.local"
RESOLV_CONF = Path("/etc/resolv.conf")
_PORT = 53
_SECONDS = 4.0
_MAX_UDP, _MAX_TCP = 512, 65535
_MAX_QUERIES, _MAX_FORWARDED, _MAX_STREAMS, _MAX_RECORDS = 512, 256, 256, 1000
_A, _CNAME, _PTR, _AAAA, _SRV, _IXFR, _AXFR, _ANY = 1, 5, 12, 28, 33, 251, 252, 255
_TTL = 5
_NO_ERROR, _SERVER_FAILURE, _NAME_ERROR, _NOT_IMPLEMENTED, _REFUSED = 0, 2, 3, 4, 5
_RESPONSE, _AUTHORITATIVE, _TRUNCATED, _RECURSION = 0x8000, 0x0400, 0x0200, 0x0080
_OPCODE = 0x7800


@dataclass(frozen=True, slots=True)
class Record:
    """A resource record."""

    name: str
    kind: int
    data: bytes
    target: str = ""


class ClusterDns:
    """Answers the queries of pods from the Services of the cluster."""

    def __init__(self, services: ServiceNetwork, resolv_conf: Path = RESOLV_CONF) -> None:
        self._services, self.resolv_conf = services, resolv_conf
        self._queries: set[asyncio.Task[None]] = set()
        self._query_shares, self._stream_shares = Shares(_MAX_QUERIES), Shares(_MAX_STREAMS)
        # Fewer than all queries, so that a client without a response to them still resolves Services.
        self._forward_shares = Shares(_MAX_FORWARDED)

    @contextlib.asynccontextmanager
    async def serving(self, node: NodeNetwork) -> AsyncIterator[None]:
        """Serve UDP and TCP in the network of the node until the context ends."""
        loop, bind = asyncio.get_running_loop(), (DNS_ADDRESS, _PORT)
        udp, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self), sock=node.open_socket(bind=bind, kind="udp")
        )
        tcp = await asyncio.start_server(self._serve_stream, sock=node.open_socket(bind=bind))
        try:
            yield
        finally:
            udp.close()
            tcp.close()
            await cancel_all(self._queries)

    def start_query(self, query: bytes, transport: asyncio.DatagramTransport, peer: Any) -> None:
        """Answer a query by UDP."""

        async def answer() -> None:
            with self._query_shares.hold(peer[0]) as has_share:
                # Without a share there is no response, and the client tries again.
                if has_share and (response := await self.answer(query, peer[0])) is not None:
                    transport.sendto(response, peer)

        task = asyncio.create_task(answer())
        self._queries.add(task)
        task.add_done_callback(self._queries.discard)

    async def _serve_stream(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        source = client_address(writer)
        with (
            contextlib.closing(writer),
            self._stream_shares.hold(source) as has_share,
            contextlib.suppress(OSError, EOFError, TimeoutError),
        ):
            async with asyncio.timeout(_SECONDS * 4):
                while has_share:
                    async with asyncio.timeout(_SECONDS):
                        size = int.from_bytes(await reader.readexactly(2), "big")
                        query = await reader.readexactly(size)
                    if (response := await self.answer(query, source, by_tcp=True)) is None:
                        return
                    writer.write(len(response).to_bytes(2, "big") + response)
                    await writer.drain()

    async def answer(
        self, query: bytes, source: str, *, by_tcp: bool = False, depth: int = 4
    ) -> bytes | None:
        """Return the response to a query of a source, with the targets of up to `depth` aliases.

        The response is None if the query is malformed.
        """
        try:
            question = Question.parse(query)
        except (ValueError, IndexError, struct.error):
            return None
        if code := _refusal(question):
            return question.respond([], code)
        found = self._find(question)
        if found is not None:
            records, exists = found
            for target in [each.target for each in records if each.kind == _CNAME]:
                # A client sends no second query: it expects the addresses in the same response.
                query = question.about(target)
                response = (
                    await self.answer(query, source, by_tcp=by_tcp, depth=depth - 1)
                    if depth
                    else None
                )
                records = [*records, *_read_addresses(response or b"", target)]
            code = _NO_ERROR if exists else _NAME_ERROR
            return question.respond(records, code, limit=_MAX_TCP if by_tcp else _MAX_UDP)
        with self._forward_shares.hold(source) as has_share:
            response = await self._forward(query, by_tcp=by_tcp) if has_share else None
        return response or question.respond([], _SERVER_FAILURE)

    def _find(self, question: "Question") -> tuple[list[Record], bool] | None:
        """Return the records for a question, and whether the name exists; None for a name to forward."""
        name = question.name.lower()
        if name.endswith(".in-addr.arpa"):
            records = [*self._reverse(name)]
            return (records, True) if records else None
        if name != DOMAIN and not name.endswith(f".{DOMAIN}"):
            return None
        labels = name.removesuffix(DOMAIN).rstrip(".").split(".")
        found = self._lookup(question.name, labels)
        if found is None:
            return [], False
        kinds = (question.kind, _CNAME, *((_A,) if question.kind == _ANY else ()))
        return [each for each in found if each.kind in kinds], True

    def _lookup(self, name: str, labels: Sequence[str]) -> list[Record] | None:
        """Return all records of a name below the domain of the cluster; None if it does not exist."""
        match labels:
            case [host, _namespace, "pod"]:
                return _dashed_address(name, host)
            case ["svc"] | [_, "svc"]:
                return []
            case [service, namespace, "svc"]:
                return self._service(name, (namespace, service))
            case [port, protocol, service, namespace, "svc"] if port.startswith("_"):
                return self._ports(name, (namespace, service), port[1:], protocol[1:].upper())
            case [host, service, namespace, "svc"]:
                addresses = [
                    each.address
                    for each in self._published((namespace, service))
                    if host in _host_names(each)
                ]
                return _addresses(name, addresses) or None
        return None

    def _service(self, name: str, key: tuple[str, str]) -> list[Record] | None:
        service = self._services.service(key)
        if service is None:
            return None
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            target = (spec.get("externalName") or "").rstrip(".")
            return [Record(name, _CNAME, _pack_name(target), target)]
        if spec.get("clusterIP") == "None":
            return _addresses(name, (each.address for each in self._published(key)))
        return _addresses(name, [spec["clusterIP"]] if spec.get("clusterIP") else [])

    def _published(self, key: tuple[str, str], port_name: str | None = None) -> Iterator[Endpoint]:
        """Yield the endpoints that have names: the ready ones, or all with `publishNotReadyAddresses`."""
        spec = (self._services.service(key) or {}).get("spec") or {}
        every = spec.get("publishNotReadyAddresses")
        return (each for each in self._services.endpoints(key, port_name) if every or each.ready)

    def _ports(
        self, name: str, key: tuple[str, str], port_name: str, protocol: str
    ) -> list[Record] | None:
        service = self._services.service(key)
        host = f"{key[1]}.{key[0]}.svc.{DOMAIN}"
        for port in (service or {}).get("spec", {}).get("ports") or ():
            if (port.get("name"), port.get("protocol", "TCP")) != (port_name, protocol):
                continue
            targets = [(int(port["port"]), host)]
            if service and service["spec"].get("clusterIP") == "None":
                targets = [
                    (each.port, f"{_host_names(each)[0]}.{host}")
                    for each in islice(self._published(key, port_name), _MAX_RECORDS)
                ]
            return [
                Record(name, _SRV, struct.pack("!HHH", 0, 100, number) + _pack_name(target))
                for number, target in targets
            ]
        return None

    def _reverse(self, name: str) -> Iterator[Record]:
        address = ".".join(reversed(name.removesuffix(".in-addr.arpa").split(".")))
        for (namespace, service), found in self._services.services():
            host = f"{service}.{namespace}.svc.{DOMAIN}"
            if found["spec"].get("clusterIP") == address:
                yield Record(name, _PTR, _pack_name(host))
            elif found["spec"].get("clusterIP") == "None":
                for each in self._published((namespace, service)):
                    if each.address == address:
                        yield Record(name, _PTR, _pack_name(f"{_host_names(each)[0]}.{host}"))
                        break

    async def _forward(self, query: bytes, *, by_tcp: bool) -> bytes | None:
        """Return the response of a name server of the machine; None if none responds."""
        for server in read_resolv_conf(self.resolv_conf).get("nameserver", ()):
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(_SECONDS / 2):
                    return await (_ask_by_tcp if by_tcp else _ask)(server, query)
        return None


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, dns: ClusterDns) -> None:
        self._dns = dns
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._dns.start_query(data, self._transport, addr)


async def _ask(server: str, query: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (server, _PORT))
        await loop.sock_sendall(sock, query)
        while True:
            response = await loop.sock_recv(sock, 65535)
            if response[:2] == query[:2]:
                return response


async def _ask_by_tcp(server: str, query: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(server, _PORT)
    try:
        writer.write(len(query).to_bytes(2, "big") + query)
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    finally:
        writer.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The question of a query."""

    id: int
    flags: int
    name: str
    kind: int
    raw: bytes

    @classmethod
    def parse(cls, query: bytes) -> "Question":
        """Parse a query with one question.

        Raises:
            ValueError, IndexError, struct.error: the query is malformed.
        """
        number, flags, questions = struct.unpack_from("!HHH", query)
        if flags & _RESPONSE or questions != 1:
            raise ValueError("not a query with one question")
        labels, at = [], 12
        while size := query[at]:
            if size > 63:
                raise ValueError("a compressed name in a question")
            labels.append(query[at + 1 : at + 1 + size].decode("ascii"))
            at += 1 + size
        kind, _ = struct.unpack_from("!HH", query, at + 1)
        raw = query[12 : at + 5]
        return cls(id=number, flags=flags, name=".".join(labels), kind=kind, raw=raw)

    def about(self, name: str) -> bytes:
        """Return a query of the same kind about another name."""
        header = struct.pack("!HHHHHH", self.id, 0x0100, 1, 0, 0, 0)
        return header + _pack_name(name) + struct.pack("!HH", self.kind, 1)

    def respond(self, records: Sequence[Record], code: int, limit: int = _MAX_TCP) -> bytes:
        """Build a response; one that is longer than `limit` bytes is truncated."""
        packed, size = [], 12 + len(self.raw)
        for each in map(_pack_record, records):
            size += len(each)
            if size > limit:
                code |= _TRUNCATED
                break
            packed.append(each)
        flags = _RESPONSE | _AUTHORITATIVE | _RECURSION | (self.flags & (_OPCODE | 0x0100)) | code
        header = struct.pack("!HHHHHH", self.id, flags, 1, len(packed), 0, 0)
        return header + self.raw + b"".join(packed)


def _pack_record(record: Record) -> bytes:
    header = struct.pack("!HHIH", record.kind, 1, _TTL, len(record.data))
    return _pack_name(record.name) + header + record.data


def _pack_name(name: str) -> bytes:
    labels = [each.encode("ascii", "replace")[:63] for each in name.split(".") if each]
    return b"".join(bytes([len(each)]) + each for each in labels) + b"\0"


def _read_addresses(response: bytes, name: str) -> Iterator[Record]:
    """Yield the addresses in a response as records of a name."""
    with contextlib.suppress(IndexError, struct.error):
        questions, answers = struct.unpack_from("!4xHH", response.ljust(8, b"\0"))
        at = 12
        for _ in range(questions):
            at = _skip_name(response, at) + 4
        for _ in range(answers):
            at = _skip_name(response, at)
            kind, _, _, size = struct.unpack_from("!HHIH", response, at)
            if kind in (_A, _AAAA):
                yield Record(name, kind, response[at + 10 : at + 10 + size])
            at += 10 + size


def _skip_name(message: bytes, at: int) -> int:
    """Return the position after a name, which may end with a compression pointer."""
    while size := message[at]:
        if size >= 0xC0:
            return at + 2
        at += 1 + size
    return at + 1


def _refusal(question: Question) -> int:
    """Return the code for a query that this server neither answers nor forwards; zero for others."""
    if question.flags & _OPCODE:
        return _NOT_IMPLEMENTED
    return _REFUSED if question.kind in (_IXFR, _AXFR) else _NO_ERROR


def _addresses(name: str, addresses: Iterable[str]) -> list[Record]:
    records = []
    for each in islice(dict.fromkeys(addresses), _MAX_RECORDS):
        with contextlib.suppress(ValueError):  # an IPv6 address, or one of an invalid object
            records.append(Record(name, _A, IPv4Address(each).packed))
    return records


def _dashed_address(name: str, host: str) -> list[Record] | None:
    try:
        return _addresses(name, [str(IPv4Address(host.replace("-", ".")))])
    except ValueError:
        return None


def _host_names(endpoint: Endpoint) -> list[str]:
    dashed = endpoint.address.replace(".", "-")
    return [endpoint.hostname, dashed] if endpoint.hostname else [dashed]


def read_resolv_conf(path: Path = RESOLV_CONF) -> dict[str, list[str]]:
    """Return the values of each keyword in a resolv.conf; the last `search` replaces earlier ones."""
    found: dict[str, list[str]] = {}
    with contextlib.suppress(OSError):
        for line in path.read_text("utf-8", "replace").splitlines():
            keyword, *values = line.split("#")[0].split() or [""]
            if keyword == "search":
                found["search"] = values
            elif keyword:
                found.setdefault(keyword, []).extend(values)
    return found


def pod_resolv_conf(pod: Mapping[str, Any], system: Mapping[str, Sequence[str]]) -> str:
    """Return the resolv.conf of a pod, by its dnsPolicy and dnsConfig.

    Args:
        system: the resolv.conf of the machine. A pod cannot reach the name servers of the machine; the DNS
            server of the cluster forwards queries to them.
    """
    spec, namespace = pod["spec"], pod["metadata"]["namespace"]
    policy, config = spec.get("dnsPolicy") or "ClusterFirst", spec.get("dnsConfig") or {}
    servers, searches, options = [DNS_ADDRESS], [*system.get("search", ())], {}
    if policy == "None":
        servers, searches = [], []
    elif policy == "ClusterFirst":
        own = [f"{namespace}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN]
        searches, options = [*own, *searches], {"ndots": "5"}
    servers = [*dict.fromkeys([*servers, *(config.get("nameservers") or ())])]
    searches = [*dict.fromkeys([*searches, *(config.get("searches") or ())])]
    options |= {each["name"]: each.get("value") for each in config.get("options") or ()}
    words = [name if value is None else f"{name}:{value}" for name, value in options.items()]
    lines = [f"nameserver {each}" for each in servers]
    lines += [f"search {' '.join(searches)}"] if searches else []
    lines += [f"options {' '.join(words)}"] if words else []
    return "".join(f"{line}\n" for line in lines)
