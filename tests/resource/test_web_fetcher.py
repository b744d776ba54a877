"""The fetch of the authority's keys by the guard of an API, through the proxy in the environment."""

import ssl
from typing import Any

import pytest

from podpass.http.fetcher import FetchError
from podpass.http.server import Receive, Scope, Send, bind, respond, serving
from podpass.resource.guard import Check, Guard, KeysUnavailable, TokenRefused
from podpass.resource.web_fetcher import WebFetcher
from tests.tunnel import connect_proxy

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
VAULT = "https://vault.azure.net"


class FakeAuthority:
    """A server with the authority's host name, which returns a configured response."""

    def __init__(self, keys: bytes) -> None:
        self.paths: list[str] = []
        self.answer: tuple[int, bytes] = (200, keys)
        self.headers: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json")]

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"])
        await respond(send, *self.answer, self.headers)


@pytest.fixture
async def fake_authority(
    world: Any, vault_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Serve every host name behind a proxy in the environment, with a certificate store that trusts it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(world.ca_file))
    served = FakeAuthority(world.authority.document())
    sock = bind("127.0.0.1", 0)
    async with serving(served, sock, vault_tls), connect_proxy(sock.getsockname()[1]) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        yield served


async def test_guard_without_keys_fetches_keys_of_its_tenant(
    world: Any, fake_authority: FakeAuthority, officer: Any
) -> None:
    guard = Guard(tenant_id=TENANT, audiences={VAULT}, clock=world.clock)
    given = ["Bearer " + world.authority.mint(officer)]
    caller = await guard.admit(given)
    assert caller.app_id == officer.client_id
    await guard.admit(given)
    assert fake_authority.paths == [f"/{TENANT}/discovery/v2.0/keys"]


async def test_valid_token_with_foreign_key_is_refused(
    world: Any, fake_authority: FakeAuthority, officer: Any, signing_keys: list[Any]
) -> None:
    guard = Guard(tenant_id=TENANT, audiences={VAULT}, clock=world.clock)
    forged = signing_keys[1].sign(world.authority.claims(officer))
    with pytest.raises(TokenRefused) as caught:
        await guard.admit(["Bearer " + forged])
    assert caught.value.check is Check.KEY
    assert len(fake_authority.paths) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((503, b"{}"), "status"),
        ((302, b"{}"), "status"),
        ((200, b"<html>"), "not_json"),
        ((200, b'{"keys":[],"keys":[]}'), "not_json"),
        ((200, b'{"keys":"' + b"x" * 300_000 + b'"}'), "too_large"),
    ],
)
async def test_invalid_response_is_refused(
    fake_authority: FakeAuthority, answer: tuple[int, bytes], reason: str
) -> None:
    fake_authority.answer = answer
    fake_authority.headers.append((b"location", b"https://login.microsoftonline.com/elsewhere"))
    with pytest.raises(FetchError) as caught:
        await WebFetcher().get_json("https://login.microsoftonline.com/keys")
    assert caught.value.reason == reason
    # A redirect is not followed.
    assert fake_authority.paths == ["/keys"]


async def test_untrusted_certificate_is_refused(
    world: Any, fake_authority: FakeAuthority, officer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    guard = Guard(tenant_id=TENANT, audiences={VAULT}, clock=world.clock)
    with pytest.raises(KeysUnavailable):
        await guard.admit(["Bearer " + world.authority.mint(officer)])
    assert fake_authority.paths == []


async def test_url_without_https_is_refused(fake_authority: FakeAuthority) -> None:
    with pytest.raises(FetchError) as caught:
        await WebFetcher().get_json("http://login.microsoftonline.com/keys")
    assert caught.value.reason == "url"
    assert fake_authority.paths == []
