"""The addresses that have one share of a limit."""

import pytest

from podpass.http.limits import source_network


@pytest.mark.parametrize(
    ("source", "network"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.1"),
        ("127.255.255.254", "127.0.0.1"),
        ("127.63.255.255", "127.0.0.1"),
        ("127.128.0.0", "127.0.0.1"),
        ("::ffff:127.0.0.2", "127.0.0.1"),
        ("127.64.0.2", "127.64.0.2"),
        ("127.127.255.255", "127.127.255.255"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8::1:2%eth0", "2001:db8::/64"),
        ("127.no.address", "127.no.address"),
    ],
)
def test_local_addresses_are_one_source_and_those_of_pods_are_not(
    source: str, network: str
) -> None:
    """The attack: a local process uses each address of 127.0.0.0/8, and so has a share for each."""
    assert source_network(source) == network
