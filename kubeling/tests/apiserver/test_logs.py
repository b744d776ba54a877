"""`pods/log` through the kubelet of the pod's node."""

import asyncio
import base64
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import pytest

from kubeling.asgi import respond
from tests.apiserver.test_websocket_streams import ADMIN, SECONDS, connect, refusal

PODS = "/api/v1/namespaces/default/pods"


class Kubelet:
    """A kubelet that serves one log, line by line, to clients with a certificate."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.status = 200
        self.more, self.gone = asyncio.Event(), asyncio.Event()

    async def app(self, scope: Any, _receive: Any, send: Any) -> None:
        self.asked.append((scope["raw_path"].decode(), parse_qs(scope["query_string"].decode())))
        if self.status != 200:
            await respond(scope, send, self.status, b"container not found", ())
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first\n", "more_body": True})
        if self.asked[-1][1].get("follow") == ["true"]:
            try:
                await self.more.wait()
            except asyncio.CancelledError:
                self.gone.set()
                raise
        await send({"type": "http.response.body", "body": b"last\n"})


@pytest.fixture
def kubelet() -> Kubelet:
    return Kubelet()


@pytest.fixture
async def running(live: Any, kubelet: Kubelet) -> Any:
    """Return a cluster with a pod `p` with two containers on the kubelet's node."""
    live.cluster.kubelets["n"] = kubelet.app
    await live.call("POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
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


async def test_node_without_a_kubelet_is_an_internal_error(running: Any) -> None:
    running.cluster.kubelets.clear()
    answer = await running.call("GET", f"{PODS}/p/log?container=a")
    assert (answer.status, answer.body["reason"]) == (500, "InternalError")
    assert "no kubelet of node n is connected" in answer.body["message"]


@pytest.mark.parametrize("container", ["c", "..", "a/../../kube-system/other/a"])
async def test_log_of_an_unknown_container_is_refused(
    running: Any, kubelet: Kubelet, container: str
) -> None:
    """Fails if the container name is passed to the kubelet without a check."""
    answer = await running.call("GET", f"{PODS}/p/log?container={container}")
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")
    assert not kubelet.asked
