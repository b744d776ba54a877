"""What the collector finds of the network fails no test that happens to run, whatever Python calls it."""

import gc
import socket
import ssl
import warnings


class _DroppedTransport:
    """As those of asyncio and uvloop, which complain when nobody closed them."""

    def __del__(self) -> None:
        warnings.warn("unclosed transport", ResourceWarning, stacklevel=1)


def test_a_transport_is_left_to_the_collector() -> None:
    _DroppedTransport()
    gc.collect()


def test_a_socket_is_left_to_the_collector() -> None:
    socket.socket()
    gc.collect()


def test_a_socket_of_tls_is_left_to_the_collector() -> None:
    one, other = socket.socketpair()
    context = ssl.create_default_context()
    context.wrap_socket(one, server_hostname="a.test", do_handshake_on_connect=False)
    other.close()
    gc.collect()
