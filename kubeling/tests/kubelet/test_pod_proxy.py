"""The subresource `proxy` of Services and pods, through the API server to the programs of pods."""

import asyncio
import base64
import sys
from functools import partial
from typing import Any

import aiohttp
import pytest

from tests.kubelet.cluster import PODS, KubeletCluster, Object, condition, eventually, shell
from tests.ports import free_port

pytestmark = pytest.mark.processes

SERVICES = "/api/v1/namespaces/default/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
# Responds with the request as JSON, or with a redirect or a page that have links of their own server.
SERVER = """
import http.server, json, os, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        said = {"method": self.command, "path": self.path, "body": body, "headers": dict(self.headers)}
        text, kind = json.dumps(said), "application/json"
        if self.path == "/page":
            text, kind = '<a href="/next">next</a> <img src=local.png> <a href="//other/x">x</a>', "text/html"
        self.send_response(302 if self.path == "/redirect" else 200)
        self.send_header("Location", "/elsewhere?a=b")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", len(text))
        self.send_header("X-Own", "yes")
        self.end_headers()
        self.wfile.write(text.encode() if self.command != "HEAD" else b"")
    do_GET = do_HEAD = do_OPTIONS = do_POST = do_PUT = do_PATCH = do_DELETE = answer
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler)
if len(sys.argv) > 2:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*sys.argv[2:])
    server.socket = tls.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""

# Sends each message back; closes with a code of its own after `bye`, and records how the client has closed.
ECHO = """
import sys, aiohttp, aiohttp.web as web
codes = []
async def echo(request):
    if request.path == "/codes":
        return web.json_response(codes)
    ws = web.WebSocketResponse(protocols=["v1.echo"])
    await ws.prepare(request)
    await ws.send_json({"path": request.raw_path, "headers": dict(request.headers)})
    async for message in ws:
        if message.data == "bye":
            await ws.close(code=4001)
        elif message.type is aiohttp.WSMsgType.TEXT:
            await ws.send_str(message.data)
        else:
            await ws.send_bytes(message.data)
    codes.append(ws.close_code)
    return ws
app = web.Application()
app.router.add_get("/{path:.*}", echo)
web.run_app(app, host="0.0.0.0", port=int(sys.argv[1]), print=None)
"""


def server(port: int, *tls: Any, ports: Any = None) -> Object:
    command = [sys.executable, "-u", "-c", SERVER, str(port), *map(str, tls)]
    probe = {"tcpSocket": {"port": port}, "periodSeconds": 1}
    declared = [{"containerPort": port}] if ports is None else ports
    return {
        "name": "app",
        "image": "none",
        "command": command,
        "readinessProbe": probe,
        "ports": declared,
    }


async def run(cluster: KubeletCluster, container: Object, **spec: Any) -> Object:
    """Run a pod `web` until it is ready."""
    await cluster.run("web", container, metadata={"labels": {"app": "web"}}, **spec)
    return await cluster.until("web", lambda pod: condition(pod, "Ready") == "True")


async def expose(cluster: KubeletCluster, port: int, **spec: Any) -> None:
    """Create the Service `web`; wait until it has an endpoint, unless it has no selector."""
    ports = [{"name": "http", "port": 80, "targetPort": port}]
    spec = {"selector": {"app": "web"}, "ports": ports, **spec}
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}
    await cluster.client.create(SERVICES, body)

    async def is_ready() -> bool:
        found = await cluster.client.list(SLICES)
        conditions = [one["conditions"] for each in found for one in each.get("endpoints") or ()]
        return any(each["ready"] for each in conditions)

    if spec["selector"]:
        await eventually(is_ready)


async def call(
    cluster: KubeletCluster, path: str, method: str = "GET", **more: Any
) -> tuple[aiohttp.ClientResponse, Any]:
    headers = {"authorization": "Bearer admin-token", **more.pop("headers", {})}
    async with cluster.session.request(
        method, cluster.server + path, headers=headers, allow_redirects=False, **more
    ) as response:
        is_json = response.content_type == "application/json"
        return response, (await response.json() if is_json else await response.text())


@pytest.mark.parametrize("form", ["web:http", "web:80", "http:web:http", "http:web:80"])
async def test_request_to_a_service_reaches_a_ready_pod(cluster: KubeletCluster, form: str) -> None:
    port = free_port()
    await run(cluster, server(port, ports=[]))
    await expose(cluster, port)
    response, said = await call(
        cluster, f"{SERVICES}/{form}/proxy/a//b/%2Fc?x=1&y=%20", "POST", data=b"hello"
    )
    assert (response.status, response.headers["x-own"]) == (200, "yes")
    assert (said["method"], said["path"], said["body"]) == (
        "POST",
        "/a//b/%2Fc?x=1&y=%20",
        "hello",
    )


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
async def test_every_method_reaches_the_pod(cluster: KubeletCluster, method: str) -> None:
    port = free_port()
    await run(cluster, server(port))
    response, said = await call(cluster, f"{PODS}/web/proxy/a", method)
    assert response.status == 200
    assert method == "HEAD" or said["method"] == method


async def test_pod_never_gets_the_credential_of_the_caller(cluster: KubeletCluster) -> None:
    port = free_port()
    await run(cluster, server(port))
    given = {"x-mine": "1", "impersonate-user": "admin", "impersonate-group": "system:masters"}
    _, said = await call(cluster, f"{PODS}/web:{port}/proxy/", headers=given)
    sent = {name.lower(): value for name, value in said["headers"].items()}
    assert sent["x-mine"] == "1"
    assert sent["x-forwarded-uri"] == f"{PODS}/web:{port}/proxy/"
    assert not [name for name in sent if name.startswith(("authorization", "impersonate"))]
    assert "admin-token" not in str(said)


async def test_websocket_reaches_the_pod_without_the_token(cluster: KubeletCluster) -> None:
    """Fails if a browser's token, which is a subprotocol, is sent to the pod."""
    port = free_port()
    command = [sys.executable, "-u", "-c", ECHO, str(port)]
    await run(cluster, {**server(port), "command": command})
    token = base64.urlsafe_b64encode(b"admin-token").decode().rstrip("=")
    offers = (f"base64url.bearer.authorization.k8s.io.{token}", "v1.echo")
    path = f"{PODS}/web:{port}/proxy"
    connect = partial(cluster.session.ws_connect, protocols=offers)
    async with connect(f"{cluster.server}{path}/a%2Fb?x=1") as ws:
        said = await ws.receive_json()
        assert (ws.protocol, said["path"]) == ("v1.echo", "/a%2Fb?x=1")
        assert token not in str(said)
        await ws.send_str("text")
        await ws.send_bytes(b"\x00\xff")
        assert [(await ws.receive()).data for _ in range(2)] == ["text", b"\x00\xff"]
        await ws.send_str("bye")
        assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
        assert ws.close_code == 4001
    async with connect(f"{cluster.server}{path}/") as ws:
        await ws.receive_json()
        await ws.close(code=4002)

    async def is_closed() -> bool:
        _, codes = await call(cluster, f"{path}/codes")
        return bool(codes[1:] == [4002])

    await eventually(is_closed)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await connect(f"{cluster.server}{PODS}/missing:{port}/proxy/")
    assert refused.value.status == 404
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await cluster.session.ws_connect(
            f"{cluster.server}{path}/", headers={"authorization": "Bearer node-token"}
        )
    assert refused.value.status == 403


async def test_https_pod_is_reached_without_verification(cluster: KubeletCluster) -> None:
    port, leaf = free_port(), cluster.ca.issue_cert("other.example")
    files = cluster.folder / "web.pem", cluster.folder / "web.key"
    leaf.cert_chain_pems[0].write_to_path(str(files[0]))
    leaf.private_key_pem.write_to_path(str(files[1]))
    await run(cluster, server(port, *files))
    await expose(cluster, port)
    for path in (f"{SERVICES}/https:web:http", f"{PODS}/https:web:{port}"):
        response, said = await call(cluster, f"{path}/proxy/a")
        assert (response.status, said["path"]) == (200, "/a")


async def test_redirects_and_links_lead_through_the_proxy(cluster: KubeletCluster) -> None:
    port = free_port()
    await run(cluster, server(port))
    path = f"{PODS}/web/proxy"
    response, _ = await call(cluster, f"{path}?a=b")
    assert (response.status, response.headers["location"]) == (301, f"{path}/?a=b")
    response, _ = await call(cluster, f"{path}/redirect")
    assert (response.status, response.headers["location"]) == (302, f"{path}/elsewhere?a=b")
    response, page = await call(cluster, f"{path}/page")
    links = f'<a href="{path}/next">next</a> <img src=local.png> <a href="//other/x">x</a>'
    assert (page, response.headers["content-length"]) == (links, str(len(links)))


async def test_errors_are_those_of_the_real_api_server(cluster: KubeletCluster) -> None:
    await expose(cluster, 1, selector=None)
    port = free_port()
    await cluster.run("quiet", {**server(port), "command": ["sleep", "600"]})
    await cluster.phase("quiet", "Running")
    for path, status, message in (
        (f"{SERVICES}/web:http/proxy/", 503, 'no endpoints available for service "web"'),
        (f"{SERVICES}/web/proxy/", 503, 'no endpoints available for service "web"'),
        (f"{SERVICES}/web:81/proxy/", 503, 'no service port 81 found for service "web"'),
        (f"{SERVICES}/missing/proxy/", 404, 'services "missing" not found'),
        (f"{SERVICES}/ftp:web:80/proxy/", 400, 'invalid service request "ftp:web:80"'),
        (f"{PODS}/missing/proxy/", 404, 'pods "missing" not found'),
        (f"{PODS}/a:b:c:d/proxy/", 400, 'invalid pod request "a:b:c:d"'),
        (f"{PODS}/quiet/proxy/", 503, "error trying to reach service: dial tcp 127."),
    ):
        response, said = await call(cluster, path)
        assert (response.status, said["kind"], said["code"]) == (status, "Status", status)
        assert said["message"].startswith(message)


async def test_proxy_of_a_node_serves_the_state_of_its_kubelet(cluster: KubeletCluster) -> None:
    nodes = await cluster.client.list("/api/v1/nodes")
    path, port = f"/api/v1/nodes/{nodes[0]['metadata']['name']}", 10250
    await cluster.run("web", shell("echo started; exec sleep 600"))
    await cluster.phase("web", "Running")
    for form in (path, f"{path}:{port}", path.replace("nodes/", "nodes/https:") + f":{port}"):
        assert (await call(cluster, f"{form}/proxy/healthz"))[1] == "ok"
    _, found = await call(cluster, f"{path}/proxy/pods")
    assert (found["kind"], [each["metadata"]["name"] for each in found["items"]]) == (
        "PodList",
        ["web"],
    )
    _, text = await call(cluster, f"{path}/proxy/metrics")
    assert "kubelet_running_pods 1\n" in text
    assert 'kubelet_running_containers{container_state="running"} 1\n' in text
    _, text = await call(cluster, f"{path}/proxy/containerLogs/default/web/app")
    assert text == "started\n"


async def test_proxy_of_a_node_neither_runs_commands_nor_connects_to_pods(
    cluster: KubeletCluster,
) -> None:
    """Fails if all paths are sent on: a reader of metrics could run commands in each pod."""
    nodes = await cluster.client.list("/api/v1/nodes")
    node = nodes[0]["metadata"]["name"]
    await cluster.run("web", shell("exec sleep 600"))
    await cluster.phase("web", "Running")
    for path, method, status in (
        (f"{node}/proxy/exec/default/web/app?command=id&output=1", "GET", 404),
        (f"{node}/proxy/%65xec/default/web/app?command=id&output=1", "GET", 404),
        (f"{node}/proxy/proxy/default/web/http/22/", "GET", 404),
        (f"{node}/proxy//proxy/default/web/http/22/", "GET", 404),
        (f"{node}/proxy/pods", "POST", 405),
        (f"{node}:22/proxy/healthz", "GET", 400),
        ("missing/proxy/healthz", "GET", 404),
    ):
        response, said = await call(cluster, f"/api/v1/nodes/{path}", method)
        assert (response.status, said["kind"]) == (status, "Status"), path
    alice = {"impersonate-user": "alice"}
    response, _ = await call(cluster, f"/api/v1/nodes/{node}/proxy/healthz", headers=alice)
    assert response.status == 403


async def test_right_on_a_service_is_no_right_to_send_requests_to_it(
    cluster: KubeletCluster,
) -> None:
    response, _ = await call(
        cluster, f"{SERVICES}/web/proxy/", headers={"authorization": "Bearer node-token"}
    )
    assert response.status == 403


async def test_options_needs_a_grant_of_all_verbs(cluster: KubeletCluster) -> None:
    """The verb of OPTIONS is empty, as in the real API server."""
    port = free_port()
    await run(cluster, server(port))
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    group = "rbac.authorization.k8s.io"
    subject = {"kind": "User", "name": "alice", "apiGroup": group}
    for name, verbs, status in (
        ("some", ["get", "create", "update", "patch", "delete"], 403),
        ("all", ["*"], 200),
    ):
        rules = [{"apiGroups": [""], "resources": ["pods/proxy"], "verbs": verbs}]
        about = {"apiVersion": f"{group}/v1", "metadata": {"name": name}}
        await cluster.client.create(f"{rbac}/roles", {**about, "kind": "Role", "rules": rules})
        role = {"kind": "Role", "name": name, "apiGroup": group}
        binding = {**about, "kind": "RoleBinding", "roleRef": role, "subjects": [subject]}
        await cluster.client.create(f"{rbac}/rolebindings", binding)
        alice = {"impersonate-user": "alice"}
        response, _ = await call(cluster, f"{PODS}/web/proxy/", "OPTIONS", headers=alice)
        assert response.status == status


async def test_requests_do_not_reach_other_programs_of_the_machine(cluster: KubeletCluster) -> None:
    """Fails if a pod in the network of the machine is reached at each port, or an endpoint is no pod."""
    reached = asyncio.Event()

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        writer.close()

    await run(cluster, server(free_port()), hostNetwork=True)
    await expose(cluster, 1, selector=None)
    async with await asyncio.start_server(note, "127.0.0.1", 0) as private:
        port = private.sockets[0].getsockname()[1]
        for at, reference in enumerate(({"kind": "Pod", "name": "web"}, {"kind": "Pod"})):
            endpoint = {
                "addresses": ["127.0.0.1"],
                **({"targetRef": reference} if reference else {}),
            }
            body = {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": f"s{at}", "labels": {"kubernetes.io/service-name": "web"}},
                "addressType": "IPv4",
                "endpoints": [endpoint],
                "ports": [{"name": "http", "port": port}],
            }
            await cluster.client.create(SLICES, body)
        response, said = await call(cluster, f"{SERVICES}/web:http/proxy/")
        assert response.status == 503, said
        response, said = await call(cluster, f"{PODS}/web:{port}/proxy/")
        assert (response.status, said["message"]) == (400, "address not allowed")
    assert not reached.is_set()
    response, said = await call(cluster, f"{PODS}/web/proxy/a")
    assert (response.status, said["path"]) == (200, "/a")
