"""Documents of named issuers: what an entry of a seed allows, it allows for its own issuer alone."""

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from podpass.http import server
from podpass.http.fetcher import FetchError
from podpass.lab.issuers.fetcher import NamedIssuerFetcher
from podpass.lab.issuers.registry import IssuerRegistry, IssuersUnreadable, NamedIssuer

DOCUMENT, KEYS = "/.well-known/openid-configuration", "/openid/v1/jwks"
CLUSTER = "https://kubernetes.default.svc"
ALLOWED = ("127.0.0.0/8",)


class Others:
    """The fetcher of all other issuers, which is allowed nothing here."""

    async def get_json(self, url: str) -> dict[str, Any]:
        raise FetchError(url, reason="address")


@dataclass
class Served:
    """A server with its own CA, and the path of each request."""

    url: str
    folder: Path
    received: list[str] = field(default_factory=list)

    @property
    def ca_file(self) -> str:
        return str(self.folder / "ca.pem")


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")

    async def app(scope: server.Scope, receive: server.Receive, send: server.Send) -> None:
        del receive
        found.received.append(scope["path"])
        body = {"issuer": CLUSTER, "jwks_uri": "https://192.0.2.10:6443/openid/v1/jwks"}
        await server.respond(send, 200, json.dumps(body).encode())

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    async with AsyncExitStack() as stack:
        sock = server.bind("127.0.0.1", 0)
        await stack.enter_async_context(server.serving(app, sock, tls))
        found = Served(url=f"https://127.0.0.1:{sock.getsockname()[1]}", folder=tmp_path)
        yield found


def fetcher(*issuers: NamedIssuer) -> NamedIssuerFetcher:
    registry = IssuerRegistry(None)
    for each in issuers:
        registry.put(each)
    return NamedIssuerFetcher(registry, Others())


async def reason(of: NamedIssuerFetcher, url: str) -> str:
    with pytest.raises(FetchError) as caught:
        await of.get_json(url)
    return caught.value.reason


async def test_addresses_and_ca_of_an_issuer_are_for_this_issuer_alone(served: Served) -> None:
    named = NamedIssuer(url=served.url + "/a", ca_file=served.ca_file, addresses=ALLOWED)
    assert await fetcher(named).get_json(served.url + "/a" + DOCUMENT)
    # Its keys may be on another path of its origin.
    assert await fetcher(named).get_json(served.url + "/keys")
    # An issuer on another path is another issuer.
    for other in ("", "/b", "/a/b", "/A"):
        assert await reason(fetcher(named), served.url + other + DOCUMENT) == "address"
    port = served.url.rpartition(":")[2]
    assert await reason(fetcher(named), f"https://127.0.0.2:{port}{DOCUMENT}") == "address"
    assert await reason(fetcher(named), f"https://127.0.0.1:{int(port) - 1}/x") == "address"
    closed = NamedIssuer(url=served.url, ca_file=served.ca_file)
    assert await reason(fetcher(closed), served.url + DOCUMENT) == "address"
    unknown = NamedIssuer(url=served.url, addresses=ALLOWED)
    assert await reason(fetcher(unknown), served.url + DOCUMENT) == "unreachable"
    removed = NamedIssuer(url=served.url, ca_file=served.ca_file + ".old", addresses=ALLOWED)
    assert await reason(fetcher(removed), served.url + DOCUMENT) == "ca_file"


async def test_documents_of_a_cluster_come_from_its_server(served: Served) -> None:
    named = NamedIssuer(url=CLUSTER, server=served.url, ca_file=served.ca_file)
    found = await fetcher(named).get_json(CLUSTER + DOCUMENT)
    # An API server names the address of a node, which only its cluster reaches.
    assert found["jwks_uri"] == CLUSTER + KEYS
    keys = await fetcher(named).get_json(CLUSTER + KEYS)
    assert keys["jwks_uri"].startswith("https://192.0.2.10:")
    assert served.received == [DOCUMENT, KEYS]
    for other in (CLUSTER + "/api/v1/secrets", served.url + KEYS):
        assert await reason(fetcher(named), other) == "address"
    assert len(served.received) == 2


async def test_folder_has_both_documents_and_nothing_outside_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "published"
    for path in (DOCUMENT, KEYS):
        file = folder / path.removeprefix("/")
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"path": path}))
    (tmp_path / "other.json").write_text("{}")
    named = NamedIssuer(url="https://issuer.example/a/", folder=str(folder))
    for path in (DOCUMENT, KEYS):
        assert await fetcher(named).get_json("https://issuer.example/a" + path) == {"path": path}
    of = fetcher(named)
    assert await reason(of, "https://issuer.example/a/../other.json") == "url"
    assert await reason(of, "https://issuer.example/a/missing") == "status"
    assert await reason(of, "https://issuer.example/b" + DOCUMENT) == "address"
    (folder / "text").write_text("text")
    assert await reason(of, "https://issuer.example/a/text") == "not_json"
    (folder / "link").symlink_to(tmp_path / "other.json")
    assert await reason(of, "https://issuer.example/a/link") == "url"


def test_registry_is_the_same_after_a_restart_and_reports_changes(tmp_path: Path) -> None:
    changes: list[int] = []
    first = IssuerRegistry(tmp_path / "issuers.json")
    first.on_change = lambda: changes.append(1)
    named = NamedIssuer(url="https://issuer.example", addresses=ALLOWED)
    assert [first.put(named).value, first.put(named).value] == ["created", "unchanged"]
    github = [first.put_platform("github").value, first.put_platform("github").value]
    assert github == ["created", "unchanged"]
    assert len(changes) == 2
    second = IssuerRegistry(tmp_path / "issuers.json")
    assert (second.issuers, second.platforms) == ({named.url: named}, {"github"})
    first.replace(second)
    assert len(changes) == 2
    first.replace(IssuerRegistry(None))
    assert len(changes) == 3
    assert IssuerRegistry(tmp_path / "issuers.json").issuers == {}


@pytest.mark.parametrize("text", ["", "[]", '{"issuers": [{"url": 1, "x": 2}], "platforms": []}'])
def test_damaged_file_of_the_registry_is_refused_with_a_hint(tmp_path: Path, text: str) -> None:
    (tmp_path / "issuers.json").write_text(text)
    with pytest.raises(IssuersUnreadable) as refused:
        IssuerRegistry(tmp_path / "issuers.json")
    assert "apply the seed again" in refused.value.hint


async def test_issuer_below_another_one_has_its_own_documents(tmp_path: Path) -> None:
    url = "https://issuer.example"
    of = fetcher(
        NamedIssuer(url=url, folder=str(tmp_path)), NamedIssuer(url=f"{url}/a", folder="/none")
    )
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "keys").write_text("{}")
    assert await reason(of, f"{url}/a/keys") == "status"
