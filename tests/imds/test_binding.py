"""Identity bindings: the sidecar's requests to the endpoint in the cluster, over real TLS."""

from pathlib import Path
from urllib.parse import parse_qs

import pytest
import trustme

from podpass.imds.authority import Authority, Binding
from tests.exchange.world import World
from tests.imds.conftest import Sidecar, running_sidecar
from tests.imds.raw_server import RawServer, raw_server

SNI = "a1b2c3.ests.aks"
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n"
    b'{"access_token":"bound","expires_in":9}\r\n'
)


def _authority(world: World, token_file: Path, **binding: str) -> Authority:
    url = "https://login.microsoftonline.com/"
    return Authority.from_urls(url, world.TENANT, token_file, Binding(**binding))


def _pem(ca: trustme.CA) -> str:
    return ca.cert_pem.bytes().decode()


@pytest.mark.parametrize("source", ["ca_file", "ca_data"])
async def test_request_goes_to_the_endpoint_with_its_server_name_and_its_ca(
    world: World, ca: trustme.CA, token_file: Path, tmp_path: Path, source: str
) -> None:
    """The certificate has only the server name, and only the given CA has signed it."""
    (tmp_path / "ca.crt").write_text(_pem(ca))
    trust = {"ca_file": str(tmp_path / "ca.crt")} if source == "ca_file" else {"ca_data": _pem(ca)}
    async with raw_server(RawServer(ANSWER), ca, SNI) as endpoint:
        url = f"https://127.0.0.1:{endpoint.port}/prefix"
        authority = _authority(world, token_file, url=url, sni=SNI, **trust)
        async with running_sidecar(world, authority) as sidecar:
            status, text, _ = await sidecar.token()
        assert (status, '"access_token":"bound"' in text) == (200, True)
        assert endpoint.names == [SNI]
        [request] = endpoint.requests
    line, _, form = request.partition(b"\r\n")[0], b"", request.partition(b"\r\n\r\n")[2]
    assert line == f"POST /prefix/{world.TENANT}/oauth2/v2.0/token HTTP/1.1".encode()
    assert parse_qs(form.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": [world.CLIENT],
        "scope": ["https://vault.azure.net/.default"],
        "client_assertion_type": ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"],
        "client_assertion": [token_file.read_text()],
    }


async def _failure(sidecar: Sidecar) -> str:
    status, text, _ = await sidecar.token()
    assert status == 500
    return text


async def test_only_the_ca_and_the_name_of_the_binding_are_trusted(
    world: World, ca: trustme.CA, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if the system's CAs are trusted too: the assertion would reach another server."""
    monkeypatch.setenv("SSL_CERT_FILE", str(world.ca_file))
    other = _pem(trustme.CA())
    async with raw_server(RawServer(ANSWER), ca, SNI) as endpoint:
        url = f"https://127.0.0.1:{endpoint.port}"
        for binding, message in (
            ({"url": url, "sni": SNI, "ca_data": other}, "unable to get local issuer certificate"),
            ({"url": url, "sni": "b.ests.aks", "ca_data": _pem(ca)}, "Hostname mismatch"),
            ({"url": url, "ca_data": _pem(ca)}, "IP address mismatch"),
        ):
            authority = _authority(world, token_file, **binding)
            async with running_sidecar(world, authority) as sidecar:
                text = await _failure(sidecar)
                assert "its certificate is not trusted" in text
                assert message in text
        assert endpoint.requests == []


async def test_ca_is_read_again_after_a_rotation(
    world: World, token_file: Path, tmp_path: Path
) -> None:
    old, new = trustme.CA(), trustme.CA()
    ca_file = tmp_path / "ca.crt"
    ca_file.write_text(_pem(old))
    async with raw_server(RawServer(ANSWER), new, SNI) as endpoint:
        url = f"https://127.0.0.1:{endpoint.port}"
        authority = _authority(world, token_file, url=url, sni=SNI, ca_file=str(ca_file))
        async with running_sidecar(world, authority) as sidecar:
            assert "its certificate is not trusted" in await _failure(sidecar)
            ca_file.write_text(_pem(new))
            assert (await sidecar.token())[0] == 200
            for content in ("", "nonsense", "\u00e9"):
                ca_file.write_text(content)
                assert f"the CA {ca_file} is not in PEM format" in await _failure(sidecar)
            ca_file.unlink()
            assert "cannot be read: No such file" in await _failure(sidecar)
