"""The address of a pod, and replicas of one program that listen on the same port."""

import sys
from ipaddress import IPv4Network
from typing import Any

import pytest

from kubeling.kubelet import pod_addresses
from kubeling.kubelet.pod_addresses import NETWORK, PodAddresses
from tests.kubelet.cluster import KubeletCluster, condition, shell
from tests.kubelet.streaming.clients import opened
from tests.ports import free_base, free_port

# Answers each connection with its own name.
SERVER = """
import os, socket, sys
server = socket.create_server((os.environ['LISTEN'], int(sys.argv[1])))
while True:
    connection, _ = server.accept()
    connection.sendall(os.environ['HOSTNAME'].encode())
    connection.close()
"""


def pod(uid: str, address: str = "", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"uid": uid}, "spec": spec, "status": {"podIP": address}}


def test_every_pod_has_an_address_of_its_own() -> None:
    addresses = PodAddresses("127.0.0.1", IPv4Network("127.64.0.0/29"))
    found = {addresses.assign(pod(str(number))) for number in range(6)}
    assert found == {f"127.64.0.{number}" for number in range(1, 7)}


def test_address_is_kept_after_a_restart_and_selected_by_the_uid() -> None:
    first = PodAddresses("127.0.0.1", NETWORK).assign(pod("a"))
    assert PodAddresses("127.0.0.1", NETWORK).assign(pod("a")) == first
    assert PodAddresses("127.0.0.1", NETWORK).assign(pod("a", "127.64.7.7")) == "127.64.7.7"


@pytest.mark.parametrize("address", ["", "127.0.0.1", "10.1.2.3", "::1", "x"])
def test_address_of_another_network_is_replaced(address: str) -> None:
    expected = PodAddresses("127.0.0.1", NETWORK).assign(pod("a"))
    assert PodAddresses("127.0.0.1", NETWORK).assign(pod("a", address)) == expected


def test_address_is_used_by_one_pod_only_until_it_is_released() -> None:
    addresses = PodAddresses("127.0.0.1", NETWORK)
    assert addresses.assign(pod("a", "127.64.7.7")) == "127.64.7.7"
    assert addresses.assign(pod("b", "127.64.7.7")) != "127.64.7.7"
    addresses.release("a")
    assert addresses.assign(pod("c", "127.64.7.7")) == "127.64.7.7"


def test_pod_on_the_network_of_the_node_has_its_address() -> None:
    assert PodAddresses("127.0.0.3", NETWORK).assign(pod("a", hostNetwork=True)) == "127.0.0.3"
    assert PodAddresses("127.0.0.3", None).assign(pod("a")) == "127.0.0.3"


def test_machine_without_usable_loopback_addresses_has_no_pod_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pod_addresses, "NETWORK", IPv4Network("192.0.2.0/24"))
    assert pod_addresses.usable_network() is None


def server(port: int, **address: Any) -> dict[str, Any]:
    """Return a container that is ready while it listens on a port of the given address."""
    return {
        "name": "app",
        "image": "none",
        "command": ["python", "-c", SERVER, str(port)],
        "env": [{"name": "LISTEN", **address}],
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
    }


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux answers on all of 127.0.0.0/8")
async def test_replicas_listen_on_the_same_port_of_their_own_addresses(
    cluster: KubeletCluster,
) -> None:
    """Fails if pods share an address: the second one could not start."""
    port = free_port()
    container = server(port, valueFrom={"fieldRef": {"fieldPath": "status.podIP"}})
    for name in ("one", "two"):
        await cluster.run(name, container)
    found = {
        name: await cluster.until(name, lambda pod: condition(pod, "Ready") == "True")
        for name in ("one", "two")
    }
    assert len({each["status"]["podIP"] for each in found.values()}) == 2
    for name in found:
        query = [("ports", str(port))]
        async with opened(cluster, name, query, subresource="portforward") as channels:
            await channels.until(0, name.encode())
        assert channels.received[0] == port.to_bytes(2, "little") + name.encode()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux answers on all of 127.0.0.0/8")
async def test_port_of_a_program_that_listens_on_127_0_0_1_is_forwarded(
    cluster: KubeletCluster,
) -> None:
    """In a real pod, kubectl port-forward reaches a program that listens on 127.0.0.1 alone."""
    port = free_port()
    container = server(port, value="127.0.0.1")
    container["readinessProbe"]["tcpSocket"]["host"] = "127.0.0.1"
    await cluster.run("local", container)
    await cluster.until("local", lambda pod: condition(pod, "Ready") == "True")
    query = [("ports", str(port))]
    async with opened(cluster, "local", query, subresource="portforward") as channels:
        await channels.until(0, b"local")


async def test_port_conflict_of_replicas_that_listen_on_all_addresses_gets_an_event(
    cluster: KubeletCluster,
) -> None:
    """Fails without the event: a replica that cannot listen looks like a program with an error."""
    # The kernel selects no such port for a connection, which would have it in use at another address.
    port = free_base(1)
    container = server(port, value="0.0.0.0") | {"ports": [{"containerPort": port}]}
    await cluster.run("one", container)
    await cluster.until("one", lambda pod: condition(pod, "Ready") == "True")
    await cluster.run("two", container)
    event = await cluster.event("two", "PortInUse")
    assert event["type"] == "Warning"
    assert f"port {port}" in event["message"]
    assert "status.podIP" in event["message"]
    assert not [each for each in await cluster.events("one") if each["reason"] == "PortInUse"]


async def test_failure_without_a_port_conflict_gets_no_port_in_use_event(
    cluster: KubeletCluster,
) -> None:
    ports = [{"containerPort": free_port()}, {"containerPort": 53, "protocol": "UDP"}]
    await cluster.run("fails", {**shell("exit 1"), "ports": ports})
    await cluster.phase("fails", "Failed")
    assert "PortInUse" not in {each["reason"] for each in await cluster.events("fails")}
