"""Listen on addresses in Go's syntax: an empty host means all interfaces, IPv4 and IPv6."""

import errno
import socket

from podpass.http.server import PortInUse, bind
from podpass.settings.reading import parse_address

_NO_SUCH_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


def listen(flag: str, text: str) -> socket.socket:
    """Open a listening socket.

    Errors:  PortInUse.
    """
    host, port = parse_address(flag, text)
    otherwise = f"choose another address with {flag}"
    if text.startswith(":"):
        try:
            return bind("::", port, otherwise=otherwise)
        except (PortInUse, OSError) as exc:
            cause = exc.__cause__ if isinstance(exc, PortInUse) else exc
            if not isinstance(cause, OSError) or cause.errno not in _NO_SUCH_FAMILY:
                raise
    return bind(host, port, otherwise=otherwise)
