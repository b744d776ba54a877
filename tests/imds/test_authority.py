"""The address of the token endpoint, the proxy on the way to it, and a sidecar that forwards nothing."""

import asyncio
from pathlib import Path

import pytest

from podpass.errors import SettingsError
from podpass.http.client import HttpProxy
from podpass.imds.authority import Authority, Binding
from podpass.imds.forwarder import Forwarder

TENANT = "11111111-1111-4111-8111-111111111111"
ENTRA = "https://login.microsoftonline.com/"


def _authority(
    host: str = ENTRA, tenant: str = TENANT, binding: Binding | None = None, **proxy: str
) -> Authority:
    return Authority.from_urls(host, tenant, Path("/token"), binding, **proxy)


@pytest.mark.parametrize(
    ("host", "binding", "url"),
    [
        (ENTRA, None, f"{ENTRA}{TENANT}/oauth2/v2.0/token"),
        (
            "https://login.example:8443",
            None,
            f"https://login.example:8443/{TENANT}/oauth2/v2.0/token",
        ),
        ("https://[::1]:1/a/", None, f"https://[::1]:1/a/{TENANT}/oauth2/v2.0/token"),
        (ENTRA, "https://proxy.example/p/", f"https://proxy.example/p/{TENANT}/oauth2/v2.0/token"),
    ],
)
def test_token_url_is_built_from_the_settings(host: str, binding: str | None, url: str) -> None:
    made = _authority(host, binding=Binding(url=binding) if binding else None)
    assert made.token_url == url


@pytest.mark.parametrize(
    ("host", "tenant", "message"),
    [
        ("http://login.example/", TENANT, "AZURE_AUTHORITY_HOST must be an https URL"),
        ("login.example", TENANT, "AZURE_AUTHORITY_HOST must be an https URL"),
        ("https://", TENANT, "AZURE_AUTHORITY_HOST must be an https URL"),
        ("https://a:0/", TENANT, "AZURE_AUTHORITY_HOST must be an https URL"),
        ("https://a:99999/", TENANT, "AZURE_AUTHORITY_HOST is not a URL"),
        ("https://[::1", TENANT, "AZURE_AUTHORITY_HOST is not a URL"),
        ("https://user@login.example/", TENANT, "must not contain a user"),
        ("https://login.example/?a=b", TENANT, "must not contain a user, a query"),
        (ENTRA, "a/b", "AZURE_TENANT_ID must be a GUID or a domain name"),
        (ENTRA, "a b", "AZURE_TENANT_ID must be a GUID or a domain name"),
        (ENTRA, "a\r\nX: y", "AZURE_TENANT_ID must be a GUID or a domain name"),
    ],
    ids=range(11),
)
def test_invalid_address_is_refused(host: str, tenant: str, message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        _authority(host, tenant)
    assert message in refused.value.message


def test_binding_with_two_cas_is_refused() -> None:
    binding = Binding(url="https://proxy.example", ca_file="/ca", ca_data="PEM")
    with pytest.raises(SettingsError, match="AZURE_KUBERNETES_CA_DATA, not both"):
        _authority(binding=binding)


@pytest.mark.parametrize(
    ("proxy", "found"),
    [
        ("", None),
        ("http://proxy.example:3128", HttpProxy(host="proxy.example", port=3128)),
        ("proxy.example:3128", HttpProxy(host="proxy.example", port=3128)),
        ("http://proxy.example/", HttpProxy(host="proxy.example", port=80)),
        (
            "http://us%40er:pass%3Aword@[::1]:8080",
            HttpProxy(host="::1", port=8080, credentials="us@er:pass:word"),
        ),
    ],
    ids=range(5),
)
def test_proxy_is_read_from_the_environment(proxy: str, found: HttpProxy | None) -> None:
    assert _authority(https_proxy=proxy).proxy == found


@pytest.mark.parametrize(
    "proxy", ["https://proxy.example", "socks5://a:1", "http://", "http://a:x"]
)
def test_proxy_that_is_not_supported_is_refused(proxy: str) -> None:
    with pytest.raises(SettingsError, match="HTTPS_PROXY must be an http URL with a host"):
        _authority(https_proxy=proxy)


def test_request_to_an_identity_binding_uses_no_proxy() -> None:
    """The endpoint is in the cluster."""
    binding = Binding(url="https://proxy.example")
    assert _authority(binding=binding, https_proxy="http://a:1").proxy is None


@pytest.mark.parametrize(
    ("no_proxy", "host", "is_direct"),
    [
        ("*", "login.example", True),
        ("login.example", "login.example", True),
        ("LOGIN.example", "login.example", True),
        ("example", "login.example", True),
        (".example", "login.example", True),
        ("*.example", "login.example", True),
        (".login.example", "login.example", True),
        ("ogin.example", "login.example", False),
        ("login.example.org", "login.example", False),
        ("login.example:443", "login.example", True),
        ("login.example:8443", "login.example", False),
        ("a, login.example ,", "login.example", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:443", "10.1.2.3", True),
        ("[::1]", "[::1]", True),
        ("fd00::/8", "[fd00::1]", True),
        (",,", "login.example", False),
        (".", "login.example", False),
    ],
)
def test_hosts_in_no_proxy_are_reached_without_the_proxy(
    no_proxy: str, host: str, is_direct: bool
) -> None:
    made = _authority(f"https://{host}/", https_proxy="http://proxy:1", no_proxy=no_proxy)
    assert (made.proxy is None) == is_direct


def test_credentials_of_the_proxy_are_in_no_repr() -> None:
    assert "secret" not in repr(_authority(https_proxy="http://user:secret@proxy:1"))


async def test_sidecar_of_a_local_instance_sends_nothing_to_the_metadata_service() -> None:
    connections = 0

    async def count(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    async with await asyncio.start_server(count, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        forwarder = Forwarder(address, is_enabled=False)
        reply = await forwarder.forward("GET", "/metadata/instance", [], b"")
    assert (reply.status, connections) == (404, 0)
    assert reply.body == b"this sidecar answers token requests only\n"
