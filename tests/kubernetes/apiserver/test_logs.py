"""`pods/log` through a kubelet: found by its node's status, called with a client certificate, proxied."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import pytest

from podpass.http.server import bind, respond, server_tls, serving
from tests.kubernetes.apiserver.test_websocket_streams import ADMIN, SECONDS, connect, refusal

PODS = "/api/v1/namespaces/default/pods"


class Kubelet:
    """A kubelet that serves one log, line by line, to clients with a certificate."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.status, self.port, self.location = 200, 0, ""
        self.more, self.gone = asyncio.Event(), asyncio.Event()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["extensions"]["tls"]["client_cert"], "the client sent no certificate"
        self.asked.append((scope["path"], parse_qs(scope["query_string"].decode())))
        if self.location and scope["path"] != self.location:
            await respond(send, 302, b"", ((b"location", self.location.encode()),))
            return
        if self.status != 200:
            await respond(send, self.status, b"container not found")
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first\n", "more_body": True})
        if self.asked[-1][1].get("follow") == ["true"]:
            await self._wait(receive)
        await send({"type": "http.response.body", "body": b"last\n"})

    async def _wait(self, receive: Any) -> None:
        """Wait for more output, or until the API server closes the connection."""

        async def disconnect() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.gone.set()

        tasks = {asyncio.create_task(self.more.wait()), asyncio.create_task(disconnect())}
        _, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()


@pytest.fixture
async def kubelet(ca: Any, tmp_path: Path) -> AsyncIterator[Kubelet]:
    leaf = ca.issue_cert("127.0.0.1", common_name="kubelet")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "kubelet.pem"))
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    path = str(tmp_path / "kubelet.pem")
    tls = server_tls(path, path, client_ca=str(tmp_path / "ca.pem"))
    made, sock = Kubelet(), bind("127.0.0.1", 0)
    made.port = sock.getsockname()[1]
    async with serving(made.app, sock, tls):
        yield made


@pytest.fixture
async def running(serve: Any, ca: Any, tmp_path: Path, kubelet: Kubelet) -> Any:
    """Yield a cluster with a pod `p` with two containers on the kubelet's node."""
    leaf = ca.issue_cert(common_name="kube-apiserver-kubelet-client")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    tls = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    tls.load_cert_chain(str(tmp_path / "client.pem"))
    live = await serve(kubelet_tls=tls)
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port}},
    }
    await live.call("POST", "/api/v1/nodes", {"metadata": {"name": "n"}, "status": status})
    containers = [{"name": name, "image": "i"} for name in ("a", "b")]
    spec = {"containers": containers, "nodeName": "n"}
    made = await live.call("POST", PODS, {"metadata": {"name": "p"}, "spec": spec})
    assert made.status == 201, made.text
    return live


async def test_log_options_are_passed_to_the_kubelet(running: Any, kubelet: Kubelet) -> None:
    answer = await running.call("GET", f"{PODS}/p/log?container=a&tailLines=5&timestamps=true&x=1")
    assert (answer.status, answer.text) == (200, "first\nlast\n")
    assert answer.headers["content-type"].startswith("text/plain")
    assert kubelet.asked == [
        ("/containerLogs/default/p/a", {"tailLines": ["5"], "timestamps": ["true"]})
    ]


async def test_followed_log_is_streamed(running: Any, kubelet: Kubelet) -> None:
    headers = {"authorization": "Bearer admin-token"}
    url = f"{running.server}{PODS}/p/log?container=a&follow=true"
    async with running.session.get(url, headers=headers) as answer:
        assert await asyncio.wait_for(answer.content.readline(), 5) == b"first\n"
        kubelet.more.set()
        assert await asyncio.wait_for(answer.content.readline(), 5) == b"last\n"
        assert await answer.content.read() == b""


@pytest.mark.parametrize(
    ("offered", "confirmed"),
    [
        ([], None),
        (["binary.k8s.io"], "binary.k8s.io"),
        (["v9.example", "base64.binary.k8s.io"], "base64.binary.k8s.io"),
    ],
)
async def test_log_is_sent_by_websocket(
    running: Any, kubelet: Kubelet, offered: list[str], confirmed: str | None
) -> None:
    async with connect(
        running, f"{PODS}/p/log?container=a&follow=true", offered, **ADMIN
    ) as socket:
        assert socket.protocol == confirmed
        parts: list[bytes] = []
        async for message in socket:
            is_text = message.type is aiohttp.WSMsgType.TEXT
            assert is_text is (confirmed == "base64.binary.k8s.io")
            parts.append(base64.b64decode(message.data) if is_text else message.data)
            if b"first" in parts[-1]:
                kubelet.more.set()
        assert (parts[0], b"".join(parts)) == (b"", b"first\nlast\n")
        assert socket.close_code == 1000


async def test_kubelet_stops_a_log_when_the_client_closes_its_websocket(
    running: Any, kubelet: Kubelet
) -> None:
    async with connect(running, f"{PODS}/p/log?container=a&follow=true", **ADMIN) as socket:
        await socket.receive(timeout=SECONDS)
    await asyncio.wait_for(kubelet.gone.wait(), SECONDS)


async def test_log_by_websocket_ends_when_the_server_stops(running: Any, kubelet: Kubelet) -> None:
    async with connect(running, f"{PODS}/p/log?container=a&follow=true", **ADMIN) as socket:
        assert [(await socket.receive(timeout=SECONDS)).data for _ in "ab"] == [b"", b"first\n"]
        running.cluster.drain()
        assert (await socket.receive(timeout=SECONDS)).type is aiohttp.WSMsgType.CLOSE
    await asyncio.wait_for(kubelet.gone.wait(), SECONDS)


async def test_refused_log_by_websocket_is_an_ordinary_response(
    running: Any, kubelet: Kubelet
) -> None:
    path = f"{PODS}/p/log?container=a"
    assert await refusal(running, path, ["v9.example"], **ADMIN) == 400
    assert await refusal(running, path, authorization="Bearer alice-token") == 403
    assert not kubelet.asked
    assert await refusal(running, f"{path}&tailLines=-1", **ADMIN) == 422


async def test_container_name_is_required_for_a_pod_with_several(
    running: Any, kubelet: Kubelet
) -> None:
    answer = await running.call("GET", f"{PODS}/p/log")
    assert answer.status == 400
    assert "['a', 'b']" in answer.body["message"]
    assert not kubelet.asked


@pytest.mark.parametrize(("status", "seen"), [(400, 400), (404, 404), (500, 500), (403, 500)])
async def test_error_of_the_kubelet_is_returned(
    running: Any, kubelet: Kubelet, status: int, seen: int
) -> None:
    kubelet.status = status
    answer = await running.call("GET", f"{PODS}/p/log?container=b")
    assert answer.status == seen
    assert answer.body["message"] == "container not found"


@pytest.mark.parametrize("query", ["tailLines=-1", "limitBytes=0", "sinceSeconds=0"])
async def test_invalid_log_options_are_refused(running: Any, query: str) -> None:
    answer = await running.call("GET", f"{PODS}/p/log?container=a&{query}")
    assert (answer.status, answer.body["details"]["kind"]) == (422, "PodLogOptions")


async def test_unreachable_kubelet_is_an_internal_error(running: Any) -> None:
    change = {"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}}
    merge = "application/merge-patch+json"
    await running.call("PATCH", "/api/v1/nodes/n/status", change, content_type=merge)
    answer = await running.call("GET", f"{PODS}/p/log?container=a")
    assert (answer.status, answer.body["reason"]) == (500, "InternalError")
    assert "127.0.0.1:1" in answer.body["message"]


async def test_redirect_of_a_kubelet_is_not_followed(running: Any, kubelet: Kubelet) -> None:
    """Fails if redirects are followed: the API server would send its client certificate to any address."""
    kubelet.location = "/elsewhere"
    answer = await running.call("GET", f"{PODS}/p/log?container=a")
    assert answer.status == 500
    assert [path for path, _ in kubelet.asked] == ["/containerLogs/default/p/a"]


@pytest.mark.parametrize("container", ["c", "..", "a/../../kube-system/other/a"])
async def test_log_of_an_unknown_container_is_refused(
    running: Any, kubelet: Kubelet, container: str
) -> None:
    """Fails if the container name is passed to the kubelet without a check."""
    answer = await running.call("GET", f"{PODS}/p/log?container={container}")
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")
    assert not kubelet.asked
