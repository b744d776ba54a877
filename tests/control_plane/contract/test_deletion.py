"""How objects end: grace, finalizers, owners, collections and whole namespaces."""

from typing import Any

import pytest

from tests.control_plane.contract.api import (
    Api,
    config_map,
    deployment,
    fresh,
    pod,
    refused,
)


def _is_gone(reply: Any) -> bool:
    return bool(reply.status == 404)


async def test_what_is_deleted_is_answered_with_a_success_that_names_it(api: Api) -> None:
    made = await api.create("configmaps", config_map())
    reply = await api.call("DELETE", api.path("configmaps", "m"))
    assert (reply.status, reply.body["kind"], reply.body["status"]) == (200, "Status", "Success")
    uid = made["metadata"]["uid"]
    assert reply.body["details"] == {"name": "m", "kind": "configmaps", "uid": uid}
    refused(await api.call("DELETE", api.path("configmaps", "m")), 404, "NotFound")


async def test_a_pod_on_a_node_has_its_grace_and_one_without_goes_at_once(api: Api) -> None:
    await api.create("pods", pod("waits"))
    await api.create("pods", pod("runs", nodeName="node-1"))
    await api.call("DELETE", api.path("pods", "waits"))
    assert (await api.call("GET", api.path("pods", "waits"))).status == 404
    reply = await api.call("DELETE", api.path("pods", "runs") + "?gracePeriodSeconds=7")
    assert reply.body["metadata"]["deletionGracePeriodSeconds"] == 7
    again = await api.call("DELETE", api.path("pods", "runs") + "?gracePeriodSeconds=60")
    assert again.body["metadata"]["deletionGracePeriodSeconds"] == 7
    await api.call("DELETE", api.path("pods", "runs") + "?gracePeriodSeconds=0")
    assert (await api.call("GET", api.path("pods", "runs"))).status == 404


async def test_a_finalizer_holds_an_object_until_it_is_taken_away(api: Api) -> None:
    body = config_map()
    body["metadata"]["finalizers"] = ["example.com/hold"]
    await api.create("configmaps", body)
    path = api.path("configmaps", "m")
    reply = await api.call("DELETE", path)
    assert reply.body["metadata"]["deletionTimestamp"]
    change = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
    refused(await api.patch(path, change), 422, "Invalid", "metadata.finalizers")
    assert (await api.patch(path, {"metadata": {"finalizers": None}})).status == 200
    assert (await api.call("GET", path)).status == 404


async def test_a_finalizer_without_a_domain_is_refused(api: Api) -> None:
    body = config_map()
    body["metadata"]["finalizers"] = ["hold"]
    reply = await api.call("POST", api.path("configmaps"), body)
    refused(reply, 422, "Invalid", "metadata.finalizers[0]")


async def test_a_deletion_that_means_another_object_is_a_conflict(api: Api) -> None:
    made = await api.create("configmaps", config_map())
    path = api.path("configmaps", "m")
    wrong = {"preconditions": {"uid": "00000000-0000-4000-8000-000000000000"}}
    refused(await api.call("DELETE", path, wrong), 409, "Conflict")
    right = {"preconditions": {"uid": made["metadata"]["uid"]}}
    assert (await api.call("DELETE", path, right)).status == 200


async def test_a_dry_run_of_a_deletion_deletes_nothing(api: Api) -> None:
    await api.create("configmaps", config_map())
    path = api.path("configmaps", "m")
    assert (await api.call("DELETE", path + "?dryRun=All")).status == 200
    assert (await api.call("GET", path)).status == 200


async def test_a_collection_goes_as_far_as_it_is_selected(api: Api) -> None:
    for name, side in (("a", "left"), ("b", "left"), ("c", "right")):
        body = config_map(name)
        body["metadata"]["labels"] = {"side": side}
        await api.create("configmaps", body)
    reply = await api.call("DELETE", api.path("configmaps") + "?labelSelector=side=left")
    assert reply.status == 200
    left = await api.get(api.path("configmaps") + "?labelSelector=side")
    assert [item["metadata"]["name"] for item in left["items"]] == ["c"]


async def test_an_object_goes_with_its_owner(api: Api) -> None:
    owner = await api.create("configmaps", config_map("owner"))
    reference = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "owner",
        "uid": owner["metadata"]["uid"],
    }
    owned = config_map("owned")
    owned["metadata"]["ownerReferences"] = [reference]
    await api.create("configmaps", owned)
    await api.call("DELETE", api.path("configmaps", "owner") + "?propagationPolicy=Background")
    await api.until(api.path("configmaps", "owned"), _is_gone)


async def test_who_is_orphaned_stays(api: Api) -> None:
    await api.create("deployments", deployment(replicas=0))
    found = await api.until(api.path("replicasets"), lambda reply: len(reply.body["items"]) == 1)
    name = found.body["items"][0]["metadata"]["name"]
    await api.call("DELETE", api.path("deployments", "d") + "?propagationPolicy=Orphan")
    await api.until(api.path("deployments", "d"), _is_gone)
    left = await api.get(api.path("replicasets", name))
    assert "ownerReferences" not in left["metadata"]


async def test_in_the_foreground_the_owner_goes_last(api: Api) -> None:
    await api.create("deployments", deployment(replicas=1))
    await api.until(api.path("pods"), lambda reply: len(reply.body["items"]) == 1)
    path = api.path("deployments", "d") + "?propagationPolicy=Foreground"
    reply = await api.call("DELETE", path)
    assert reply.body["metadata"]["finalizers"] == ["foregroundDeletion"]
    await api.until(api.path("deployments", "d"), _is_gone)
    assert (await api.get(api.path("pods")))["items"] == []


async def test_a_namespace_takes_everything_with_it_and_takes_nothing_more(api: Api) -> None:
    space = fresh("ends")
    await api.call("POST", "/api/v1/namespaces", {"metadata": {"name": space}})
    body = config_map()
    body["metadata"]["finalizers"] = ["example.com/hold"]
    path = f"/api/v1/namespaces/{space}"
    await api.until(f"{path}/configmaps", lambda reply: reply.status == 201, "POST", body=body)
    reply = await api.call("DELETE", path)
    assert reply.body["status"]["phase"] == "Terminating"
    refusal = await api.until(
        f"{path}/secrets",
        lambda reply: reply.status == 403,
        "POST",
        body={"metadata": {"name": "s"}},
    )
    causes = refusal.body["details"]["causes"]
    assert [cause["reason"] for cause in causes] == ["NamespaceTerminating"]
    await api.until(
        f"{path}/configmaps/m", lambda reply: "deletionTimestamp" in reply.body["metadata"]
    )
    await api.patch(f"{path}/configmaps/m", {"metadata": {"finalizers": None}})
    await api.until(path, _is_gone)


@pytest.mark.parametrize("name", ["default", "kube-system"])
async def test_the_servers_own_namespaces_stay(api: Api, name: str) -> None:
    refused(await api.call("DELETE", f"/api/v1/namespaces/{name}"), 403, "Forbidden")
