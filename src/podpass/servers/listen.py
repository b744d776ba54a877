"""Listen on addresses in Go's syntax: an empty host means all interfaces, IPv4 and IPv6."""

import errno
import socket

from podpass.errors import UsageError
from podpass.http.server import PortInUse, bind
from podpass.settings.reading import parse_address

_NO_SUCH_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


def listen(flag: str, text: str) -> socket.socket:
    """Open a listening socket. Raises PortInUse; UsageError if the text is not an address."""
    try:
        host, port = parse_address(flag, text)
    except ValueError as exc:
        raise UsageError(str(exc), hint=f"correct {flag}") from exc
    otherwise = f"choose another address with {flag}"
    if text.startswith(":"):
        return _bind_first(("::", host), port, otherwise)
    return bind(host, port, otherwise=otherwise)


def listen_for_queries(flag: str, text: str) -> tuple[socket.socket, socket.socket]:
    """Open a UDP socket and a listening TCP socket on the same address, for DNS.

    Raises PortInUse; UsageError if the text is not an address.
    """
    tcp = listen(flag, text)
    udp = socket.socket(tcp.family, socket.SOCK_DGRAM)
    try:
        if tcp.family is socket.AF_INET6:
            only = tcp.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        udp.bind(tcp.getsockname())
    except OSError as exc:
        tcp.close()
        udp.close()
        raise PortInUse(
            f"cannot listen on UDP {text}: {exc.strerror}", hint=f"correct {flag}"
        ) from exc
    return udp, tcp


def format_address(sock: socket.socket) -> str:
    """Return the address of a socket as `host:port` or `[host]:port`."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen_on_loopback(flag: str, port: int, address: str = "127.0.0.1") -> socket.socket:
    """Open a listening socket on an IPv4 loopback address, or on ::1 of a host without IPv4.

    Raises PortInUse.
    """
    return _bind_first((address, "::1"), port, f"choose another with {flag}")


def _bind_first(hosts: tuple[str, str], port: int, otherwise: str) -> socket.socket:
    """Bind the first address; the second one only if this host has no addresses of its family."""
    try:
        return bind(hosts[0], port, otherwise=otherwise)
    except (PortInUse, OSError) as exc:
        cause = exc.__cause__ if isinstance(exc, PortInUse) else exc
        if not isinstance(cause, OSError) or cause.errno not in _NO_SUCH_FAMILY:
            raise
    return bind(hosts[1], port, otherwise=otherwise)
