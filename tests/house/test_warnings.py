"""A socket or transport that the garbage collector finds fails no test, on every version of Python."""

import gc
import socket
import ssl
import warnings


class _DroppedTransport:
    """Warns when it is collected unclosed, as transports of asyncio and uvloop do."""

    def __del__(self) -> None:
        warnings.warn("unclosed transport", ResourceWarning, stacklevel=1)


def test_uncollected_transport_fails_no_test() -> None:
    _DroppedTransport()
    gc.collect()


def test_uncollected_socket_fails_no_test() -> None:
    socket.socket()
    gc.collect()


def test_uncollected_tls_socket_fails_no_test() -> None:
    one, other = socket.socketpair()
    context = ssl.create_default_context()
    context.wrap_socket(one, server_hostname="a.test", do_handshake_on_connect=False)
    other.close()
    gc.collect()
