"""Deletion: grace periods, finalizers, owners, collections and namespaces."""

from typing import Any

import pytest

from tests.control_plane.contract.api import (
    Api,
    check_refused,
    config_map,
    deployment,
    pod,
    unique_name,
)


def _is_deleted(reply: Any) -> bool:
    return bool(reply.status == 404)


async def test_deletion_returns_a_success_status_that_names_the_object(api: Api) -> None:
    made = await api.create("configmaps", config_map())
    reply = await api.call("DELETE", api.path("configmaps", "m"))
    assert (reply.status, reply.body["kind"], reply.body["status"]) == (200, "Status", "Success")
    uid = made["metadata"]["uid"]
    assert reply.body["details"] == {"name": "m", "kind": "configmaps", "uid": uid}
    check_refused(await api.call("DELETE", api.path("configmaps", "m")), 404, "NotFound")


async def test_bound_pod_has_a_grace_period_and_an_unbound_pod_is_deleted_at_once(api: Api) -> None:
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


async def test_object_with_a_finalizer_stays_until_the_finalizer_is_removed(api: Api) -> None:
    body = config_map()
    body["metadata"]["finalizers"] = ["example.com/hold"]
    await api.create("configmaps", body)
    path = api.path("configmaps", "m")
    reply = await api.call("DELETE", path)
    assert reply.body["metadata"]["deletionTimestamp"]
    change = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
    check_refused(await api.patch(path, change), 422, "Invalid", "metadata.finalizers")
    assert (await api.patch(path, {"metadata": {"finalizers": None}})).status == 200
    assert (await api.call("GET", path)).status == 404


async def test_a_finalizer_without_a_domain_is_refused(api: Api) -> None:
    body = config_map()
    body["metadata"]["finalizers"] = ["hold"]
    reply = await api.call("POST", api.path("configmaps"), body)
    check_refused(reply, 422, "Invalid", "metadata.finalizers[0]")


async def test_deletion_with_another_uid_is_a_conflict(api: Api) -> None:
    made = await api.create("configmaps", config_map())
    path = api.path("configmaps", "m")
    wrong = {"preconditions": {"uid": "00000000-0000-4000-8000-000000000000"}}
    check_refused(await api.call("DELETE", path, wrong), 409, "Conflict")
    right = {"preconditions": {"uid": made["metadata"]["uid"]}}
    assert (await api.call("DELETE", path, right)).status == 200


async def test_a_dry_run_of_a_deletion_deletes_nothing(api: Api) -> None:
    await api.create("configmaps", config_map())
    path = api.path("configmaps", "m")
    assert (await api.call("DELETE", path + "?dryRun=All")).status == 200
    assert (await api.call("GET", path)).status == 200


async def test_delete_collection_deletes_only_selected_objects(api: Api) -> None:
    for name, side in (("a", "left"), ("b", "left"), ("c", "right")):
        body = config_map(name)
        body["metadata"]["labels"] = {"side": side}
        await api.create("configmaps", body)
    reply = await api.call("DELETE", api.path("configmaps") + "?labelSelector=side=left")
    assert reply.status == 200
    left = await api.get(api.path("configmaps") + "?labelSelector=side")
    assert [item["metadata"]["name"] for item in left["items"]] == ["c"]


async def test_dependent_is_deleted_with_its_owner(api: Api) -> None:
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
    await api.wait_for(api.path("configmaps", "owned"), _is_deleted)


async def test_orphaned_dependent_stays(api: Api) -> None:
    await api.create("deployments", deployment(replicas=0))
    found = await api.wait_for(api.path("replicasets"), lambda reply: len(reply.body["items"]) == 1)
    name = found.body["items"][0]["metadata"]["name"]
    await api.call("DELETE", api.path("deployments", "d") + "?propagationPolicy=Orphan")
    await api.wait_for(api.path("deployments", "d"), _is_deleted)
    left = await api.get(api.path("replicasets", name))
    assert "ownerReferences" not in left["metadata"]


async def test_foreground_deletion_deletes_the_owner_last(api: Api) -> None:
    await api.create("deployments", deployment(replicas=1))
    await api.wait_for(api.path("pods"), lambda reply: len(reply.body["items"]) == 1)
    path = api.path("deployments", "d") + "?propagationPolicy=Foreground"
    reply = await api.call("DELETE", path)
    assert reply.body["metadata"]["finalizers"] == ["foregroundDeletion"]
    await api.wait_for(api.path("deployments", "d"), _is_deleted)
    assert (await api.get(api.path("pods")))["items"] == []


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_objects_that_own_each_other_in_a_circle_are_deleted(api: Api, policy: str) -> None:
    made = {name: await api.create("configmaps", config_map(name)) for name in ("a", "b", "c")}
    for name, owner in (("a", "c"), ("b", "a"), ("c", "b")):
        reference = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": owner,
            "uid": made[owner]["metadata"]["uid"],
            "blockOwnerDeletion": True,
        }
        patch = {"metadata": {"ownerReferences": [reference]}}
        await api.patch(api.path("configmaps", name), patch)
    await api.call("DELETE", f"{api.path('configmaps', 'a')}?propagationPolicy={policy}")
    for name in made:
        await api.wait_for(api.path("configmaps", name), _is_deleted)


async def test_terminating_namespace_deletes_its_objects_and_accepts_no_new_ones(api: Api) -> None:
    space = unique_name("ends")
    await api.call("POST", "/api/v1/namespaces", {"metadata": {"name": space}})
    body = config_map()
    body["metadata"]["finalizers"] = ["example.com/hold"]
    path = f"/api/v1/namespaces/{space}"
    await api.wait_for(f"{path}/configmaps", lambda reply: reply.status == 201, "POST", body=body)
    reply = await api.call("DELETE", path)
    assert reply.body["status"]["phase"] == "Terminating"
    refusal = await api.wait_for(
        f"{path}/secrets",
        lambda reply: reply.status == 403,
        "POST",
        body={"metadata": {"name": "s"}},
    )
    causes = refusal.body["details"]["causes"]
    assert [cause["reason"] for cause in causes] == ["NamespaceTerminating"]
    await api.wait_for(
        f"{path}/configmaps/m", lambda reply: "deletionTimestamp" in reply.body["metadata"]
    )
    left = await api.wait_for(path, lambda reply: "conditions" in reply.body["status"])
    found = {each["type"]: each for each in left.body["status"]["conditions"]}
    assert {name: (each["status"], each["reason"]) for name, each in found.items()} == {
        "NamespaceDeletionDiscoveryFailure": ("False", "ResourcesDiscovered"),
        "NamespaceDeletionGroupVersionParsingFailure": ("False", "ParsedGroupVersions"),
        "NamespaceDeletionContentFailure": ("False", "ContentDeleted"),
        "NamespaceContentRemaining": ("True", "SomeResourcesRemain"),
        "NamespaceFinalizersRemaining": ("True", "SomeFinalizersRemain"),
    }
    assert "configmaps" in found["NamespaceContentRemaining"]["message"]
    assert "example.com/hold" in found["NamespaceFinalizersRemaining"]["message"]
    await api.patch(f"{path}/configmaps/m", {"metadata": {"finalizers": None}})
    await api.wait_for(path, _is_deleted)


@pytest.mark.parametrize("name", ["default", "kube-system"])
async def test_system_namespaces_cannot_be_deleted(api: Api, name: str) -> None:
    check_refused(await api.call("DELETE", f"/api/v1/namespaces/{name}"), 403, "Forbidden")
