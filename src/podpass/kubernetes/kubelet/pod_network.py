"""A network namespace for a pod whose containers may change the network, for example with iptables.

Other pods share the network of the machine, where such a change would affect every program. In the namespace
there is a loopback interface and nothing else: the machine needs no interface, no route and no rule, and
nothing remains when the last process ends. The kubelet relays connections in both directions: to addresses of
the machine that its configuration lists, and to the ports that the containers declare.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import logging
import os
import shutil
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

from podpass.kubernetes.kubelet.port_conflict import declared_ports
from podpass.kubernetes.kubelet.sandbox import ProcessSpec

_log = logging.getLogger(__name__)

Address = tuple[str, int]
Result = TypeVar("Result")

_NEWNET = 0x40000000
_SET_FLAGS, _SET_ADDRESS, _SET_NETMASK = 0x8914, 0x8916, 0x891C
_UP_AND_RUNNING = 0x41
_LOOPBACK = "127.0.0.1"
_CHUNK = 64 * 1024
_MAX_CONNECTIONS = 256
_CAPABILITIES = frozenset({"NET_ADMIN", "ALL"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PodNetworkConfig:
    """The network of pods that have their own.

    Shapes:  a connection in the pod to a key of `outbound` is relayed to its value, a listening socket of the
             machine; packets to `addresses` stay in the pod, where a rule can redirect them; `hint` says what
             to do where no namespace can be created.
    """

    outbound: Mapping[Address, Address] = field(default_factory=dict)
    addresses: Sequence[str] = ()
    hint: str = ""


def needs_own_network(pod: Mapping[str, Any]) -> bool:
    """Return whether a container of a pod may change the network of the pod."""
    spec = pod["spec"]
    containers = (*(spec.get("initContainers") or []), *spec["containers"])
    return not spec.get("hostNetwork") and any(map(changes_network, containers))


def changes_network(container: Mapping[str, Any]) -> bool:
    """Return whether a container is privileged or may change the network by a capability."""
    context = container.get("securityContext") or {}
    if context.get("privileged"):
        return True
    added = (context.get("capabilities") or {}).get("add") or ()
    return not _CAPABILITIES.isdisjoint(name.upper().removeprefix("CAP_") for name in added)


async def find_nsenter(path: str) -> str | None:
    """Return the program that enters a network namespace; None if this process may not create one.

    Shapes:  an absolute path: the PATH of a pod must not choose a program that runs outside its sandbox.
    """
    program = shutil.which("nsenter", path=path)
    if program is None:
        return None
    try:
        os.close(await _run_in_thread(_create_namespace, ()))
    except (OSError, AttributeError):
        return None
    return os.path.abspath(program)  # noqa: PTH100 a link must stay one


class PodNetwork:
    """The network namespace of one pod; the processes of the pod keep it after `close`."""

    def __init__(self, namespace: int, nsenter: str) -> None:
        self._namespace, self._nsenter = namespace, nsenter
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(
        cls, config: PodNetworkConfig, nsenter: str, pod: Mapping[str, Any], address: str
    ) -> Self:
        """Create the network of a pod; its declared ports are relayed from `address`.

        Errors:  OSError.
        """
        network = cls(await _run_in_thread(_create_namespace, config.addresses), nsenter)
        try:
            for address_in_pod, target in config.outbound.items():
                await network._relay_out(address_in_pod, target)
            spec = pod["spec"]
            for container in (*(spec.get("initContainers") or []), *spec["containers"]):
                for port in declared_ports(container):
                    await network._relay_in(address, port)
        except BaseException:
            await network.close()
            raise
        return network

    async def close(self) -> None:
        """Stop the relays, and release the namespace."""
        for server in self._servers:
            server.close()
        for connection in tuple(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        os.close(self._namespace)

    def wrap(self, spec: ProcessSpec) -> ProcessSpec:
        """Return the process with a command line that enters the namespace first."""
        # The path contains the ID of this process, because the child does not inherit the descriptor.
        option = f"--net=/proc/{os.getpid()}/fd/{self._namespace}"
        return replace(spec, argv=[self._nsenter, option, "--", *spec.argv])

    async def connect(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to an address of the pod.

        Errors:  OSError.
        """
        sock = await _run_in_thread(_open_socket, self._namespace)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
        except BaseException:
            sock.close()
            raise
        return await asyncio.open_connection(sock=sock)

    async def _relay_out(self, address: Address, target: Address) -> None:
        sock = await _run_in_thread(_listen, self._namespace, *address)
        await self._serve(sock, lambda: asyncio.open_connection(*target))

    async def _relay_in(self, address: str, port: int) -> None:
        sock = socket.socket()
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, port))
            await self._serve(sock, lambda: self.connect(address, port))
        except OSError as exc:
            # The port is in use, or needs a privilege. The pod itself works without it.
            sock.close()
            _log.warning("pod_port_unavailable", extra={"port": port, "cause": exc.strerror})

    async def _serve(self, sock: socket.socket, connect: "_Connect") -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(self._connections) >= _MAX_CONNECTIONS:
                writer.transport.abort()
                return
            task = asyncio.current_task()
            assert task is not None
            self._connections.add(task)
            try:
                await _relay((reader, writer), connect)
            finally:
                self._connections.discard(task)

        sock.setblocking(False)
        self._servers.append(await asyncio.start_server(handle, sock=sock, limit=_CHUNK))


_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_Connect = Callable[[], Any]


async def _relay(client: _Stream, connect: _Connect) -> None:
    """Pass data between a client and the address that `connect` opens, until one of them closes."""
    writers = [client[1]]
    try:
        with contextlib.suppress(OSError):
            remote = await connect()
            writers.append(remote[1])
            await asyncio.gather(_copy(client[0], remote[1]), _copy(remote[0], client[1]))
    finally:
        for writer in writers:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _run_in_thread(function: Callable[..., Result], *arguments: Any) -> Result:
    """Run a function in a thread that ends with it, because it changes the namespace of its thread."""
    with ThreadPoolExecutor(1) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)


def _create_namespace(addresses: Sequence[str]) -> int:
    """Create a namespace with a loopback interface; return its descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(_NEWNET))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for request in _loopback_requests(addresses):
            fcntl.ioctl(control, *request)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _loopback_requests(addresses: Sequence[str]) -> Iterator[tuple[int, bytes]]:
    """Yield the requests that start the loopback interface, and give it more addresses."""
    yield _SET_FLAGS, struct.pack("16sH22x", b"lo", _UP_AND_RUNNING)
    for number, address in enumerate(addresses):
        name = f"lo:{number}".encode()
        for request, value in ((_SET_ADDRESS, address), (_SET_NETMASK, "255.255.255.255")):
            packed = socket.inet_aton(value)
            yield request, struct.pack("16sH2x4s16x", name, socket.AF_INET, packed)


def _enter(namespace: int) -> None:
    _check(ctypes.CDLL(None, use_errno=True).setns(namespace, _NEWNET))


def _open_socket(namespace: int) -> socket.socket:
    _enter(namespace)
    sock = socket.socket()
    sock.setblocking(False)
    return sock


def _listen(namespace: int, host: str, port: int) -> socket.socket:
    sock = _open_socket(namespace)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    return sock


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
