"""The network namespace of a pod that may change its network."""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from kubeling.kubelet import node_network, pod_network
from kubeling.kubelet.node_network import NodeNetwork
from kubeling.kubelet.pod_network import PodNetwork, PodNetworkConfig, needs_own_network
from tests.kubelet.cluster import (
    KubeletCluster,
    condition,
    eventually,
    outside_address,
    programs,
    shell,
    state,
    status_of,
)
from tests.ports import free_port

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("nsenter") is None,
    reason="only root can create a network namespace, with nsenter",
)
NET_ADMIN = {"capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}}
PRIVILEGED = {"privileged": True}
NAMESPACE = "readlink /proc/self/ns/net"


def _python(code: str, *arguments: object, **more: Any) -> dict[str, Any]:
    command = [sys.executable, "-u", "-c", code, *map(str, arguments)]
    return {"name": "app", "image": "none", "command": command, **more}


def _path(cluster: KubeletCluster, *more: str) -> str:
    return programs(cluster.folder, "nsenter", "readlink", *more)


@contextlib.asynccontextmanager
async def _greeting(text: bytes) -> AsyncIterator[int]:
    """Run a server on the machine that sends a text; yield its port."""

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _read_all(host: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        return await reader.read()
    finally:
        writer.close()


def _count_namespaces() -> int:
    """Return how many network namespaces this process holds open."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(link.readlink()).startswith("net:[")
    return found


@pytest.mark.parametrize(
    ("spec", "needed"),
    [
        ({}, False),
        ({"securityContext": {"privileged": True}}, True),
        ({"securityContext": {"privileged": False}}, False),
        ({"securityContext": NET_ADMIN}, True),
        ({"securityContext": {"capabilities": {"add": ["cap_net_admin"]}}}, True),
        ({"securityContext": {"capabilities": {"add": ["ALL"]}}}, True),
        ({"securityContext": {"capabilities": {"add": ["NET_RAW"], "drop": ["NET_ADMIN"]}}}, False),
    ],
)
@pytest.mark.parametrize("group", ["initContainers", "containers"])
def test_pod_needs_its_own_network_if_a_container_may_change_it(
    spec: dict[str, Any], needed: bool, group: str
) -> None:
    spec = {"containers": [{"name": "a"}], group: [{"name": "b"}, {"name": "c", **spec}]}
    assert needs_own_network({"spec": spec}) is needed
    assert needs_own_network({"spec": {**spec, "hostNetwork": True}}) is False


@pytest.mark.parametrize("context", [NET_ADMIN, PRIVILEGED], ids=["capability", "privileged"])
@pytest.mark.parametrize("mounts", [False, True], ids=["rewrite", "bubblewrap"])
async def test_containers_of_a_pod_share_a_network_namespace_of_their_own(
    bare_cluster: KubeletCluster, mounts: bool, context: dict[str, Any]
) -> None:
    await bare_cluster.start(path=_path(bare_cluster, *(["bwrap"] if mounts else [])))
    setup = shell(NAMESPACE, "setup", securityContext=context)
    await bare_cluster.run("own", shell(NAMESPACE), initContainers=[setup])
    await bare_cluster.run("usual", shell(NAMESPACE))
    for name in ("own", "usual"):
        await bare_cluster.phase(name, "Succeeded")
    machine = str(Path("/proc/self/ns/net").readlink())
    own = (await bare_cluster.log("own")).strip()
    assert (await bare_cluster.log("own", container="setup")).strip() == own != machine
    assert (await bare_cluster.log("usual")).strip() == machine


async def test_init_containers_run_again_in_the_new_network_after_a_restart(
    bare_cluster: KubeletCluster,
) -> None:
    """Otherwise a pod with the migration sidecar has no redirection any more, and is ready."""
    for restarts in range(3):
        async with bare_cluster.running(path=_path(bare_cluster)):
            if not restarts:
                setup = shell(NAMESPACE, "setup", securityContext=NET_ADMIN)
                app = shell(f"{NAMESPACE}; sleep 600")
                await bare_cluster.run("p", app, initContainers=[setup], restartPolicy="Always")

            def is_ready_again(pod: dict[str, Any], times: int = restarts) -> bool:
                return condition(pod, "Ready") == "True" and status_of(pod)["restartCount"] == times

            pod = await bare_cluster.until("p", is_ready_again)
            assert pod["status"]["initContainerStatuses"][0]["restartCount"] == restarts

            async def has_output() -> bool:
                return bool(await bare_cluster.log("p"))

            await eventually(has_output)
            own = await bare_cluster.log("p")
            assert await bare_cluster.log("p", container="setup") == own
    assert not [each for each in await bare_cluster.events("p") if each["reason"] == "BackOff"]


async def test_ended_pod_is_not_initialized_again_after_a_restart(
    bare_cluster: KubeletCluster,
) -> None:
    setup = shell(NAMESPACE, "setup", securityContext=NET_ADMIN)
    async with bare_cluster.running(path=_path(bare_cluster)):
        await bare_cluster.run("p", shell("sleep 600"), initContainers=[setup])
        await bare_cluster.until("p", lambda pod: condition(pod, "Ready") == "True")
    async with bare_cluster.running(path=_path(bare_cluster)):
        pod = await bare_cluster.phase("p", "Failed")
        assert pod["status"]["initContainerStatuses"][0]["restartCount"] == 0


async def test_pod_reaches_the_listed_sockets_of_the_machine_and_no_others(
    bare_cluster: KubeletCluster,
) -> None:
    code = """
import socket, sys
for port in map(int, sys.argv[1:]):
    try:
        print(socket.create_connection(("127.0.0.1", port), 20).recv(100).decode())
    except ConnectionRefusedError:
        print("refused")
"""
    async with _greeting(b"listed") as listed, _greeting(b"other") as other:
        renamed = free_port()
        network = PodNetworkConfig(
            outbound={
                ("127.0.0.1", listed): ("127.0.0.1", listed),
                ("127.0.0.1", renamed): ("127.0.0.1", other),
            }
        )
        await bare_cluster.start(path=_path(bare_cluster), network=network)
        app = _python(code, listed, other, renamed, securityContext=NET_ADMIN)
        await bare_cluster.run("p", app)
        await bare_cluster.phase("p", "Succeeded")
        assert (await bare_cluster.log("p")).split() == ["listed", "refused", "other"]


async def test_addresses_of_the_pods_own_network_are_exempt_from_the_default_proxy(
    bare_cluster: KubeletCluster,
) -> None:
    network = PodNetworkConfig(addresses=["169.254.7.8"])
    await bare_cluster.start(path=_path(bare_cluster), network=network)
    await bare_cluster.run("own", shell('echo "$NO_PROXY"', securityContext=NET_ADMIN))
    await bare_cluster.run("usual", shell('echo "$NO_PROXY"'))
    for name in ("own", "usual"):
        await bare_cluster.phase(name, "Succeeded")
    assert (await bare_cluster.log("own")).strip().endswith(",169.254.7.8")
    # Elsewhere the address is that of the machine.
    assert "169.254.7.8" not in await bare_cluster.log("usual")


async def test_declared_port_is_reached_at_the_address_of_the_pod(
    bare_cluster: KubeletCluster,
) -> None:
    before = _count_namespaces()
    await bare_cluster.start(path=_path(bare_cluster))
    port, hidden = free_port(), free_port()
    code = """
import http.server, os, socket, sys, threading
address, port, hidden = os.environ["ADDRESS"], *map(int, sys.argv[1:])
socket.create_server((address, hidden))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"from the pod")
http.server.HTTPServer((address, port), Handler).serve_forever()
"""
    app = _python(
        code,
        port,
        hidden,
        securityContext=NET_ADMIN,
        env=[{"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        ports=[{"containerPort": port}],
        readinessProbe={"httpGet": {"port": port}, "periodSeconds": 1},
    )
    await bare_cluster.run("p", app)
    pod = await bare_cluster.until("p", lambda pod: condition(pod, "Ready") == "True")
    address = pod["status"]["podIP"]
    reader, writer = await asyncio.open_connection(address, port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    assert (await reader.read()).endswith(b"from the pod")
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await _read_all(address, hidden)
    assert _count_namespaces() == before + 1
    await bare_cluster.client.delete("/api/v1/namespaces/default/pods/p")
    await bare_cluster.wait_until_deleted("p", 40)
    await eventually(lambda: _count_namespaces() == before)
    with pytest.raises(ConnectionRefusedError):
        await _read_all(address, port)


async def test_address_of_the_configuration_stays_in_the_pod(bare_cluster: KubeletCluster) -> None:
    """A packet to it must not leave the pod, so a server on it is the pod's own."""
    address = "198.51.100.7"
    code = f"""
import socket
server = socket.create_server(("{address}", 80))
client = socket.create_connection(("{address}", 80), 20)
server.accept()[0].sendall(b"mine")
print(client.recv(9).decode())
try:
    socket.create_connection(("198.51.100.8", 80), 20)
except OSError as exc:
    print(type(exc).__name__, exc.strerror)
"""
    network = PodNetworkConfig(addresses=[address])
    await bare_cluster.start(path=_path(bare_cluster), network=network)
    await bare_cluster.run("p", _python(code, securityContext=NET_ADMIN))
    await bare_cluster.phase("p", "Succeeded")
    assert (await bare_cluster.log("p")).splitlines() == ["mine", "OSError Network is unreachable"]


@pytest.mark.parametrize("context", [NET_ADMIN, PRIVILEGED], ids=["capability", "privileged"])
async def test_container_that_may_change_the_network_does_not_start_without_a_network_of_its_own(
    bare_cluster: KubeletCluster, context: dict[str, Any]
) -> None:
    network = PodNetworkConfig(hint="Do this instead")
    await bare_cluster.start(path=programs(bare_cluster.folder), network=network)
    await bare_cluster.run("p", shell("true", securityContext=context))
    pod = await bare_cluster.until("p", lambda pod: "waiting" in state(pod))
    pod = await bare_cluster.until("p", lambda pod: state(pod)["waiting"].get("message"))
    waiting = state(pod)["waiting"]
    assert waiting["reason"] == "CreateContainerConfigError"
    assert "app is privileged or needs the capability NET_ADMIN" in waiting["message"]
    assert waiting["message"].endswith(". Do this instead")
    event = await bare_cluster.event("p", "Failed")
    assert waiting["message"] in event["message"]


async def test_pod_that_may_change_its_network_does_not_leave_the_cluster_by_a_route_of_its_own() -> (
    None
):
    """Without the check, `ip route add default` in the pod would be enough."""
    accepted = asyncio.Event()

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        writer.close()

    host = outside_address()
    node = await NodeNetwork.open(os.environ["PATH"])
    namespace = await node.create_pod("127.64.0.9", egress=True)
    try:
        async with await asyncio.start_server(accept, host, 0) as server:
            port = server.sockets[0].getsockname()[1]
            for allowed in (["127.64.0.8"], ["127.64.0.9"]):
                node.may_leave = allowed.__contains__
                sock = node.open_socket(namespace)
                reader, writer = await node_network.connect(sock, host, port)
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
                writer.close()
                assert accepted.is_set() is ("127.64.0.9" in allowed)
    finally:
        os.close(namespace)
        await node.close()


def test_connections_of_pods_are_not_relayed_to_the_loopback_of_the_machine() -> None:
    for address in ("127.0.0.1", "127.64.0.9", "0.0.0.0", "10.96.0.3", "224.0.0.1"):
        assert not node_network.is_outside(IPv4Address(address))
    assert node_network.is_outside(IPv4Address("192.0.2.1"))


async def test_nsenter_is_not_searched_in_the_path_variable_of_the_pod(
    bare_cluster: KubeletCluster,
) -> None:
    own = bare_cluster.folder / "own"
    own.mkdir()
    (own / "nsenter").write_text(f"#!/bin/sh\ntouch {own}/escaped\n")
    (own / "nsenter").chmod(0o755)
    await bare_cluster.start(path=_path(bare_cluster))
    path = {"name": "PATH", "value": f"{own}:/usr/bin:/bin"}
    await bare_cluster.run("p", shell("echo ran", securityContext=NET_ADMIN, env=[path]))
    await bare_cluster.phase("p", "Succeeded", "Failed")
    assert not (own / "escaped").exists()
    assert (await bare_cluster.log("p")).strip() == "ran"


async def test_relayed_connections_of_a_pod_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_network, "_MAX_CONNECTIONS", 1)
    done = asyncio.Event()

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x")
        await done.wait()
        writer.close()

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        config = PodNetworkConfig(outbound={("127.0.0.1", port): ("127.0.0.1", port)})
        node = await NodeNetwork.open(os.environ["PATH"])
        pod: dict[str, Any] = {"spec": {"containers": []}}
        network = await PodNetwork.open(config, node, pod, "127.64.0.9")
        writers = []
        try:
            first, writer = await network.connect("127.0.0.1", port)
            writers.append(writer)
            assert await asyncio.wait_for(first.read(1), 10) == b"x"
            second, writer = await network.connect("127.0.0.1", port)
            writers.append(writer)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(second.read(1), 10) == b""
        finally:
            done.set()
            for each in writers:
                each.close()
            await network.close()
            await node.close()
