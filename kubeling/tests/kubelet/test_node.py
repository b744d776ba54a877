"""The node object and the lease of the kubelet."""

import asyncio

import pytest

from kubeling.api import STRATEGIC_PATCH
from kubeling.kubelet import node
from tests.kubelet.cluster import NODE, KubeletCluster, condition, shell

PATH = f"/api/v1/nodes/{NODE}"
LEASE = f"{node.LEASES}/{NODE}"


async def test_node_has_labels_conditions_addresses_and_the_kubelet_port(
    cluster: KubeletCluster,
) -> None:
    found = await cluster.client.get(PATH)
    labels = found["metadata"]["labels"]
    assert labels["kubernetes.io/hostname"] == NODE
    assert {"kubernetes.io/os", "kubernetes.io/arch"} <= labels.keys()
    status = found["status"]
    assert {c["type"]: c["status"] for c in status["conditions"]}["Ready"] == "True"
    assert {"type": "InternalIP", "address": "127.0.0.1"} in status["addresses"]
    assert status["daemonEndpoints"]["kubeletEndpoint"]["Port"] == 10250
    assert "(rewrite)" in status["nodeInfo"]["osImage"]
    assert cluster.kubelet is not None
    assert cluster.kubelet.sandbox == "rewrite"


async def test_lease_is_owned_by_the_node(cluster: KubeletCluster) -> None:
    lease = await cluster.client.get(LEASE)
    found = await cluster.client.get(PATH)
    assert lease["spec"]["holderIdentity"] == NODE
    assert lease["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]


async def test_restarted_kubelet_reuses_the_node(bare_cluster: KubeletCluster) -> None:
    async with bare_cluster.running():
        before = await bare_cluster.client.get(PATH)
    async with bare_cluster.running():
        after = await bare_cluster.client.get(PATH)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


async def test_registration_waits_for_the_api_server(bare_cluster: KubeletCluster) -> None:
    spec = node.describe_node(NODE, 1, "rewrite")
    registration = node.NodeRegistration(bare_cluster.connection, spec, lambda: 0.0)
    async with bare_cluster.disconnected():
        waiting = asyncio.create_task(registration.register())
        done, _ = await asyncio.wait({waiting}, timeout=0.5)
        assert not done
    await waiting


async def test_node_marked_not_ready_is_reported_ready_again(
    bare_cluster: KubeletCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "_RENEW_SECONDS", 0.1)
    async with bare_cluster.running():
        not_ready = {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
        await bare_cluster.client.patch(f"{PATH}/status", not_ready, STRATEGIC_PATCH)

        async with asyncio.timeout(20):
            async for _, found in bare_cluster.client.watch("/api/v1/nodes"):
                conditions = (found.get("status") or {}).get("conditions") or []
                if {"Ready": "True"}.items() <= {
                    c["type"]: c["status"] for c in conditions
                }.items():
                    break


async def test_node_and_pods_on_its_network_have_the_configured_address(
    bare_cluster: KubeletCluster,
) -> None:
    async with bare_cluster.running(address="127.0.0.7"):
        found = await bare_cluster.client.get(PATH)
        assert found["status"]["addresses"][0] == {"type": "InternalIP", "address": "127.0.0.7"}
        await bare_cluster.run("there", shell("sleep 60"), hostNetwork=True)
        pod = await bare_cluster.until("there", lambda pod: condition(pod, "Ready") == "True")
        assert (pod["status"]["podIP"], pod["status"]["hostIP"]) == ("127.0.0.7", "127.0.0.7")
