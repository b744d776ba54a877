"""A program that holds the network of a node, and opens sockets in it for the kubelet.

The kubelet's user needs no privilege: the program creates a user namespace if it may not create a network
namespace. A kubelet has several threads, and so cannot enter a user namespace itself. The program ends when
the kubelet does, however it ends, and all interfaces, routes and rules end with it. It imports only the
standard library.

    host (kubelet) --- sockets --- node namespace --- veth --- namespace of a pod
                                   10.96.0.0/16               127.64.x.y

All addresses of Services are local in the namespace of the node, where the kubelet listens on them. There is
no route to the host: connections of pods to other addresses are redirected to a socket of the kubelet.
"""

import array
import ctypes
import os
import socket
import struct
from collections.abc import Iterator, Sequence

_NEWUSER, _NEWNET = 0x10000000, 0x40000000
# The loopback addresses that are local in each pod: all except the network of pods, 127.64.0.0/10.
_LOCAL = (("127.0.0.1", 10), ("127.128.0.0", 9))
_PODS, _SERVICES, _ALL = ("127.64.0.0", 10), ("10.96.0.0", 16), ("0.0.0.0", 0)  # noqa: S104 a route
# The gateway of pods, and the socket for connections that leave the cluster. No Service gets these addresses.
_GATEWAY, _EGRESS = "10.96.0.2", ("10.96.0.3", 1)
_REQUEST, _ACK, _REPLACE, _EXCLUSIVE, _CREATE, _APPEND = 0x1, 0x4, 0x100, 0x200, 0x400, 0x800
_NEWLINK, _NEWADDR, _DELADDR, _NEWROUTE = 16, 20, 21, 24
_UP, _NESTED = 1, 0x8000
_LOOPBACK_INDEX, _POD_INDEX, _FIRST_INDEX = 1, 2, 10
_FORWARDING, _RP_FILTER, _ROUTE_LOCALNET = 1, 8, 26
_MAIN, _LOCAL_TABLE = 254, 255
_MAX_MESSAGE = 64 * 1024


def main(descriptor: int) -> None:
    """Create the namespace of the node, then execute the requests of the kubelet until it ends."""
    try:
        _serve(socket.socket(fileno=descriptor))
    except ConnectionError:
        return  # the kubelet has ended before it has read a reply, as at a failed start


def _serve(control: socket.socket) -> None:
    try:
        node = NodeNamespace()
    except OSError as exc:
        _reply(control, f"{exc.errno} {exc.strerror}")
        return
    user = os.open("/proc/self/ns/user", os.O_RDONLY) if node.has_user_namespace else -1
    ready = "egress" if node.has_egress else "no egress"
    _reply(control, f"0 {ready}", [user] if node.has_user_namespace else [])
    while True:
        message, given = _receive(control)
        if not message:
            return
        try:
            opened = node.execute(*message.decode().split(), given=given)
        except OSError as exc:
            _reply(control, f"{exc.errno} {exc.strerror}")
        else:
            _reply(control, "0 ", [opened])
            os.close(opened)
        for each in given:
            os.close(each)


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    data, ancillary, _, _ = control.recvmsg(_MAX_MESSAGE, socket.CMSG_SPACE(4))
    given = array.array("i")
    for _, _, content in ancillary:
        given.frombytes(content[: len(content) - len(content) % given.itemsize])
    return data, list(given)


def _reply(control: socket.socket, message: str, opened: Sequence[int] = ()) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", opened))] if opened else []
    control.sendmsg([message.encode()], rights)


class NodeNamespace:
    """The network namespace of the node, in which this process runs."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.has_user_namespace = self._create()
        self._own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._next_index = _FIRST_INDEX
        self._netlink = Netlink()
        _start_loopback(self._netlink, (_GATEWAY,))
        self._netlink.add_route(*_SERVICES, _LOOPBACK_INDEX, local=True)
        # Create a pod as a test: a namespace without interfaces of pods is useless.
        os.close(self._create_pod("127.64.0.1", (), egress=False))
        self.has_egress = self._redirect_egress()

    def _create(self) -> bool:
        """Create the namespaces; return whether there is a user namespace."""
        if self._libc.unshare(_NEWNET) == 0:
            return False
        uid, gid = os.geteuid(), os.getegid()
        self._check(self._libc.unshare(_NEWUSER | _NEWNET))
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123 pathlib costs time to start
                file.write(text)
        return True

    def execute(self, what: str, *words: str, given: Sequence[int]) -> int:
        """Execute a request of the kubelet; return a descriptor for it."""
        if what == "create_pod":
            address, egress, *local = words
            return self._create_pod(address, local, egress=egress == "egress")
        kind, *bind = words
        if not given:
            return self._open(kind, *bind)
        self._check(self._libc.setns(given[0], _NEWNET))
        try:
            return self._open(kind, *bind)
        finally:
            self._check(self._libc.setns(self._own, _NEWNET))

    def _create_pod(self, address: str, local: Sequence[str], *, egress: bool) -> int:
        """Create the namespace of a pod, with an interface whose other end is in that of the node."""
        index, self._next_index = self._next_index, self._next_index + 1
        self._check(self._libc.unshare(_NEWNET))
        try:
            pod = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            netlink = Netlink()
        finally:
            self._check(self._libc.setns(self._own, _NEWNET))
        try:
            self._netlink.add_interface(index, pod)
            # Strict: otherwise a container with NET_ADMIN could send from the address of another pod.
            self._netlink.start(index, (_FORWARDING, _RP_FILTER, _ROUTE_LOCALNET))
            self._netlink.add_route(address, 32, index)
            _start_loopback(netlink, local)
            netlink.add_address(address, 32, _POD_INDEX)
            netlink.start(_POD_INDEX, (_ROUTE_LOCALNET,))
            for network in (_PODS, _SERVICES, *([_ALL] if egress else [])):
                netlink.add_route(*network, _POD_INDEX, gateway=_GATEWAY)
        except BaseException:
            os.close(pod)
            raise
        finally:
            netlink.close()
        return pod

    def _open(self, kind: str, address: str = "", port: str = "0") -> int:
        """Open a socket; with an address, a TCP socket listens."""
        with socket.socket(
            socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
        ) as sock:
            if address:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((address, int(port)))
                if kind == "tcp":
                    sock.listen(128)
            return sock.detach()

    def _redirect_egress(self) -> bool:
        """Redirect connections to other addresses to a socket; return whether the kernel can do so."""
        try:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as sock:
                _send(sock, _egress_rules(), 3)
        except OSError:
            return False
        return True

    def _check(self, result: int) -> None:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def _start_loopback(netlink: "Netlink", more: Sequence[str]) -> None:
    netlink.start(_LOOPBACK_INDEX, ())
    netlink.delete_address("127.0.0.1", 8, _LOOPBACK_INDEX)
    netlink.add_address(*_LOCAL[0], _LOOPBACK_INDEX)
    netlink.add_route(*_LOCAL[1], _LOOPBACK_INDEX, local=True)
    for address in more:
        netlink.add_address(address, 32, _LOOPBACK_INDEX)


class Netlink:
    """Changes the interfaces, addresses and routes of the network namespace in which it was created."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def add_interface(self, index: int, pod: int) -> None:
        """Add a pair of interfaces; its second interface is `eth0` in the namespace of a pod."""
        names = _attribute(3, b"eth0\0"), _attribute(28, struct.pack("=I", pod))
        peer = _attribute(1, _interface(_POD_INDEX) + b"".join(names))
        kind = _attribute(1, b"veth\0") + _attribute(2 | _NESTED, peer)
        body = _attribute(3, f"veth{index}\0".encode()) + _attribute(18 | _NESTED, kind)
        self._request(_NEWLINK, _interface(index) + body, _CREATE | _EXCLUSIVE)

    def start(self, index: int, settings: Sequence[int]) -> None:
        """Set an interface up, and enable settings of IPv4."""
        values = b"".join(_attribute(each, struct.pack("=I", 1)) for each in settings)
        conf = _attribute(socket.AF_INET | _NESTED, _attribute(1 | _NESTED, values))
        body = _attribute(26 | _NESTED, conf) if settings else b""
        self._request(_NEWLINK, _interface(index, _UP) + body)

    def add_address(self, address: str, prefix: int, index: int) -> None:
        """Give an interface an address."""
        self._request(_NEWADDR, _address(address, prefix, index), _CREATE | _EXCLUSIVE)

    def delete_address(self, address: str, prefix: int, index: int) -> None:
        """Delete an address of an interface."""
        self._request(_DELADDR, _address(address, prefix, index))

    def add_route(
        self, network: str, prefix: int, index: int, *, gateway: str = "", local: bool = False
    ) -> None:
        """Add a route: to a gateway, to the interface itself, or to this namespace."""
        table, scope, kind = (_LOCAL_TABLE, 254, 2) if local else (_MAIN, 0 if gateway else 253, 1)
        on_link = 4 if gateway else 0
        body = struct.pack(
            "=BBBBBBBBI", socket.AF_INET, prefix, 0, 0, table, 3, scope, kind, on_link
        )
        body += _attribute(4, struct.pack("=I", index))
        if prefix:
            body += _attribute(1, socket.inet_aton(network))
        if gateway:
            body += _attribute(5, socket.inet_aton(gateway))
        # The route to an earlier pod of this address disappears some time after its namespace.
        self._request(_NEWROUTE, body, _CREATE | _REPLACE)

    def _request(self, kind: int, body: bytes, flags: int = 0) -> None:
        _send(self._socket, _message(kind, body, flags | _ACK), 1)


def _send(sock: socket.socket, message: bytes, answers: int) -> None:
    """Send requests to the kernel, and wait for its responses."""
    sock.send(message)
    while answers:
        data = sock.recv(_MAX_MESSAGE)
        while data:
            size, _, _, _, _, result = struct.unpack_from("=IHHIIi", data)
            if result:
                raise OSError(-result, os.strerror(-result))
            answers -= 1
            data = data[(size + 3) & ~3 :]


def _message(kind: int, body: bytes, flags: int) -> bytes:
    padding = -len(body) % 4 * b"\0"
    return struct.pack("=IHHII", 16 + len(body), kind, flags | _REQUEST, 1, 0) + body + padding


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + -len(value) % 4 * b"\0"


def _interface(index: int, flags: int = 0) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, flags, flags)


def _address(address: str, prefix: int, index: int) -> bytes:
    packed = socket.inet_aton(address)
    # The kernel sends ARP requests only from an address whose scope is not `host`.
    scope = 254 if address == "127.0.0.1" else 0
    header = struct.pack("=BBBBI", socket.AF_INET, prefix, 0, scope, index)
    return header + _attribute(2, packed) + _attribute(1, packed)


def _egress_rules() -> bytes:
    """Return a table of nftables that redirects TCP to all addresses outside the cluster."""
    address, port = _EGRESS
    table, chain = _attribute(1, b"cluster\0"), b"egress\0"
    hook = _attribute(1, struct.pack("!I", 0)) + _attribute(2, struct.pack("!i", -100))
    expressions = (
        *_unless(b"\x7f"),
        *_unless(socket.inet_aton(_SERVICES[0])[:2]),
        _expression("meta", (1, 1), (2, 16)),
        _expression("cmp", (1, 1), (2, 0), (3, _attribute(1, bytes([socket.IPPROTO_TCP])))),
        _expression("immediate", (1, 1), (2, _attribute(1, socket.inet_aton(address)))),
        _expression("immediate", (1, 2), (2, _attribute(1, struct.pack("!H", port)))),
        _expression("nat", (1, 1), (2, socket.AF_INET), (3, 1), (5, 2)),
    )
    rule = table + _attribute(2, chain) + _attribute(4 | _NESTED, b"".join(expressions))
    base = _attribute(3, chain) + _attribute(4 | _NESTED, hook) + _attribute(7, b"nat\0")
    create = _CREATE | _ACK
    return b"".join(
        (
            _message(0x10, struct.pack("!BBH", 0, 0, 10), 0),
            _message(0xA00, _family() + table, create),
            _message(0xA03, _family() + table + base, create),
            _message(0xA06, _family() + rule, create | _APPEND),
            _message(0x11, struct.pack("!BBH", 0, 0, 10), 0),
        )
    )


def _family() -> bytes:
    return struct.pack("!BBH", socket.AF_INET, 0, 0)


def _unless(prefix: bytes) -> Iterator[bytes]:
    """Yield expressions that end the rule for destinations that begin with these bytes."""
    yield _expression("payload", (1, 1), (2, 1), (3, 16), (4, len(prefix)))
    yield _expression("cmp", (1, 1), (2, 1), (3, _attribute(1, prefix)))


def _expression(name: str, *values: tuple[int, int | bytes]) -> bytes:
    """Return an expression of nftables; a number is a 32-bit attribute, bytes are a nested one."""
    data = b"".join(
        _attribute(kind, struct.pack("!I", value))
        if isinstance(value, int)
        else _attribute(kind | _NESTED, value)
        for kind, value in values
    )
    body = _attribute(1, name.encode() + b"\0") + _attribute(2 | _NESTED, data)
    return _attribute(1 | _NESTED, body)
