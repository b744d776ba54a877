"""The node as the cluster sees it."""

import asyncio

import pytest

from podpass.kubernetes.client import STRATEGIC_PATCH, KubeClient, Target
from podpass.kubernetes.kubelet import node
from tests.kubernetes.kubelet.lab import NODE, Lab, condition, shell

PATH = f"/api/v1/nodes/{NODE}"
LEASE = f"{node.LEASES}/{NODE}"


async def test_the_node_says_what_it_is_and_where_its_logs_are(lab: Lab) -> None:
    found = await lab.client.get(PATH)
    labels = found["metadata"]["labels"]
    assert labels["kubernetes.io/hostname"] == NODE
    assert {"kubernetes.io/os", "kubernetes.io/arch"} <= labels.keys()
    status = found["status"]
    assert {c["type"]: c["status"] for c in status["conditions"]}["Ready"] == "True"
    assert {"type": "InternalIP", "address": "127.0.0.1"} in status["addresses"]
    assert status["daemonEndpoints"]["kubeletEndpoint"]["Port"] == lab.port
    assert "(rewrite)" in status["nodeInfo"]["osImage"]
    assert lab.runtime is not None
    assert lab.runtime.sandbox == "rewrite"


async def test_the_lease_belongs_to_the_node(lab: Lab) -> None:
    lease = await lab.client.get(LEASE)
    found = await lab.client.get(PATH)
    assert lease["spec"]["holderIdentity"] == NODE
    assert lease["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]


async def test_a_second_life_takes_the_node_over(cluster: Lab) -> None:
    async with cluster.running():
        before = await cluster.client.get(PATH)
    async with cluster.running():
        after = await cluster.client.get(PATH)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    port = after["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    assert port == cluster.port


async def test_the_runtime_waits_for_an_api_server_that_is_not_there_yet() -> None:
    spec = node.describe("late", 1, "rewrite")
    async with KubeClient(Target(server="http://127.0.0.1:1")) as nobody:
        waiting = asyncio.create_task(node.Node(nobody, spec, lambda: 0.0).register())
        done, _ = await asyncio.wait({waiting}, timeout=0.5)
        assert not done
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_node_that_was_doubted_says_that_it_is_ready(
    cluster: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "_RENEW_SECONDS", 0.1)
    async with cluster.running():
        doubt = {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
        await cluster.client.patch(f"{PATH}/status", doubt, STRATEGIC_PATCH)

        async with asyncio.timeout(20):
            async for _, found in cluster.client.watch("/api/v1/nodes"):
                conditions = (found.get("status") or {}).get("conditions") or []
                if {"Ready": "True"}.items() <= {
                    c["type"]: c["status"] for c in conditions
                }.items():
                    break


async def test_a_node_and_its_pods_have_the_address_that_they_are_given(cluster: Lab) -> None:
    async with cluster.running(address="127.0.0.7"):
        found = await cluster.client.get(PATH)
        assert found["status"]["addresses"][0] == {"type": "InternalIP", "address": "127.0.0.7"}
        await cluster.run("there", shell("sleep 60"))
        pod = await cluster.until("there", lambda pod: condition(pod, "Ready") == "True")
        assert (pod["status"]["podIP"], pod["status"]["hostIP"]) == ("127.0.0.7", "127.0.0.7")
