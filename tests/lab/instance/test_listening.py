"""Attack groups 32 and 25: the addresses on which an instance listens."""

import ipaddress
from pathlib import Path

import pytest

from podpass.errors import SettingsError
from podpass.lab.data import ports
from podpass.settings import LocalSettings


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
