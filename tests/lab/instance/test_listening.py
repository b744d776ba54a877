"""Attack groups 32 and 25: the addresses on which an instance listens, and the share of one address."""

import http.client
import ipaddress
import json
import socket
import ssl
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from podpass.errors import SettingsError
from podpass.lab.data import ports
from podpass.servers.file_limits import raise_file_limit, shared_limits
from podpass.settings import LocalSettings
from tests.lab.instance.instances import Podpass


def test_every_service_of_an_instance_listens_on_loopback_only() -> None:
    """Fails if a service listens on another interface than loopback."""
    sockets = ports.bind_all(0, {})
    try:
        where = {name: sock.getsockname()[0] for name, sock in sockets.items()}
        assert set(where) == set(ports.SERVICES)
        assert all(ipaddress.ip_address(address).is_loopback for address in where.values()), where
    finally:
        ports.close_all(sockets)


def test_only_four_services_listen_outside_a_container() -> None:
    sockets = ports.bind_all(0, {}, listen="0.0.0.0")
    try:
        where = {name: sock.getsockname()[0] for name, sock in sockets.items()}
    finally:
        ports.close_all(sockets)
    exposed = {name for name, address in where.items() if address == "0.0.0.0"}
    assert exposed == {"gateway", "kubernetes", "authority", "control"}
    assert {where[name] for name in where.keys() - exposed} == {"127.0.0.1"}


def test_listen_address_other_than_loopback_or_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"--listen 10\.0\.0\.7: must be 127\.0\.0\.1 or 0\.0\.0\.0"
    ):
        LocalSettings(data_dir=tmp_path, listen="10.0.0.7")
    assert LocalSettings(data_dir=tmp_path).listen == "127.0.0.1"


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
