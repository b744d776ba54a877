"""The network of a node: the kubelet's side of `network_holder`.

All sockets belong to the kubelet. The other program opens them in the namespace of the node or of a pod, and
sends the descriptors to the kubelet.
"""

import asyncio
import ipaddress
import os
import resource
import shutil
import socket
import struct
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kubeling.errors import Error
from kubeling.kubelet.relay import Relay, Stream

DNS_ADDRESS = "10.96.0.10"
SHARED_ADDRESS = "10.96.0.4"
"""The address at which pods reach a socket of the machine, see `NodeNetwork.share`."""
# A module is compiled once; a program that Python runs by its path is compiled at each start.
_START = "import sys; sys.path.append(sys.argv[1]); __import__(sys.argv[2]).main(int(sys.argv[3]))"
_HOLDER = Path(__file__).with_name("network_holder.py")
_SECONDS = 10.0
_MAX_MESSAGE = 1024
_MAX_EGRESS = 1024
_MAX_FILES = 65536
_ORIGINAL_DST = 80
_EGRESS = ("10.96.0.3", 1)
# Addresses that `network_holder` and the kubelet use.
_RESERVED = ("10.96.0.2", _EGRESS[0], SHARED_ADDRESS, DNS_ADDRESS)
_SERVICES = ipaddress.ip_network("10.96.0.0/16")
_SYSCTLS: Mapping[str, tuple[str, str]] = {
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
    "kernel.unprivileged_userns_clone": ("0", "1"),
    "user.max_user_namespaces": ("0", "10000"),
    "user.max_net_namespaces": ("0", "10000"),
}


class NetworkUnavailable(Error):
    """This machine does not permit networks of pods."""

    code = "pod_networks_unavailable"


class NodeNetwork:
    """The namespace of the node. Open it with `open`."""

    def __init__(
        self, process: asyncio.subprocess.Process, control: socket.socket, nsenter: str
    ) -> None:
        self._process, self._control, self._nsenter = process, control, nsenter
        self._lock = threading.Lock()
        self._relay = Relay(_MAX_EGRESS)
        self._user_namespace: int | None = None
        self.has_egress = False
        # Return whether the pod with an address may connect to addresses outside the cluster.
        self.may_leave: Callable[[str], bool] = lambda _address: False

    @classmethod
    async def open(cls, path: str) -> "NodeNetwork":
        """Create the network; its programs are searched on `path`. Raises NetworkUnavailable."""
        # An absolute path: the PATH of a pod must not choose a program that runs outside its sandbox.
        nsenter = shutil.which("nsenter", path=path)
        if sys.platform != "linux" or nsenter is None:
            raise NetworkUnavailable(
                "cannot create networks of pods: the program nsenter is not on PATH",
                hint="install util-linux",
            )
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _START, str(_HOLDER.parent), _HOLDER.stem),
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={},
                # Ctrl-C in a terminal must not end it before the pods.
                start_new_session=True,
            )
        ours.settimeout(_SECONDS)
        network = cls(process, ours, os.path.abspath(nsenter))  # noqa: PTH100 a link must stay one
        try:
            await asyncio.to_thread(network._start)
        except OSError as exc:
            await network.close()
            raise NetworkUnavailable(
                f"cannot create networks of pods: {exc.strerror or exc}", hint=find_hint()
            ) from exc
        _raise_file_limit()
        if network.has_egress:
            await network._relay.serve(network.open_socket(bind=_EGRESS), network._connect_outside)
        return network

    async def close(self) -> None:
        """End the program; the kernel removes the network with the last process in it."""
        await self._relay.close()
        self._control.close()
        await self._process.wait()
        if self._user_namespace is not None:
            os.close(self._user_namespace)

    @property
    def pid(self) -> int:
        """Return the process that holds the network."""
        return self._process.pid

    @property
    def is_privileged(self) -> bool:
        """Return whether a container with the capability NET_ADMIN can change the network of its pod."""
        return self._user_namespace is None

    async def create_pod(
        self, address: str, local: Sequence[str] = (), *, egress: bool = True
    ) -> int:
        """Create the namespace of a pod; return a descriptor, which keeps the namespace alive.

        Packets to addresses in `local` do not leave the namespace. With `egress`, the pod has a route to
        addresses outside the cluster. Raises OSError.
        """
        kind = "egress" if egress else "cluster"
        return await asyncio.to_thread(self._request, ["create_pod", address, kind, *local])

    def open_socket(
        self, namespace: int | None = None, bind: tuple[str, int] | None = None, kind: str = "tcp"
    ) -> socket.socket:
        """Open a socket in the namespace of a pod or of the node; with `bind`, it listens. Raises OSError."""
        request = ["open_socket", kind, *map(str, bind or ())]
        given = [] if namespace is None else [namespace]
        sock = socket.socket(fileno=self._request(request, given))
        sock.setblocking(False)
        return sock

    async def share(self, target: tuple[str, int]) -> None:
        """Relay connections of pods to a socket of the machine: at SHARED_ADDRESS, on the same port.

        The socket listens in the namespace of the node: a pod can listen on this port of all its addresses.
        Raises OSError.
        """
        sock = self.open_socket(bind=(SHARED_ADDRESS, target[1]))
        await self._relay.serve(sock, lambda _: asyncio.open_connection(*target))

    def enter(self, namespace: int) -> list[str]:
        """Return the beginning of a command line that enters the namespace of a pod."""
        # The path contains the ID of this process, because the child does not inherit the descriptor.
        folder = f"/proc/{os.getpid()}/fd"
        if self._user_namespace is None:
            return [self._nsenter, f"--net={folder}/{namespace}", "--"]
        return [
            self._nsenter,
            f"--user={folder}/{self._user_namespace}",
            "--preserve-credentials",
            f"--net={folder}/{namespace}",
            "--",
        ]

    def _start(self) -> None:
        answer, opened = self._receive()
        self._user_namespace = opened[0] if opened else None
        self.has_egress = answer == "egress"

    def _request(self, request: Sequence[str], given: Sequence[int] = ()) -> int:
        with self._lock:
            socket.send_fds(self._control, [" ".join(request).encode()], given)
            _, [opened] = self._receive()
            return opened

    def _receive(self) -> tuple[str, list[int]]:
        try:
            data, opened, _, _ = socket.recv_fds(self._control, _MAX_MESSAGE, 1)
        except OSError:
            # A late answer would be that of the next request, and give one pod the socket of another.
            self._control.close()
            raise
        if not data:
            raise OSError("the program that holds the network of the node has ended")
        number, _, text = data.decode().partition(" ")
        if number != "0":
            raise OSError(int(number), text)
        return text, opened

    async def _connect_outside(self, accepted: socket.socket) -> Stream:
        """Connect to the address to which a pod has connected."""
        if not self.may_leave(accepted.getpeername()[0]):
            raise PermissionError
        packed = accepted.getsockopt(socket.IPPROTO_IP, _ORIGINAL_DST, 16)
        port, number = struct.unpack_from("!2xHI", packed)
        address = ipaddress.IPv4Address(number)
        if not is_outside(address):
            raise PermissionError
        return await asyncio.open_connection(str(address), port)


def _raise_file_limit() -> None:
    """Raise the limit of open files: this process holds about ten for each pod."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_FILES if hard == resource.RLIM_INFINITY else min(_MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def connect(sock: socket.socket, host: str, port: int) -> Stream:
    """Connect a socket that another namespace may own. Raises OSError."""
    try:
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return await asyncio.open_connection(sock=sock)


def is_outside(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether the kubelet may connect to an address for a pod: not to the machine's loopback."""
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    is_own = address.is_loopback or address.is_unspecified or address.is_multicast
    return not is_own and address not in _SERVICES


def is_service_address(address: str) -> bool:
    """Return whether pods can connect to a cluster IP: it is in the network of Services, and not reserved."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed in _SERVICES and address not in _RESERVED


def find_hint(folder: Path = Path("/proc/sys")) -> str:
    """Return what the user of this machine can change, so that each pod has a network."""
    for name, (bad, good) in _SYSCTLS.items():
        path = folder / name.replace(".", "/")
        try:
            found = path.read_text().strip()
        except OSError:
            continue
        if found == bad:
            return f"sysctl -w {name}={good}"
    return (
        "permit user and network namespaces: in Docker or Podman, start the container with --security-opt"
        " seccomp=unconfined --security-opt apparmor=unconfined; without the kernel module: modprobe veth"
    )
