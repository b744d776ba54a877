"""URLs that the operator has named: their CA, and a token that is sent to them and to no other URL."""

import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from podpass.errors import SettingsError
from podpass.http import server
from podpass.http.fetcher import Fetcher, FetchError, FetchRules, TrustedUrls

TOKEN = "header.payload.signature_of-a~token="
LOOPBACK = ("127.0.0.0/8",)


@dataclass
class FakeApiServer:
    """A server with its own CA, and the authorization header of each request by path."""

    url: str
    folder: Path
    redirect: str = ""
    received: list[tuple[str, str | None]] = field(default_factory=list)

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def token_file(self) -> Path:
        return self.folder / "token"

    def rules(self, *paths: str, private: tuple[str, ...] = ()) -> FetchRules:
        urls = frozenset(self.url + path for path in paths)
        trusted = TrustedUrls(urls=urls, ca_file=self.ca_file, token_file=self.token_file)
        return FetchRules(trusted=trusted, private=private)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[FakeApiServer]:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "token").write_text(TOKEN + "\n")

    async def app(scope: server.Scope, receive: server.Receive, send: server.Send) -> None:
        del receive
        found.received.append((scope["path"], server.header(scope, b"authorization")))
        location = (b"location", found.redirect.encode())
        await server.respond(send, 302 if found.redirect else 200, b"{}", [location])

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1", "localhost").configure_cert(tls)
    async with AsyncExitStack() as stack:
        sock = server.bind("127.0.0.1", 0)
        await stack.enter_async_context(server.serving(app, sock, tls))
        found = FakeApiServer(url=f"https://127.0.0.1:{sock.getsockname()[1]}", folder=tmp_path)
        yield found


async def _reason(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(FetchError) as caught:
        await fetcher.get_json(url)
    assert TOKEN not in str(caught.value) + repr(caught.value.facts)
    return caught.value.reason


async def test_token_is_sent_to_the_named_urls_only(api: FakeApiServer) -> None:
    fetcher = Fetcher(api.rules("/keys"))
    assert await fetcher.get_json(f"{api.url}/keys") == {}
    # The other paths of this server have neither the CA nor the address allowed.
    for other in ("/keys/", "/keys?a=b", "/KEYS", "/api/v1/secrets", ""):
        assert await _reason(fetcher, api.url + other) == "address"
    assert api.received == [("/keys", f"Bearer {TOKEN}")]


async def test_other_paths_of_an_allowed_server_get_no_token(api: FakeApiServer) -> None:
    rules = api.rules("/keys", private=LOOPBACK)
    private = FetchRules(private=rules.private, private_ca_file=api.ca_file, trusted=rules.trusted)
    await Fetcher(private).get_json(f"{api.url}/api/v1/secrets")
    assert api.received == [("/api/v1/secrets", None)]


async def test_token_is_not_sent_after_a_redirect(api: FakeApiServer) -> None:
    api.redirect = f"{api.url}/keys"
    assert (
        await _reason(Fetcher(api.rules("/document", "/keys")), f"{api.url}/document") == "status"
    )
    assert [path for path, _ in api.received] == ["/document"]


async def test_token_is_not_sent_to_a_server_of_another_ca(api: FakeApiServer) -> None:
    trustme.CA().cert_pem.write_to_path(api.ca_file)
    assert await _reason(Fetcher(api.rules("/keys")), f"{api.url}/keys") == "unreachable"
    assert api.received == []


async def test_ca_of_the_operator_replaces_the_system_cas(
    api: FakeApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A public CA could otherwise issue a certificate for a host that gets the token."""
    monkeypatch.setenv("SSL_CERT_FILE", str(api.ca_file))
    system = FetchRules(trusted=TrustedUrls(urls=frozenset({f"{api.url}/keys"})))
    assert await Fetcher(system).get_json(f"{api.url}/keys") == {}
    other = api.folder / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    trusted = TrustedUrls(urls=frozenset({f"{api.url}/keys"}), ca_file=other)
    fetcher = Fetcher(FetchRules(trusted=trusted))
    assert await _reason(fetcher, f"{api.url}/keys") == "unreachable"


async def test_ca_file_may_have_comments_in_utf8(api: FakeApiServer) -> None:
    api.ca_file.write_text(f"# Főtanúsítvány\n{api.ca_file.read_text()}\n# Autorité\n")
    assert await Fetcher(api.rules("/keys")).get_json(f"{api.url}/keys") == {}


async def test_rotated_token_and_ca_are_used_at_the_next_request(api: FakeApiServer) -> None:
    fetcher = Fetcher(api.rules("/keys"))
    right = api.ca_file.read_bytes()
    trustme.CA().cert_pem.write_to_path(api.ca_file)
    assert await _reason(fetcher, f"{api.url}/keys") == "unreachable"
    api.ca_file.write_bytes(right)
    # As the kubelet replaces it: a link to a file of a new directory.
    (api.folder / "rotated").write_text("rotated.token.x")
    (api.folder / "link").symlink_to(api.folder / "rotated")
    (api.folder / "link").replace(api.token_file)
    await fetcher.get_json(f"{api.url}/keys")
    assert api.received == [("/keys", "Bearer rotated.token.x")]


def _make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _make_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "No such file or directory"),
    "fifo": (_make_fifo, "not a regular file"),
    "device": (_make_device, "not a regular file"),
    "folder": (_make_folder, "not a regular file"),
    "large": (lambda path: path.write_text("a" * 2_000_000), "larger than"),
    "empty": (lambda path: path.write_text(""), "not"),
    "line-break": (lambda path: path.write_text("a\r\nx-header: b"), "not"),
    "binary": (lambda path: path.write_bytes(b"\xff\x00"), "not"),
}


@pytest.mark.parametrize("name", ["token_file", "ca_file"])
@pytest.mark.parametrize("case", BROKEN)
async def test_unusable_file_fails_the_start_and_each_request_without_blocking(
    api: FakeApiServer, name: str, case: str
) -> None:
    fetcher = Fetcher(api.rules("/keys"))
    damage, says = BROKEN[case]
    path = getattr(api, name)
    damage(path)
    assert await _reason(fetcher, f"{api.url}/keys") == name
    with pytest.raises(SettingsError) as caught:
        Fetcher(api.rules("/keys"))
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
    assert api.received == []


async def test_host_name_of_a_named_url_may_not_have_a_loopback_address(api: FakeApiServer) -> None:
    """The operator has written an address in the URL. A DNS server can change the address of a name."""
    url = api.url.replace("127.0.0.1", "localhost") + "/keys"
    trusted = TrustedUrls(urls=frozenset({url}), ca_file=api.ca_file)
    assert await _reason(Fetcher(FetchRules(trusted=trusted)), url) == "address"
    allowed = FetchRules(trusted=trusted, private=LOOPBACK)
    assert await Fetcher(allowed).get_json(url) == {}


@pytest.mark.parametrize("address", ["169.254.169.254", "168.63.129.16", "[fd00:ec2::254]"])
async def test_metadata_service_cannot_be_a_named_url(address: str) -> None:
    url = f"https://{address}/keys"
    rules = FetchRules(trusted=TrustedUrls(urls=frozenset({url})))
    assert await _reason(Fetcher(rules), url) == "address"
