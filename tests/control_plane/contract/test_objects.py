"""Subresources and small kinds that the loop lives on: binding, status, logs, eviction, leases, events."""

from typing import Any

import pytest

from tests.control_plane.contract.api import STRATEGIC, Api, deployment, pod, refused


def _binding(node: str) -> dict[str, Any]:
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    return {"metadata": {"name": "p"}, "target": target}


async def test_a_pod_is_bound_once(api: Api) -> None:
    await api.create("pods", pod())
    path = api.path("pods", "p", "binding")
    reply = await api.call("POST", path, _binding("node-1"))
    assert (reply.status, reply.body["status"]) == (201, "Success")
    found = await api.get(api.path("pods", "p"))
    assert found["spec"]["nodeName"] == "node-1"
    scheduled = [each for each in found["status"]["conditions"] if each["type"] == "PodScheduled"]
    assert [each["status"] for each in scheduled] == ["True"]
    refused(await api.call("POST", path, _binding("node-2")), 409, "Conflict")


async def test_a_pods_status_is_changed_apart_from_it(api: Api) -> None:
    await api.create("pods", pod())
    change = {"status": {"phase": "Running"}, "spec": {"activeDeadlineSeconds": 5}}
    reply = await api.patch(api.path("pods", "p", "status"), change, STRATEGIC)
    assert reply.body["status"]["phase"] == "Running"
    assert "activeDeadlineSeconds" not in reply.body["spec"]
    reply = await api.patch(api.path("pods", "p"), {"status": {"phase": "Failed"}}, STRATEGIC)
    assert reply.body["status"]["phase"] == "Running"


async def test_a_pod_on_no_node_has_no_log(api: Api) -> None:
    await api.create("pods", pod())
    reply = await api.call("GET", api.path("pods", "p", "log"))
    assert (reply.status, reply.text) == (204, "")
    refused(await api.call("GET", api.path("pods", "q", "log")), 404, "NotFound")


async def test_a_log_of_a_container_that_is_not_there_is_refused(api: Api) -> None:
    await api.create("pods", pod())
    path = api.path("pods", "p", "log")
    refused(await api.call("GET", f"{path}?container=x"), 400, "BadRequest")
    reply = await api.call("GET", f"{path}?tailLines=-1")
    refused(reply, 422, "Invalid", "tailLines")
    two = pod("two", containers=[{"name": "a", "image": "i"}, {"name": "b", "image": "i"}])
    await api.create("pods", two)
    refused(await api.call("GET", api.path("pods", "two", "log")), 400, "BadRequest")


async def test_an_eviction_deletes_a_pod(api: Api) -> None:
    await api.create("pods", pod())
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    reply = await api.call("POST", api.path("pods", "p", "eviction"), body)
    assert (reply.status, reply.body["status"]) == (201, "Success")
    assert (await api.call("GET", api.path("pods", "p"))).status == 404


async def test_an_eviction_that_a_budget_does_not_allow_is_put_off(api: Api) -> None:
    await api.create("deployments", deployment())
    found = await api.until(api.path("pods"), lambda reply: len(reply.body["items"]) == 1)
    name = found.body["items"][0]["metadata"]["name"]
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await api.patch(api.path("pods", name, "status"), {"status": status}, STRATEGIC)
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "d"}}}
    await api.create("poddisruptionbudgets", {"metadata": {"name": "b"}, "spec": spec})
    await api.until(
        api.path("poddisruptionbudgets", "b"),
        lambda reply: reply.body.get("status", {}).get("currentHealthy") == 1,
    )
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    reply = await api.call("POST", api.path("pods", name, "eviction"), body)
    refused(reply, 429, "TooManyRequests")


async def test_a_deployment_makes_its_pods_and_is_scaled(api: Api) -> None:
    await api.create("deployments", deployment(replicas=2))
    found = await api.until(api.path("pods"), lambda reply: len(reply.body["items"]) == 2)
    owner = found.body["items"][0]["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["controller"]) == ("ReplicaSet", True)
    path = api.path("deployments", "d", "scale")
    scale = await api.get(path)
    assert (scale["kind"], scale["status"]["selector"]) == ("Scale", "app=d")
    reply = await api.patch(path, {"spec": {"replicas": 3}})
    assert reply.body["spec"]["replicas"] == 3
    await api.until(api.path("pods"), lambda reply: len(reply.body["items"]) == 3)


async def test_a_job_makes_its_pod(api: Api) -> None:
    container = {"name": "c", "image": "i"}
    template = {
        "spec": {"restartPolicy": "Never", "containers": [container], "schedulerName": "nobody"}
    }
    await api.create("jobs", {"metadata": {"name": "j"}, "spec": {"template": template}})
    found = await api.until(api.path("pods"), lambda reply: len(reply.body["items"]) == 1)
    labels = found.body["items"][0]["metadata"]["labels"]
    assert labels["batch.kubernetes.io/job-name"] == "j"


async def test_a_lease_is_renewed_by_whoever_knows_its_version(api: Api) -> None:
    spec = {
        "holderIdentity": "one",
        "leaseDurationSeconds": 15,
        "renewTime": "2026-01-01T00:00:00.000000Z",
    }
    made = await api.create("leases", {"metadata": {"name": "l"}, "spec": spec})
    path = api.path("leases", "l")
    mine = made | {"spec": spec | {"holderIdentity": "two"}}
    assert (await api.call("PUT", path, mine)).status == 200
    refused(await api.call("PUT", path, mine), 409, "Conflict")
    assert (await api.get(path))["spec"]["renewTime"] == "2026-01-01T00:00:00.000000Z"


async def test_an_event_tells_of_an_object_in_its_own_namespace(api: Api) -> None:
    body = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": api.space},
        "reason": "Tested",
        "message": "it was",
        "type": "Normal",
    }
    made = await api.create("events", body)
    assert made["metadata"]["name"] == "e"
    found = await api.get(api.path("events") + "?fieldSelector=involvedObject.name=p,type=Normal")
    assert [item["reason"] for item in found["items"]] == ["Tested"]
    body["involvedObject"] = {"kind": "Pod", "name": "p", "namespace": "elsewhere"}
    body["metadata"] = {"name": "f"}
    reply = await api.call("POST", api.path("events"), body)
    refused(reply, 422, "Invalid", "involvedObject.namespace")


async def test_an_account_that_is_deleted_and_made_again_is_another(api: Api) -> None:
    made = await api.create("serviceaccounts", {"metadata": {"name": "web"}})
    await api.call("DELETE", api.path("serviceaccounts", "web"))
    again = await api.create("serviceaccounts", {"metadata": {"name": "web"}})
    assert made["metadata"]["uid"] != again["metadata"]["uid"]


async def test_a_namespace_gets_its_account_and_the_servers_authority(api: Api) -> None:
    assert (await api.get(api.path("serviceaccounts", "default")))["metadata"][
        "namespace"
    ] == api.space
    found = await api.get(api.path("configmaps", "kube-root-ca.crt"))
    assert found["data"]["ca.crt"].startswith("-----BEGIN CERTIFICATE-----")
    await api.call("DELETE", api.path("serviceaccounts", "default"))
    await api.until(api.path("serviceaccounts", "default"), lambda reply: reply.status == 200)


async def test_ephemeral_containers_come_later_and_by_their_own_way(api: Api) -> None:
    await api.create("pods", pod())
    change = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "d"}]}}
    refused(await api.patch(api.path("pods", "p"), change, STRATEGIC), 422, "Invalid", "spec")
    reply = await api.patch(api.path("pods", "p", "ephemeralcontainers"), change, STRATEGIC)
    assert reply.status == 200, reply.text
    assert [each["name"] for each in reply.body["spec"]["ephemeralContainers"]] == ["debug"]


@pytest.mark.parametrize("kind", ["Opaque", "kubernetes.io/tls"])
async def test_a_secret_keeps_its_type(api: Api, kind: str) -> None:
    data = {"tls.crt": "", "tls.key": ""}
    await api.create("secrets", {"metadata": {"name": "s"}, "type": kind, "data": data})
    reply = await api.patch(api.path("secrets", "s"), {"type": "example.com/other"})
    refused(reply, 422, "Invalid", "type")
