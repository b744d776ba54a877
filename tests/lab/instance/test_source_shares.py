"""The share of one address of the connections to the embedded API server."""

import http.client
import json
import socket
import ssl
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from podpass.servers.file_limits import raise_file_limit, shared_limits
from tests.lab.instance.instances import Podpass


def test_address_takes_only_its_share_of_the_api_server(running: Podpass) -> None:
    """The attack: one address opens connections without end, and sends nothing."""
    raise_file_limit()
    found = running.status()
    server = urlsplit(found["kubernetes"]["server"])
    address = (str(server.hostname), int(server.port or 0))
    with ExitStack() as stack:
        for _ in range(shared_limits().source_connections):
            stack.enter_context(socket.create_connection(address, 30, ("127.64.0.2", 0)))
        with pytest.raises(ConnectionResetError):
            socket.create_connection(address, 5, ("127.64.0.2", 0)).recv(1)
        tls = ssl.create_default_context(cafile=found["ca_file"])
        client = http.client.HTTPSConnection(
            *address, context=tls, source_address=("127.64.0.3", 0)
        )
        client.request("GET", "/version")
        assert json.load(client.getresponse())["major"] == "1"
        client.close()
