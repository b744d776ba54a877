"""Ordinary manifests: replicas on one port, Services by name and address, rolling updates."""

import asyncio
import json
import os
import shutil
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from kubeling.kubelet import cluster_dns
from kubeling.kubelet.cluster_dns import Question, Record
from kubeling.kubelet.node_network import SHARED_ADDRESS, NetworkUnavailable, NodeNetwork
from kubeling.kubelet.pod_network import PodNetworkConfig
from kubeling.kubelet.relay import Shares
from tests.kubelet.cluster import (
    PODS,
    KubeletCluster,
    Object,
    condition,
    eventually,
    outside_address,
    programs,
    shell,
    state,
)
from tests.ports import free_port

pytestmark = pytest.mark.processes

SERVICES = "/api/v1/namespaces/default/services"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
OPEN = "import urllib.request; print(urllib.request.urlopen({!r}, timeout=5).read().decode())"
# Responds to each request with its text and with the responses of the Services in its arguments.
SERVER = """
import http.server, os, signal, sys, threading, urllib.request
text, *urls = sys.argv[1:]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answers = [urllib.request.urlopen(url, timeout=10).read().decode() for url in urls]
        if self.path == "/name":
            answers = [os.environ["HOSTNAME"]]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(" ".join([text, *answers]).encode())
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT", "8000"))), Handler)
server.daemon_threads = False
def stop(*_):
    threading.Thread(target=server.shutdown).start()
signal.signal(signal.SIGTERM, stop)
server.serve_forever()
server.server_close()
"""


@pytest.fixture
async def cluster(bare_cluster: KubeletCluster) -> KubeletCluster:
    """Return a cluster whose pods have networks of their own."""
    try:
        network = await NodeNetwork.open(os.environ["PATH"])
    except NetworkUnavailable as exc:
        pytest.skip(f"{exc.message}: {exc.hint}")
    await network.close()
    kubelet = await bare_cluster.start(**settings(bare_cluster))
    assert kubelet.pod_network == "pod-networks"
    return bare_cluster


def settings(cluster: KubeletCluster) -> dict[str, Any]:
    path = programs(cluster.folder, "nsenter", "bwrap")
    return {"path": path, "own_networks": True, "sandboxes": ["bubblewrap", "namespaces"]}


def python(code: str, *arguments: object, **more: Any) -> Object:
    command = [sys.executable, "-u", "-c", code, *map(str, arguments)]
    return {"name": "app", "image": "none", "command": command, **more}


def server(text: str, *urls: str, port: int = 8000, **more: Any) -> Object:
    probe = {"httpGet": {"path": "/name", "port": port}, "periodSeconds": 1}
    env = [{"name": "PORT", "value": str(port)}]
    return python(SERVER, text, *urls, readinessProbe=probe, env=env, **more)


async def deploy(cluster: KubeletCluster, name: str, container: Object, **spec: Any) -> None:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    body = {"selector": {"matchLabels": labels}, "template": template, **spec}
    await cluster.client.create(
        DEPLOYMENTS,
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": body},
    )


async def expose(cluster: KubeletCluster, name: str, **spec: Any) -> Object:
    ports = [{"port": 80, "targetPort": 8000}]
    body = {"selector": {"app": name}, "ports": ports, **spec}
    return await cluster.client.create(
        SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": body}
    )


async def until_available(cluster: KubeletCluster, name: str, replicas: int = 1) -> None:
    async def is_available() -> bool:
        found = await cluster.client.get(f"{DEPLOYMENTS}/{name}")
        status = found.get("status") or {}
        current = status.get("observedGeneration") == found["metadata"]["generation"]
        numbers = {
            status.get(each) for each in ("replicas", "updatedReplicas", "availableReplicas")
        }
        return current and numbers == {replicas}

    try:
        await eventually(is_available, 40)
    except TimeoutError:
        pods = await cluster.client.list(PODS)
        raise AssertionError(json.dumps([each["status"] for each in pods], indent=1)) from None


async def output(cluster: KubeletCluster, name: str, container: Object) -> list[str]:
    """Run a pod until it ends; return the lines of its log."""
    await cluster.run(name, container)
    await cluster.phase(name, "Succeeded", "Failed")
    return (await cluster.log(name)).splitlines()


async def test_three_deployments_call_each_other_by_the_names_of_their_services(
    cluster: KubeletCluster,
) -> None:
    await deploy(cluster, "orders-db", server("db"))
    await deploy(cluster, "orders-api", server("api", "http://orders-db"))
    await deploy(
        cluster,
        "web",
        server("web", "http://orders-api.default.svc.cluster.local", "http://orders-db.default"),
    )
    for name in ("orders-db", "orders-api", "web"):
        await expose(cluster, name)
        await until_available(cluster, name)
    names = ("web", "web.default", "web.default.svc", "web.default.svc.cluster.local")
    for number, name in enumerate(names):
        found = await output(cluster, f"client-{number}", python(OPEN.format(f"http://{name}/")))
        assert found == ["web api db db"]


async def test_replicas_listen_on_one_port_and_are_all_reached(cluster: KubeletCluster) -> None:
    await deploy(cluster, "web", server("web"), replicas=3)
    await expose(cluster, "web")
    await until_available(cluster, "web", 3)
    pods = await cluster.client.list(PODS)
    assert len({each["status"]["podIP"] for each in pods}) == 3
    code = """
import urllib.request
found = set()
while len(found) < 3:
    found.add(urllib.request.urlopen("http://web/name", timeout=5).read().decode())
print(*sorted(found))
"""
    [line] = await output(cluster, "client", python(code))
    assert set(line.split()) == {"web", *(each["metadata"]["name"] for each in pods)}


async def test_pod_has_its_own_loopback_and_reaches_other_pods_by_their_addresses(
    cluster: KubeletCluster,
) -> None:
    await cluster.run("web", server("web"))
    pod = await cluster.until("web", lambda pod: condition(pod, "Ready") == "True")
    code = """
import sys, urllib.request
for host in sys.argv[1:]:
    try:
        print(urllib.request.urlopen(f"http://{host}:8000", timeout=5).read().decode())
    except OSError as exc:
        print(exc.reason.strerror)
"""
    address = pod["status"]["podIP"]
    found = await output(cluster, "client", python(code, address, "127.0.0.1"))
    assert found == ["web", "Connection refused"]


async def test_service_without_a_ready_endpoint_refuses_and_follows_its_endpoints(
    cluster: KubeletCluster,
) -> None:
    service = await expose(cluster, "web", ports=[{"port": 80, "targetPort": "http"}])
    address = service["spec"]["clusterIP"]
    code = f"""
import socket
try:
    print(socket.create_connection(("{address}", 80), 20))
except OSError as exc:
    print(exc.strerror)
"""
    assert await output(cluster, "before", python(code)) == ["Connection refused"]
    ports = [{"name": "http", "containerPort": 8000}]
    labels = {"labels": {"app": "web"}}
    await cluster.run("web", server("web", ports=ports), metadata=labels)
    await cluster.until("web", lambda pod: condition(pod, "Ready") == "True")
    waiting = f"""
import time, urllib.request
while True:
    try:
        print(urllib.request.urlopen("http://{address}", timeout=5).read().decode())
        break
    except OSError:
        time.sleep(0.1)
"""
    assert await output(cluster, "during", python(waiting)) == ["web"]
    await cluster.client.delete(f"{PODS}/web")
    await cluster.wait_until_deleted("web")
    assert await output(cluster, "after", python(code)) == ["Connection refused"]


@pytest.mark.parametrize("replicas", [1, 3])
async def test_no_request_fails_during_rolling_updates(
    cluster: KubeletCluster, replicas: int
) -> None:
    pre_stop = {"preStop": {"sleep": {"seconds": 1}}}
    container = server("1", lifecycle=pre_stop)
    strategy = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    await deploy(cluster, "web", container, replicas=replicas, strategy=strategy)
    await expose(cluster, "web")
    await until_available(cluster, "web", replicas)
    code = """
import sys, urllib.request
counts = {}
while True:
    try:
        found = urllib.request.urlopen("http://web/", timeout=10).read().decode()
    except OSError as exc:
        found = f"failed: {exc}"
    counts[found] = counts.get(found, 0) + 1
    if sum(counts.values()) % 20 == 0:
        print(counts)
"""
    await cluster.run("load", python(code))
    await cluster.until("load", lambda pod: condition(pod, "Ready") == "True")

    async def answers(text: str) -> bool:
        lines = (await cluster.log("load")).splitlines()
        return bool(lines) and f"'{text}'" in lines[-1]

    await eventually(lambda: answers("1"), 30)
    for version in ("2", "3"):
        patch = {
            "spec": {"template": {"spec": {"containers": [server(version, lifecycle=pre_stop)]}}}
        }
        await cluster.client.patch(f"{DEPLOYMENTS}/web", patch)
        await until_available(cluster, "web", replicas)
        await eventually(lambda: answers(version), 30)  # noqa: B023 awaited in this iteration
    assert "failed" not in (await cluster.log("load"))


async def test_old_process_does_not_answer_the_probe_of_a_new_pod(cluster: KubeletCluster) -> None:
    """The new version never listens, so it must never become ready."""
    await deploy(cluster, "web", server("old"))
    await until_available(cluster, "web")
    probe = {"httpGet": {"path": "/name", "port": 8000}, "periodSeconds": 1}
    new = shell("sleep 600", readinessProbe=probe)
    patch = {"spec": {"template": {"spec": {"containers": [new]}}}}
    await cluster.client.patch(f"{DEPLOYMENTS}/web", patch)

    async def is_probed() -> bool:
        events = await cluster.client.list("/api/v1/namespaces/default/events")
        return any(each["reason"] == "Unhealthy" and each.get("count", 0) > 1 for each in events)

    await eventually(is_probed, 20)
    pods = await cluster.client.list(PODS)
    ready = [
        each["spec"]["containers"][0]["command"][0]
        for each in pods
        if condition(each, "Ready") == "True"
    ]
    assert ready == [sys.executable]


async def test_names_of_headless_and_external_services_and_of_ports(
    cluster: KubeletCluster,
) -> None:
    labels = {"labels": {"app": "web"}}
    ports = [{"name": "http", "port": 80, "targetPort": 8000}]
    await expose(cluster, "web", clusterIP="None", ports=ports)
    await expose(
        cluster, "alias", type="ExternalName", externalName="web.default.svc.cluster.local"
    )
    await cluster.run("web", server("web"), metadata=labels, hostname="web-0", subdomain="web")
    pod = await cluster.until("web", lambda pod: condition(pod, "Ready") == "True")
    address = pod["status"]["podIP"]
    code = """
import socket, sys, time
for name in sys.argv[1:]:
    try:
        print(socket.gethostbyname(name))
    except socket.gaierror as exc:
        print(exc.errno == socket.EAI_NONAME)
"""
    names = ("web", "alias", "web-0.web", "other.web", "missing.default.svc.cluster.local")
    found = await output(cluster, "client", python(code, *names))
    assert found == [address, address, address, "True", "True"]


async def test_pod_reaches_the_api_server_and_no_other_socket_of_the_loopback(
    cluster: KubeletCluster,
) -> None:
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    code = """
import os, socket, sys
host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
for address in ((host, port), ("kubernetes.default.svc", 443), ("127.0.0.1", sys.argv[1])):
    try:
        socket.create_connection((address[0], int(address[1])), 10)
        print("connected")
    except OSError as exc:
        print(exc.strerror)
"""
    async with await asyncio.start_server(close, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        found = await output(cluster, "client", python(code, port))
    assert found == ["connected", "connected", "Connection refused"]


@pytest.mark.parametrize("host_network", [False, True])
async def test_pod_reaches_the_shared_socket_by_name_and_listens_on_its_port(
    bare_cluster: KubeletCluster, tmp_path: Path, host_network: bool
) -> None:
    """Fails if the socket is in the network of the pod: the pod could not listen on 0.0.0.0."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"shared")
        writer.close()

    code = """
import socket, sys
if sys.argv[2] == "False":
    socket.create_server(("0.0.0.0", int(sys.argv[1])))
found = socket.create_connection(("vault.example", int(sys.argv[1])), 20)
print(found.recv(9).decode(), found.getpeername()[0])
"""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.11 vault.example\n127.0.0.111 other.example\n")
    async with await asyncio.start_server(greet, "127.0.0.11", 0) as server:
        port = server.sockets[0].getsockname()[1]
        shared = PodNetworkConfig(shared=("127.0.0.11", port))
        given = {**settings(bare_cluster), "network": shared, "hosts_file": hosts}
        if (await bare_cluster.start(**given)).pod_network != "pod-networks":
            pytest.skip("this machine does not permit networks of pods")
        await bare_cluster.run("p", python(code, port, host_network), hostNetwork=host_network)
        await bare_cluster.phase("p", "Succeeded", "Failed")
        address = "127.0.0.11" if host_network else SHARED_ADDRESS
        assert (await bare_cluster.log("p")).strip() == f"shared {address}"


async def test_machine_reaches_a_port_of_a_service_also_after_a_restart_of_the_kubelet(
    bare_cluster: KubeletCluster,
) -> None:
    """The API server calls webhooks there."""

    async def is_reached(address: str) -> bool:
        try:
            reader, writer = await asyncio.open_connection(address, 8000)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            found = await reader.read()
            writer.close()
        except OSError:
            return False
        return found.endswith(b"web")

    await expose(bare_cluster, "web")
    for restarts in range(2):
        async with bare_cluster.running(**settings(bare_cluster)) as kubelet:
            if kubelet.pod_network != "pod-networks":
                pytest.skip("this machine permits no networks of pods")
            if not restarts:
                container = {**server("web"), "readinessProbe": None}
                labels = {"labels": {"app": "web"}}
                await bare_cluster.run("web", container, metadata=labels, restartPolicy="Always")
            pod = await bare_cluster.until("web", lambda pod: condition(pod, "Ready") == "True")
            address = pod["status"]["podIP"]
            await eventually(lambda: is_reached(address))  # noqa: B023 awaited in this iteration


async def test_exec_runs_in_the_network_of_the_pod(cluster: KubeletCluster) -> None:
    code = OPEN.format("http://127.0.0.1:8000/")
    probe = {"exec": {"command": [sys.executable, "-c", code]}, "periodSeconds": 1}
    await cluster.run("web", {**server("web"), "readinessProbe": probe})
    await cluster.until("web", lambda pod: condition(pod, "Ready") == "True")


async def test_pod_in_the_network_of_the_machine_is_reached_by_its_service(
    cluster: KubeletCluster,
) -> None:
    port = free_port()
    await expose(cluster, "web", ports=[{"port": 80, "targetPort": port}])
    labels = {"labels": {"app": "web"}}
    container = server("web", port=port, ports=[{"containerPort": port}])
    await cluster.run("web", container, metadata=labels, hostNetwork=True)
    pod = await cluster.until("web", lambda pod: condition(pod, "Ready") == "True")
    assert pod["status"]["podIP"] == "127.0.0.1"
    assert await output(cluster, "client", python(OPEN.format("http://web/"))) == ["web"]


async def write_slice(cluster: KubeletCluster, name: str, *addresses: str, **more: Any) -> None:
    """Write an EndpointSlice of the Service `web`, as any user may who can write EndpointSlices."""
    body = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [each]} for each in addresses],
        "ports": [{"name": "", "port": 80}],
        **more,
    }
    await cluster.client.create(SLICES, body)


# Prints how a connection to the Service `web` ends.
CONNECT = """
import socket
while True:
    try:
        print(socket.create_connection(("web", 80), 10).recv(1))
        break
    except ConnectionRefusedError:
        continue
    except OSError as exc:
        print(exc.strerror)
        break
"""


@pytest.mark.parametrize("name", ["web", "host", "missing"])
async def test_endpoint_of_a_user_does_not_lead_to_the_loopback_of_the_machine(
    cluster: KubeletCluster, name: str
) -> None:
    """Fails if the kubelet connects to any address of an EndpointSlice: pods would reach local services.

    The pod `host` is at this address, but it does not declare the port.
    """
    reached = asyncio.Event()

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        writer.close()

    await cluster.run("web", shell("sleep 600"))
    await cluster.run("host", shell("sleep 600"), hostNetwork=True)
    await cluster.until("host", lambda pod: pod["status"].get("podIP") == "127.0.0.1")
    await expose(cluster, "web", selector=None)
    async with await asyncio.start_server(note, "127.0.0.1", 0) as private:
        ports = [{"name": "", "port": private.sockets[0].getsockname()[1]}]
        endpoint = {"addresses": ["127.0.0.1"], "targetRef": {"kind": "Pod", "name": name}}
        await write_slice(cluster, "web-1", endpoints=[endpoint], ports=ports)
        assert await output(cluster, "client", python(CONNECT)) == ["Connection reset by peer"]
    assert not reached.is_set()


async def test_pod_that_may_change_its_network_does_not_leave_the_cluster_by_an_endpoint(
    cluster: KubeletCluster,
) -> None:
    reached = asyncio.Event()

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        writer.write(b"x")
        writer.close()

    host = outside_address()
    await expose(cluster, "web", selector=None)
    admin = {"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}
    async with await asyncio.start_server(note, host, 0) as outside:
        ports = [{"name": "", "port": outside.sockets[0].getsockname()[1]}]
        await write_slice(cluster, "web-1", host, ports=ports)
        found = await output(cluster, "admin", python(CONNECT, **admin))
        assert (found, reached.is_set()) == (["Connection reset by peer"], False)
        assert await output(cluster, "client", python(CONNECT)) == ["b'x'"]


async def test_service_has_sockets_for_100_ports_and_an_event_says_so(
    cluster: KubeletCluster,
) -> None:
    ports = [{"name": f"p{at}", "port": 1000 + at, "targetPort": 8000} for at in range(150)]
    service = await expose(cluster, "web", ports=ports, selector=None)
    names = [{"name": f"p{at}", "port": 8000} for at in range(150)]
    for part in (names[:100], names[100:]):
        await write_slice(cluster, f"web-{len(part)}", "127.64.0.9", ports=part)
    code = """
import socket, sys
for port in (1000, 1099, 1100, 1149):
    while True:
        try:
            socket.create_connection((sys.argv[1], port), 10)
        except ConnectionRefusedError:
            if port in (1000, 1099):
                continue
            print("refused")
            break
        except ConnectionResetError:
            pass  # the endpoint does not exist
        print("open")
        break
"""
    address = service["spec"]["clusterIP"]
    found = await output(cluster, "client", python(code, address))
    assert found == ["open", "open", "refused", "refused"]

    async def is_reported() -> bool:
        events = await cluster.client.list("/api/v1/namespaces/default/events")
        return any(each["reason"] == "TooManyPorts" for each in events)

    await eventually(is_reported)


def query(name: str, kind: int = 1, opcode: int = 0) -> bytes:
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    return (
        struct.pack("!HHHHHH", 7, opcode << 11, 1, 0, 0, 0)
        + labels
        + struct.pack("!BHH", 0, kind, 1)
    )


async def answer(cluster: KubeletCluster, *arguments: Any, by_tcp: bool = True) -> tuple[int, int]:
    """Return the flags of the response to a query, and the number of its records."""
    assert cluster.kubelet is not None
    assert cluster.kubelet.dns is not None
    response = await cluster.kubelet.dns.answer(query(*arguments), "10.0.0.9", by_tcp=by_tcp)
    assert response is not None
    assert len(response) <= (65535 if by_tcp else 512)
    flags, records = struct.unpack_from("!2xH2xH", response)
    return flags, records


async def test_response_for_many_endpoints_is_bounded(cluster: KubeletCluster) -> None:
    """Fails without the bounds: each query would build a record for each port of each endpoint."""
    ports = [{"name": f"p{at}", "port": 1 + at} for at in range(100)]
    await expose(cluster, "web", clusterIP="None", ports=ports, selector=None)
    for part in range(3):
        addresses = [f"127.{65 + part}.{at // 250}.{at % 250}" for at in range(1000)]
        await write_slice(cluster, f"web-{part}", *addresses, ports=ports)

    async def is_known() -> bool:
        return (await answer(cluster, "web.default.svc.cluster.local"))[1] == 1000

    await eventually(is_known)
    _, records = await answer(cluster, "_p99._tcp.web.default.svc.cluster.local", 33)
    assert 200 < records <= 1000
    flags, records = await answer(cluster, "web.default.svc.cluster.local", by_tcp=False)
    assert flags & 0x0200
    assert records < 20


async def test_names_in_an_endpoint_slice_are_ignored(cluster: KubeletCluster) -> None:
    ports = [{"name": "http", "port": 80}]
    await expose(cluster, "web", clusterIP="None", selector=None, ports=ports)
    await write_slice(cluster, "web-1", "www.example.com", addressType="FQDN", ports=ports)
    await write_slice(cluster, "web-2", "127.64.0.9", ports=ports)

    async def is_known() -> bool:
        return (await answer(cluster, "web.default.svc.cluster.local"))[1] == 1

    await eventually(is_known)
    assert (await answer(cluster, "_http._tcp.web.default.svc.cluster.local", 33))[1] == 1


@pytest.mark.parametrize(
    ("kind", "opcode", "code"),
    [*((1, opcode, 4) for opcode in (1, 2, 4, 5, 15)), (252, 0, 5), (251, 0, 5)],
)
async def test_query_that_only_a_name_server_of_a_zone_answers_is_not_forwarded(
    cluster: KubeletCluster, kind: int, opcode: int, code: int
) -> None:
    flags, records = await answer(cluster, "example.com", kind, opcode)
    assert (flags & 0xF, flags >> 11 & 0xF, records) == (code, opcode, 0)


async def test_pod_with_many_connections_to_the_dns_server_leaves_some_to_others(
    cluster: KubeletCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import socket, sys, time
found = [socket.create_connection(("10.96.0.10", 53), 10) for _ in range(3)]
for each in found:
    try:
        each.sendall(bytes.fromhex(sys.argv[1]))
        print(len(each.recv(999)) > 2)
    except OSError:
        print(False)
started = time.monotonic()
print(found[0].recv(1), time.monotonic() - started < 10)
"""
    asked = query("kubernetes.default.svc.cluster.local")
    sent = (len(asked).to_bytes(2, "big") + asked).hex()
    assert cluster.kubelet is not None
    assert cluster.kubelet.dns is not None
    monkeypatch.setattr(cluster.kubelet.dns, "_stream_shares", Shares(2))
    found = await output(cluster, "client", python(code, sent))
    assert found == ["True", "False", "False", "b'' True"]


async def test_machine_without_namespaces_says_what_it_needs(bare_cluster: KubeletCluster) -> None:
    kubelet = await bare_cluster.start(own_networks=True)  # there is no nsenter
    assert kubelet.pod_network == "pod-addresses"
    assert await output(bare_cluster, "p", shell("echo ran")) == ["ran"]
    assert state(await bare_cluster.get("p"))["terminated"]["exitCode"] == 0
    events = await bare_cluster.client.list("/api/v1/namespaces/default/events")
    found = {
        each["involvedObject"]["kind"]: each["message"]
        for each in events
        if each["reason"] == "PodNetworkUnavailable"
    }
    assert set(found) == {"Node", "Pod"}
    for message in found.values():
        assert "nsenter is not on PATH" in message
        assert "Pods share the network of this machine" in message
        assert "install util-linux" in message


async def test_pod_reaches_addresses_outside_the_cluster(cluster: KubeletCluster) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"outside")
        writer.close()

    address = outside_address()
    code = """
import socket, sys
for port in sys.argv[2:]:
    try:
        print(socket.create_connection((sys.argv[1], int(port)), 10).recv(99).decode())
    except OSError as exc:
        print(exc.strerror)
"""
    async with await asyncio.start_server(greet, address, 0) as outside:
        port = outside.sockets[0].getsockname()[1]
        found = await output(cluster, "client", python(code, address, port, free_port()))
    assert found == ["outside", "Connection reset by peer"]


async def test_service_is_resolved_while_the_pod_waits_for_many_other_names(
    cluster: KubeletCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name server of the machine does not respond, as on a machine without a network."""
    monkeypatch.setattr(cluster_dns, "_SECONDS", 600.0)  # no query ends before the test does
    silent = socket.socket(type=socket.SOCK_DGRAM)
    try:
        silent.bind(("127.63.0.54", 53))
    except PermissionError:
        pytest.skip("this user may not listen on port 53")
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 127.63.0.54\n")
    code = """
import socket, sys, time
client = socket.socket(type=socket.SOCK_DGRAM)
client.settimeout(1)
client.connect(("10.96.0.10", 53))
for _ in range(600):
    client.send(bytes.fromhex(sys.argv[1]))
    time.sleep(0.001)  # else the buffer of the server's socket is full
for _ in range(10):  # a query is lost if the buffer is full anyway
    client.send(bytes.fromhex(sys.argv[2]))
    try:
        while (found := client.recv(512))[:2] != bytes.fromhex(sys.argv[2])[:2]:
            pass
    except TimeoutError:
        continue
    print(int.from_bytes(found[6:8], "big"))
    break
"""
    sent = query("www.example.com"), b"\1\1" + query("kubernetes.default.svc.cluster.local")[2:]
    with silent:
        assert cluster.kubelet is not None
        assert cluster.kubelet.dns is not None
        cluster.kubelet.dns.resolv_conf = resolv_conf
        found = await output(cluster, "client", python(code, *(each.hex() for each in sent)))
    assert found == ["1"]


async def test_other_names_are_resolved_by_the_name_servers_of_the_machine(
    cluster: KubeletCluster, tmp_path: Path
) -> None:
    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            question = Question.parse(data)
            record = Record(question.name, 1, bytes([192, 0, 2, 7]))
            self.transport.sendto(question.respond([record], 0), addr)

    address, loop = "127.63.0.53", asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_datagram_endpoint(Server, local_addr=(address, 53))
    except PermissionError:
        pytest.skip("this user may not listen on port 53")
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text(f"nameserver {address}\n")
    try:
        assert cluster.kubelet is not None
        assert cluster.kubelet.dns is not None
        cluster.kubelet.dns.resolv_conf = resolv_conf
        await expose(
            cluster, "alias", type="ExternalName", externalName="www.example.com", selector=None
        )
        code = """
import socket
for name in ("www.example.com", "alias"):
    print(socket.gethostbyname(name))
"""
        assert await output(cluster, "client", python(code)) == ["192.0.2.7"] * 2
    finally:
        transport.close()


async def test_network_ends_with_a_kubelet_that_is_killed() -> None:
    """Otherwise a crash leaves interfaces and processes behind."""
    code = """
import asyncio, os, sys
from kubeling.kubelet.node_network import NetworkUnavailable, NodeNetwork
from kubeling.kubelet.relay import Shares
async def main():
    try:
        network = await NodeNetwork.open(os.environ["PATH"])
    except NetworkUnavailable:
        print(0, flush=True)
        return
    await network.create_pod("127.64.0.9")
    print(network.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    if pid:
        assert Path(f"/proc/{pid}").exists()
        process.kill()
    await process.wait()
    await eventually(lambda: not _is_running(pid))


def _is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can drop its rights"
)
@pytest.mark.timeout(400)
async def test_user_without_privileges_has_the_same_networks(tmp_path: Path) -> None:
    """The tests of this file run again without capabilities, where a user namespace is needed."""
    # The kernel requires the capability SETFCAP of a user 0 that is also user 0 in the new namespace.
    drop = ["setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all", "--no-new-privs", "--"]
    tests = [sys.executable, "-m", "pytest", "-vv", "-m", "processes"]
    tests += ["-p", "no:cacheprovider", "-p", "no:xdist"]
    chosen = "deployments or replicas or refuses or 1 or probe or loopback or outside or exec"
    process = await asyncio.create_subprocess_exec(
        *(*drop, *tests, __file__, f"--basetemp={tmp_path}/again"),
        *("-k", f"({chosen}) and not privileges"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=Path(__file__).parents[3],
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert output.count(b"PASSED") > 8, output.decode()
