"""kubeling on the HTTP server of an instance: client certificates, and the port of the kubelet."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from kubeling.asgi import WebSocket
from kubeling.kubelet.server import API_SERVER_CLIENT, require_api_server

from kubeling import asgi
from podpass.http.server import bind, server_tls, serving
from podpass.http.websocket_scopes import websocket_scopes
from tests.kubeling.cluster import Live, live, ring, serve  # noqa: F401 fixtures

WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
V4 = "v4.channel.k8s.io"


async def test_client_certificate_of_a_replaced_ca_is_refused_on_an_open_connection(
    live: Live,  # noqa: F811 a fixture
    tmp_path: Path,
) -> None:
    leaf = live.ca.issue_cert(common_name="cluster-admin", organization_name="system:masters")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    context = ssl.create_default_context(cafile=str(live.ca_file))
    context.load_cert_chain(str(tmp_path / "client.pem"))
    old, new = live.ca.cert_pem.bytes(), trustme.CA().cert_pem.bytes()
    connector = aiohttp.TCPConnector(ssl=context, limit=1)
    async with aiohttp.ClientSession(connector=connector) as session:
        statuses = []
        for accepted in (None, old, old + new, new, new + old):
            if accepted is not None:
                live.cluster.accept_client_cas(accepted)
            async with session.post(live.server + WHO, json={}) as answer:
                statuses.append(answer.status)
                await answer.read()
    assert statuses == [201, 201, 201, 401, 201]


async def test_client_certificate_gives_user_and_groups(
    live: Live,  # noqa: F811 a fixture
    tmp_path: Path,
) -> None:
    leaf = live.ca.issue_cert(common_name="cluster-admin", organization_name="system:masters")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    context = ssl.create_default_context(cafile=str(live.ca_file))
    context.load_cert_chain(str(tmp_path / "client.pem"))
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.post(live.server + WHO, json={}) as response,
    ):
        assert response.status == 201
        user = (await response.json())["status"]["userInfo"]
    await asyncio.sleep(0)
    assert user == {
        "username": "cluster-admin",
        "groups": ["system:masters", "system:authenticated"],
    }


async def kubelet(scope: Any, receive: Any, send: Any) -> None:
    """Respond to every request, and accept every WebSocket."""
    if scope["type"] == "websocket":
        socket = WebSocket(scope, receive, send)
        await socket.accept(V4)
        await socket.close()
        return
    await asgi.respond(scope, send, 200, b"hush", ())


@asynccontextmanager
async def kubelet_port(folder: Path, authority: trustme.CA) -> AsyncIterator[str]:
    """Serve a kubelet for a real API server, as an instance does."""
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    leaf = authority.issue_cert("127.0.0.1")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(folder / "leaf.pem"))
    path = str(folder / "leaf.pem")
    tls = server_tls(path, path, client_ca=str(folder / "ca.pem"))
    sock = bind("127.0.0.1", 0)
    async with serving(websocket_scopes(require_api_server(kubelet)), sock, tls):
        yield f"https://127.0.0.1:{sock.getsockname()[1]}"


def client_session(folder: Path, authority: trustme.CA, name: str | None) -> aiohttp.ClientSession:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if name is not None:
        authority.issue_cert("client.example", common_name=name).configure_cert(context)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, force_close=True))


@pytest.mark.parametrize(
    ("name", "status"),
    [
        (None, 401),
        ("webhook", 403),
        ("Kube-apiserver-kubelet-client", 403),
        (f"{API_SERVER_CLIENT}.evil", 403),
        (f" {API_SERVER_CLIENT}", 403),
        (API_SERVER_CLIENT, 200),
    ],
)
async def test_port_of_the_kubelet_serves_only_the_api_server(
    tmp_path: Path, ca: trustme.CA, name: str | None, status: int
) -> None:
    """Fails without the check: every program on the machine could read logs and run commands in pods."""
    async with kubelet_port(tmp_path, ca) as url, client_session(tmp_path, ca, name) as session:
        for path in ("/healthz", "/containerLogs/default/secretive/app", "/nothing"):
            async with session.get(url + path) as response:
                assert (response.status, "hush" in await response.text()) == (status, status == 200)
        try:
            async with session.ws_connect(f"{url}/exec/default/pod/app", protocols=[V4]) as socket:
                opened, protocol = 200, socket.protocol
        except aiohttp.WSServerHandshakeError as exc:
            opened, protocol = exc.status, None
        assert (opened, protocol) == (status, V4 if status == 200 else None)


async def test_certificate_of_another_ca_is_refused_at_the_port_of_the_kubelet(
    tmp_path: Path, ca: trustme.CA
) -> None:
    async with (
        kubelet_port(tmp_path, ca) as url,
        client_session(tmp_path, trustme.CA(), API_SERVER_CLIENT) as session,
    ):
        with pytest.raises((aiohttp.ClientError, OSError)):
            async with session.get(f"{url}/healthz") as response:
                await response.read()
