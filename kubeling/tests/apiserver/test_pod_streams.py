"""`exec`, `attach` and `portforward` of pods: checked by the API server, then connected to a kubelet."""

import asyncio
import socket
import ssl
from typing import Any

import pytest

from kubeling.asgi import WebSocket, respond
from tests.apiserver.test_validating_webhooks import DENIED, configure

PODS = "/api/v1/namespaces/default/pods"
HANDSHAKE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "MDAwMDAwMDAwMDAwMDAwMA==",
    "sec-websocket-protocol": "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0",
}


class Kubelet:
    """A kubelet that accepts each stream, sends two messages, ends it, and records the requests."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self.headers: dict[str, str] = {}
        self.offers: list[str] = []
        self.status = 101

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        query = scope["query_string"].decode()
        self.targets.append(scope["raw_path"].decode() + (f"?{query}" if query else ""))
        self.headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.offers = list(scope["subprotocols"])
        if self.status != 101:
            await respond(scope, send, self.status, b"container not found", ())
            return
        socket = WebSocket(scope, receive, send)
        await socket.accept("v5.channel.k8s.io")
        await socket.send(b"x")
        await socket.send(b"y")
        await socket.close()


@pytest.fixture
def kubelet() -> Kubelet:
    return Kubelet()


@pytest.fixture
async def running(live: Any, kubelet: Kubelet) -> Any:
    """Return a cluster with a pod `p` on the kubelet's node, and a pod `waiting` without a node."""
    live.cluster.kubelets["n"] = kubelet.app
    await live.call("POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
    for name, node in (("p", {"nodeName": "n"}), ("waiting", {})):
        spec = {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}], **node}
        made = await live.call("POST", PODS, {"metadata": {"name": name}, "spec": spec})
        assert made.status == 201, made.text
    return live


async def handshake(running: Any, path: str, **headers: str) -> tuple[int, dict[str, str], Any]:
    """Send a handshake; return the status, the headers, and the body of a refusal."""
    given = {"authorization": "Bearer admin-token", **HANDSHAKE, **headers}
    async with running.session.get(f"{running.server}{PODS}/{path}", headers=given) as answer:
        body = None if answer.status == 101 else await answer.json()
        return answer.status, {k.lower(): v for k, v in answer.headers.items()}, body


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (
            "p/exec?container=a&command=sh&command=-c&command=a%26b&stdin=true&stdout=1&stderr=false",
            "/exec/default/p/a?input=1&output=1&command=sh&command=-c&command=a%26b",
        ),
        ("p/attach?container=b&stdout&tty=true", "/attach/default/p/b?output=1&tty=1"),
        ("p/portforward?ports=80&ports=81", "/portForward/default/p?port=80%2C81"),
        ("p/portforward", "/portForward/default/p"),
    ],
)
async def test_request_is_translated_for_the_kubelet(
    running: Any, kubelet: Kubelet, path: str, target: str
) -> None:
    assert (await handshake(running, path))[0] == 101
    assert kubelet.targets == [target]


async def test_tokens_and_other_headers_are_not_passed_on(running: Any, kubelet: Kubelet) -> None:
    """Fails if the handshake is copied: the kubelet would get the credentials of every user."""
    status, headers, _ = await handshake(
        running, "p/exec?container=a&command=ls&stdout=1", cookie="a=b"
    )
    assert status == 101
    assert headers["sec-websocket-protocol"] == "v5.channel.k8s.io"
    assert kubelet.headers.keys() <= {"upgrade"}
    assert kubelet.offers == ["v5.channel.k8s.io"]


async def test_each_message_has_a_tls_record_of_its_own(running: Any, ca: Any) -> None:
    """Fails if messages are written together: older Python clients miss the second one."""

    def receive() -> list[bytes]:
        context = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
        host, _, port = running.server.removeprefix("https://").rpartition(":")
        given = {"host": "x", "authorization": "Bearer admin-token", **HANDSHAKE}
        lines = [f"{name}: {value}" for name, value in given.items()]
        head = f"GET {PODS}/p/exec?container=a&command=ls&stdout=1 HTTP/1.1"
        with (
            socket.create_connection((host, int(port)), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            connection.sendall("\r\n".join([head, *lines, "", ""]).encode())
            # Each call returns at most one record.
            return [connection.recv(65536) for _ in range(3)]

    response, *frames = await asyncio.to_thread(receive)
    assert response.startswith(b"HTTP/1.1 101 ")
    assert frames == [b"\x82\x01x", b"\x82\x01y"]


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("p/exec?command=ls&stdout=1", 400, "a container name must be specified"),
        ("p/exec?container=c&command=ls", 400, "container c is not valid for pod p"),
        ("p/exec?container=..%2Fx&command=ls", 400, "is not valid for pod p"),
        ("p/portforward?ports=x", 400, "ports must be numbers"),
        ("waiting/exec?container=a", 400, "pod waiting does not have a host assigned"),
        ("gone/exec?container=a", 404, 'pods "gone" not found'),
    ],
)
async def test_invalid_request_does_not_reach_the_kubelet(
    running: Any, kubelet: Kubelet, path: str, status: int, message: str
) -> None:
    found, _, body = await handshake(running, path)
    assert found == status
    assert message in body["message"]
    assert not kubelet.targets


@pytest.mark.parametrize(("status", "seen"), [(400, 400), (404, 404), (500, 500), (403, 500)])
async def test_error_of_the_kubelet_is_returned(
    running: Any, kubelet: Kubelet, status: int, seen: int
) -> None:
    kubelet.status = status
    found, _, body = await handshake(running, "p/exec?container=a&command=ls&stdout=1")
    assert (found, body["message"]) == (seen, "container not found")


async def test_node_without_a_kubelet_is_an_internal_error(running: Any) -> None:
    running.cluster.kubelets.clear()
    found, _, body = await handshake(running, "p/exec?container=a&command=ls&stdout=1")
    assert (found, body["reason"]) == (500, "InternalError")
    assert "no kubelet of node n is connected" in body["message"]


async def test_webhook_for_connect_sees_the_command_and_may_deny_it(
    running: Any, kubelet: Kubelet, hook: Any
) -> None:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CONNECT"]}
    validating = await hook(DENIED)
    spec = validating.spec(rules=[{**rule, "resources": ["pods/exec"]}], objectSelector={})
    await configure(running, "validating", spec)
    found, _, body = await handshake(running, "p/exec?container=a&command=ls&stdout=1")
    assert (found, "denied the request: not here" in body["message"]) == (400, True)
    (asked,) = validating.requests
    assert (asked["operation"], asked["subResource"]) == ("CONNECT", "exec")
    assert asked["object"] == {
        "kind": "PodExecOptions",
        "apiVersion": "v1",
        "stdout": True,
        "container": "a",
        "command": ["ls"],
    }
    assert not kubelet.targets
    assert (await handshake(running, "p/attach?container=a&stdout=1"))[0] == 101
