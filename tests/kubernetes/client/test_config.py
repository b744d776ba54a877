"""Kubeconfigs and in-cluster configuration: parsing and refusals."""

import asyncio
import base64
import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from podpass.kubernetes.client import (
    BadKubeconfig,
    EntryNotFound,
    KubeClient,
    KubeError,
    in_cluster,
    read_kubeconfig,
)
from tests.kubeconfigs import build_kubeconfig


def test_token_is_not_in_the_repr_and_the_server_has_no_trailing_slash(server: Any) -> None:
    target = read_kubeconfig(server.kubeconfig({"token": "hush"}, server="https://k.example/"))
    assert target.server == "https://k.example"
    assert target.headers() == {"authorization": "Bearer hush"}
    assert "hush" not in repr(target)


def test_token_file_next_to_the_kubeconfig_is_read_at_each_request(server: Any) -> None:
    target = read_kubeconfig(server.kubeconfig({"tokenFile": "token"}))
    (server.folder / "token").write_text("first\n")
    assert target.headers() == {"authorization": "Bearer first"}
    (server.folder / "token").write_text("second\n")
    assert target.headers() == {"authorization": "Bearer second"}
    (server.folder / "token").unlink()
    with pytest.raises(KubeError) as caught:
        target.headers()
    assert caught.value.status == 401


@pytest.mark.parametrize(
    "entry", [{"auth-provider": {"name": "gcp"}}, {"username": "u", "password": "p"}]
)
def test_unsupported_authentication_is_refused_with_its_name(server: Any, entry: Any) -> None:
    with pytest.raises(BadKubeconfig) as caught:
        read_kubeconfig(server.kubeconfig(entry))
    assert caught.value.facts["entry"] == next(iter(entry))


def test_kubeconfig_that_does_not_exist_is_refused_with_the_option(tmp_path: Path) -> None:
    with pytest.raises(BadKubeconfig) as caught:
        read_kubeconfig(tmp_path / "missing")
    assert "--kubeconfig" in caught.value.hint


async def test_server_without_verification_is_used_with_a_warning(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The certificate is for another name, and of a CA that is not trusted."""
    path = server.kubeconfig({"token": "t"}, server=f"https://localhost:{server.port}")
    _change_cluster(path, **{"insecure-skip-tls-verify": True, "certificate-authority-data": None})
    async with KubeClient.from_kubeconfig(path) as client:
        assert await client.get("/version") == {}
    (record,) = caplog.records
    assert (record.levelname, record.message) == ("WARNING", "api_server_not_verified")
    caplog.clear()
    _change_cluster(path, **{"insecure-skip-tls-verify": False})
    async with KubeClient.from_kubeconfig(path) as client:
        with pytest.raises(KubeError, match="not trusted"):
            await client.get("/version")
    assert caplog.records == []


def _change_cluster(path: Path, **members: Any) -> None:
    config = yaml.safe_load(path.read_text())
    config["clusters"][0]["cluster"] |= members
    path.write_text(yaml.safe_dump(config))


def test_ca_that_would_have_no_effect_is_refused(server: Any) -> None:
    """As client-go does: the user believes that the server is verified."""
    with pytest.raises(BadKubeconfig, match="exclude each other"):
        read_kubeconfig(server.kubeconfig({"token": "t"}, **{"insecure-skip-tls-verify": True}))


async def test_certificate_is_verified_for_the_tls_server_name(server: Any) -> None:
    for name, trusted in (("kubernetes.example", True), ("other.example", False)):
        path = server.kubeconfig({"token": "t"}, **{"tls-server-name": name})
        async with KubeClient.from_kubeconfig(path) as client:
            if trusted:
                assert await client.get("/version") == {}
            else:
                with pytest.raises(KubeError, match="not trusted"):
                    await client.get("/version")


@pytest.mark.parametrize("tls_name", [None, "kubernetes.example"])
async def test_requests_go_through_the_proxy(server: Any, tls_name: str | None) -> None:
    """The host name resolves only at the proxy, which tunnels and does not see the token."""
    seen: list[bytes] = []

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        back, forth = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(_copy(reader, forth), _copy(back, writer))

    proxy = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    host = "api.invalid" if tls_name else "kubernetes.example"
    path = server.kubeconfig(
        {"token": "hush"},
        server=f"https://{host}:6443",
        **{"proxy-url": f"http://me:pw@127.0.0.1:{port}", "tls-server-name": tls_name},
    )
    async with proxy, KubeClient.from_kubeconfig(path) as client:
        assert await client.get("/version") == {}
        assert "pw" not in repr(client.target)
    head = seen[0].decode()
    assert head.startswith(f"CONNECT {host}:6443 HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic " in head
    assert "hush" not in head
    assert server.requests[0].headers["authorization"] == "Bearer hush"


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.mark.parametrize("url", ["socks5://me:pw@127.0.0.1:1080", "127.0.0.1:3128", "http://", "x"])
def test_proxy_of_another_kind_is_refused_without_printing_it(server: Any, url: str) -> None:
    with pytest.raises(BadKubeconfig) as caught:
        read_kubeconfig(server.kubeconfig({"token": "t"}, **{"proxy-url": url}))
    assert caught.value.facts["entry"] == "proxy-url"
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "a: [",
        "current-context: gone\ncontexts: []",
        yaml.safe_dump(build_kubeconfig("k.example")),
    ],
)
def test_invalid_kubeconfig_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(BadKubeconfig) as caught:
        read_kubeconfig(path)
    assert str(path) in caught.value.message


def test_missing_kubeconfig_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BadKubeconfig) as caught:
        KubeClient.from_kubeconfig(tmp_path / "none")
    assert "No such file" in caught.value.message


@pytest.mark.parametrize("data", ["!!!", base64.b64encode(b"no PEM").decode()])
def test_invalid_certificate_is_refused_and_not_in_the_error(server: Any, data: str) -> None:
    user = {"client-certificate-data": data, "client-key-data": data}
    with pytest.raises(BadKubeconfig) as caught:
        read_kubeconfig(server.kubeconfig(user))
    assert "no PEM" not in str(caught.value)


def test_missing_certificate_file_is_named(server: Any) -> None:
    """A kubeconfig that was copied to another machine or container has no access to its files."""
    with pytest.raises(
        BadKubeconfig, match=r"client-key, gone/admin\.key, cannot be read: No such file"
    ):
        read_kubeconfig(server.kubeconfig({"client-key": "gone/admin.key"}))


def test_in_cluster_config_is_refused_outside_a_pod() -> None:
    with pytest.raises(BadKubeconfig):
        in_cluster({})


def _mount(folder: Path, ca: trustme.CA) -> Path:
    folder.mkdir(exist_ok=True)
    ca.cert_pem.write_to_path(str(folder / "ca.crt"))
    (folder / "token").write_text("first\n")
    return folder


async def test_in_cluster_token_is_read_at_each_request(
    server: Any, ca: trustme.CA, tmp_path: Path
) -> None:
    folder = _mount(tmp_path / "mount", ca)
    where = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)}
    async with KubeClient(in_cluster(where, folder)) as client:
        await client.get("/version")
        (folder / "token").write_text("second\n")
        await client.get("/version")
    assert [each.headers["authorization"] for each in server.requests] == [
        "Bearer first",
        "Bearer second",
    ]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
async def test_api_server_at_an_ipv6_address_is_used_and_verified(
    server: Any, ca: trustme.CA, tmp_path: Path
) -> None:
    """An IPv6-only cluster: the kubelet's variable has no brackets, the URL of a kubeconfig has."""
    where = {"KUBERNETES_SERVICE_HOST": "::1", "KUBERNETES_SERVICE_PORT": str(server.port)}
    target = in_cluster(where, _mount(tmp_path / "mount", ca))
    assert target.server == f"https://[::1]:{server.port}"
    path = server.kubeconfig({"token": "hush"}, server=target.server)
    for each in (target, read_kubeconfig(path)):
        async with KubeClient(each) as client:
            assert await client.get("/version") == {}
    assert [each.headers["host"] for each in server.requests] == [f"[::1]:{server.port}"] * 2


async def test_new_ca_file_is_trusted_without_a_restart(
    server: Any, ca: trustme.CA, tmp_path: Path
) -> None:
    folder = _mount(tmp_path / "mount", trustme.CA())
    where = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)}
    async with KubeClient(in_cluster(where, folder)) as client:
        with pytest.raises(KubeError):
            await client.get("/version")
        (folder / "ca.crt").write_text("half")
        with pytest.raises(KubeError):
            await client.get("/version")
        _mount(folder, ca)
        assert await client.get("/version") == {}


def test_unreadable_ca_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("no certificate")
    with pytest.raises(BadKubeconfig, match=r"ca\.crt cannot be read"):
        in_cluster({"KUBERNETES_SERVICE_HOST": "::1", "KUBERNETES_SERVICE_PORT": "1"}, tmp_path)


def write_token_kubeconfig(path: Path, server: str, **user: str) -> None:
    """Write a kubeconfig whose only context is `test`."""
    path.write_text(yaml.safe_dump(build_kubeconfig(server, user)))


def test_client_uses_the_kubeconfig_that_was_written_again(tmp_path: Path) -> None:
    """A static token that expires is replaced there; a cluster that is created again has another port."""
    path = tmp_path / "config"
    write_token_kubeconfig(path, "http://127.0.0.1:1", token="first")
    client = KubeClient.from_kubeconfig(path)
    unchanged = client.target
    client.follow_kubeconfig()
    assert client.target is unchanged
    write_token_kubeconfig(path, "http://127.0.0.1:2", token="second token")
    client.follow_kubeconfig()
    assert client.server == "http://127.0.0.1:2"
    assert client.target.headers() == {"authorization": "Bearer second token"}


def test_client_keeps_its_credential_while_the_kubeconfig_is_incomplete(tmp_path: Path) -> None:
    path = tmp_path / "config"
    write_token_kubeconfig(path, "http://127.0.0.1:1", token="first")
    client = KubeClient.from_kubeconfig(path)
    path.write_text("users: [")
    for _ in range(2):
        with pytest.raises(BadKubeconfig, match="it is not YAML"):
            client.follow_kubeconfig()
    assert client.target.headers() == {"authorization": "Bearer first"}
    path.unlink()
    with pytest.raises(EntryNotFound):
        client.follow_kubeconfig()
    write_token_kubeconfig(path, "http://127.0.0.1:1", token="second")
    client.follow_kubeconfig()
    assert client.target.headers() == {"authorization": "Bearer second"}


def test_client_certificate_that_was_renewed_in_its_file_is_used(tmp_path: Path) -> None:
    ca, path = trustme.CA(), tmp_path / "config"
    certificate, key = tmp_path / "client.crt", tmp_path / "client.key"

    def issue(name: str) -> None:
        issued = ca.issue_cert(name)
        key.write_bytes(issued.private_key_pem.bytes())
        certificate.write_bytes(issued.cert_chain_pems[0].bytes())

    issue("first.example")
    files = {"client-certificate": "client.crt", "client-key": str(key)}
    write_token_kubeconfig(path, "https://127.0.0.1:1", **files)
    client = KubeClient.from_kubeconfig(path)
    earlier = client.target
    issue("second.example")
    client.follow_kubeconfig()
    assert client.target is not earlier
    assert not client.target.is_outdated()


async def test_client_of_a_context_stays_in_it_when_another_one_becomes_current(
    tmp_path: Path,
) -> None:
    """Otherwise a token of another cluster would be requested, and sent to this one's cloud."""
    path = tmp_path / "config"
    config = {
        "current-context": "first",
        "contexts": [
            {"name": name, "context": {"cluster": name, "user": name}}
            for name in ("first", "second")
        ],
        "clusters": [
            {"name": name, "cluster": {"server": f"http://{name}.example"}}
            for name in ("first", "second")
        ],
        "users": [{"name": name, "user": {"token": name}} for name in ("first", "second")],
    }
    path.write_text(yaml.safe_dump(config))
    client = KubeClient.from_kubeconfig(path, "first")
    path.write_text(yaml.safe_dump({**config, "current-context": "second"}))
    client.reload()
    assert client.server == KubeClient.from_kubeconfig(path, "first").server
    assert client.server == "http://first.example"
    assert client.target.headers() == {"authorization": "Bearer first"}
    assert KubeClient.from_kubeconfig(path).server == "http://second.example"
