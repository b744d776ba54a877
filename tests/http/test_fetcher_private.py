"""Issuers on a private network: refused unless they are allowed; some addresses can never be allowed."""

import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from podpass.errors import SettingsError
from podpass.http import address_policy, server
from podpass.http.address_policy import AddressNotPublic
from podpass.http.fetcher import Fetcher, FetchError, FetchRules

LOOPBACK = ("127.0.0.0/8", "::1/128")
NETWORKS = tuple(ipaddress.ip_network(each) for each in ("10.20.0.0/16", *LOOPBACK))


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "172.16.0.1", "192.168.9.9", "100.64.0.1", "fd12::1"]
)
def test_allowed_host_may_have_private_address(address: str) -> None:
    assert address_policy.check_address(address, address_policy.PRIVATE) is False
    with pytest.raises(AddressNotPublic):
        address_policy.check_address(address)


@pytest.mark.parametrize("address", ["10.20.1.2", "127.0.0.1", "::1", "64:ff9b::a14:102"])
def test_any_host_may_have_address_in_allowed_network(address: str) -> None:
    assert address_policy.check_address(address, NETWORKS) is False


@pytest.mark.parametrize("address", ["10.21.1.2", "192.168.0.1", "fd12::1", "::ffff:10.20.1.2"])
def test_address_outside_allowed_network_is_refused(address: str) -> None:
    with pytest.raises(AddressNotPublic):
        address_policy.check_address(address, NETWORKS)


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "fd00:ec2::254", "fd20:ce::254", "fd00:c1::a9fe:a9fe"),
        *("fd00:100::100:200", "fd00:a9fe:a9fe::1", "fd00:42::42", "fe80::1", "ff02::1"),
        *("::", "64:ff9b::a9fe:a9fe"),
    ],
)
def test_metadata_address_cannot_be_allowed(address: str) -> None:
    everything = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    for opened in (everything, address_policy.PRIVATE):
        with pytest.raises(AddressNotPublic):
            address_policy.check_address(address, opened)


def test_public_address_stays_public_with_allowed_networks() -> None:
    assert address_policy.check_address("8.8.8.8", NETWORKS) is True


@dataclass
class Site:
    url: str
    ca_file: Path


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Serve TLS on loopback, with a name that resolves to loopback and a separate CA."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")

    async def app(scope: server.Scope, receive: server.Receive, send: server.Send) -> None:
        del scope, receive
        await server.respond(send, 200, b"{}", [(b"content-type", b"application/json")])

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(tls)
    async with AsyncExitStack() as stack:
        sock = server.bind("127.0.0.1", 0)
        await stack.enter_async_context(server.serving(app, sock, tls))
        yield Site(f"https://localhost:{sock.getsockname()[1]}/", tmp_path / "ca.pem")


async def expect_refusal(rules: FetchRules, url: str) -> str:
    with pytest.raises(FetchError) as caught:
        await Fetcher(rules).get_json(url)
    return caught.value.reason


async def test_allowed_network_is_reached(site: Site) -> None:
    assert await expect_refusal(FetchRules(private_ca_file=site.ca_file), site.url) == "address"
    rules = FetchRules(private=LOOPBACK, private_ca_file=site.ca_file)
    assert await Fetcher(rules).get_json(site.url) == {}
    # Reached, and refused because no public CA signed its certificate.
    assert await expect_refusal(FetchRules(private=LOOPBACK), site.url) == "unreachable"


async def test_only_the_allowed_host_is_reached(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address_policy, "PRIVATE", NETWORKS)
    named = FetchRules(private=("localhost",), private_ca_file=site.ca_file)
    assert await Fetcher(named).get_json(site.url) == {}
    for name in ("localhos", "xlocalhost", "localhost.test", "*"):
        rules = FetchRules(private=(name,), private_ca_file=site.ca_file)
        assert await expect_refusal(rules, site.url) == "address"


async def test_allowed_host_may_not_have_loopback_address(site: Site) -> None:
    rules = FetchRules(private=("localhost",), private_ca_file=site.ca_file)
    assert await expect_refusal(rules, site.url) == "address"


@pytest.mark.parametrize("text", [None, "", "no certificate"])
def test_unreadable_ca_file_is_a_settings_error(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        Fetcher(FetchRules(private_ca_file=file))
    assert str(file) in str(caught.value)


async def test_private_ca_is_not_trusted_for_public_hosts(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if the CA of the instance or of a cluster were trusted for a public name."""
    own = FetchRules(private=LOOPBACK, ca_file=site.ca_file)
    assert await expect_refusal(own, site.url) == "unreachable"
    port = int(site.url.rsplit(":", 1)[1].strip("/"))
    hosts = {f"localhost:{port}": ("127.0.0.1", port)}
    assert await Fetcher(FetchRules(hosts=hosts, ca_file=site.ca_file)).get_json(site.url) == {}
    private = FetchRules(hosts=hosts, private_ca_file=site.ca_file)
    assert await expect_refusal(private, site.url) == "unreachable"
    monkeypatch.setattr(address_policy, "check_address", lambda *_: True)
    public = FetchRules(private_ca_file=site.ca_file)
    assert await expect_refusal(public, site.url) == "unreachable"
