"""Give a pod without IPv4 addresses a route to the metadata address, through its loopback interface.

The kernel looks for a route before it applies the rules of iptables. In a pod that has only IPv6 addresses, a
connection to 169.254.169.254 would fail with "network is unreachable", and no rule would redirect it.

Source:  rtnetlink(7); Linux, include/uapi/linux/rtnetlink.h.
"""

import errno
import os
import socket
import struct

from podpass.errors import Error

_HEADER, _ROUTE = struct.Struct("=IHHII"), struct.Struct("=8BI")
_NEW_ROUTE, _ERROR = 24, 2
_REQUEST, _ACK, _CREATE = 0x1, 0x4, 0x400
_MAIN_TABLE, _STATIC, _LINK_SCOPE, _UNICAST = 254, 4, 253, 1
_DESTINATION, _INTERFACE, _SOURCE = 1, 4, 7
_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH)
_ANY_PORT, _ADDRESS_BITS = 9, 32
_SECONDS = 10.0


class RouteFailed(Error):
    """The route to the metadata address was not added."""

    code = "route_failed"


def ensure_route(address: str) -> bool:
    """Add a route to an IPv4 address if there is none; return whether it was added. Raises RouteFailed."""
    if _has_route(address):
        return False
    try:
        code = _add(address)
    except OSError as exc:  # no loopback interface, or a security profile that refuses the socket
        code = exc.errno or errno.EIO
    if code not in (0, errno.EEXIST):
        hint = "the loopback interface of the pod must be up"
        if code == errno.EPERM:
            hint = "the container needs runAsUser 0 and the capability NET_ADMIN"
        raise RouteFailed(f"cannot add a route to {address}: {os.strerror(code)}", hint=hint)
    return True


def _has_route(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, _ANY_PORT))  # on a datagram socket, this sends nothing
        except OSError as exc:
            if exc.errno not in _NO_ROUTE:
                raise RouteFailed(f"cannot look up a route to {address}: {exc.strerror}") from exc
            return False
    return True


def _add(address: str) -> int:
    """Add a route through loopback; return the error number of the kernel, 0 for none."""
    attributes = (
        (_DESTINATION, socket.inet_aton(address)),
        (_INTERFACE, struct.pack("=I", socket.if_nametoindex("lo"))),
        (_SOURCE, socket.inet_aton("127.0.0.1")),
    )
    route = _ROUTE.pack(
        *(socket.AF_INET, _ADDRESS_BITS, 0, 0), *(_MAIN_TABLE, _STATIC, _LINK_SCOPE, _UNICAST, 0)
    )
    body = route + b"".join(
        struct.pack("=HH", 4 + len(data), kind) + data for kind, data in attributes
    )
    head = _HEADER.pack(_HEADER.size + len(body), _NEW_ROUTE, _REQUEST | _ACK | _CREATE, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(_SECONDS)
        kernel.send(head + body)
        reply = kernel.recv(4096)
    kind = _HEADER.unpack_from(reply)[1]
    code: int = struct.unpack_from("=i", reply, _HEADER.size)[0]
    return -code if kind == _ERROR else errno.EPROTO
