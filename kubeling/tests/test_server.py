"""The listening socket of the API server."""

import socket

from kubeling.server import listen


def test_accepted_connection_sends_each_event_at_once() -> None:
    """With Nagle's algorithm, the second of two watch events would wait 40 ms for an acknowledgement."""
    with listen() as server, socket.create_connection(server.getsockname()):
        accepted, _ = server.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
