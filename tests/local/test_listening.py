"""Attack groups 32 and 25: the addresses on which an instance listens."""

import ipaddress

from podpass.local import ports


def test_every_service_of_an_instance_listens_on_loopback_only() -> None:
    """Fails if a service listens on another interface than loopback."""
    sockets = ports.bind_all(0, {})
    try:
        where = {name: sock.getsockname()[0] for name, sock in sockets.items()}
        assert set(where) == set(ports.SERVICES)
        assert all(ipaddress.ip_address(address).is_loopback for address in where.values()), where
    finally:
        ports.close_all(sockets)
