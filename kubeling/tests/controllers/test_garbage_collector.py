"""Garbage collection: background, foreground and orphan deletion."""

from typing import Any

from tests.controllers.workloads import (
    DEPLOYMENTS,
    NAMESPACE,
    PODS,
    SETS,
    create,
    deployment,
    get,
    merge,
    pods,
    until,
)

MAPS = f"{NAMESPACE}/configmaps"
DEP = f"{DEPLOYMENTS}/web"


async def owned(live: Any, name: str, *owners: Any, blocks: bool = False) -> Any:
    references = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": each["metadata"]["name"],
            "uid": each["metadata"]["uid"],
            "blockOwnerDeletion": blocks,
        }
        for each in owners
    ]
    return await create(live, MAPS, {"metadata": {"name": name, "ownerReferences": references}})


async def config_map(live: Any, name: str) -> Any:
    return await create(live, MAPS, {"metadata": {"name": name}})


async def wait_until_deleted(live: Any, path: str) -> None:
    await until(live, path, lambda body: body is None)


async def test_background_deletion_deletes_dependents_after_the_owner(live: Any) -> None:
    await create(live, DEPLOYMENTS, deployment("web"))
    await pods(live, "app=web", 2)
    done = await live.call("DELETE", DEP)
    assert done.body["status"] == "Success"
    await until(live, f"{PODS}?labelSelector=app=web", lambda body: not body["items"])
    await until(live, SETS, lambda body: not body["items"])


async def test_foreground_deletion_deletes_dependents_before_the_owner(live: Any) -> None:
    await create(live, DEPLOYMENTS, deployment("web"))
    pod = f"{PODS}/{(await pods(live, 'app=web', 2))[0]['metadata']['name']}"
    await merge(live, pod, {"metadata": {"finalizers": ["example.com/hold"]}})
    going = await live.call("DELETE", f"{DEP}?propagationPolicy=Foreground")
    assert going.body["metadata"]["finalizers"] == ["foregroundDeletion"]
    await until(live, f"{PODS}?labelSelector=app=web", lambda body: len(body["items"]) == 1)
    await until(live, pod, lambda body: "deletionTimestamp" in body["metadata"])
    assert len((await get(live, SETS))["items"]) == 1
    assert (await get(live, DEP))["metadata"]["deletionTimestamp"]
    await merge(live, pod, {"metadata": {"finalizers": None}})
    await wait_until_deleted(live, DEP)
    assert not (await get(live, SETS))["items"]


async def test_orphan_deletion_releases_dependents(live: Any) -> None:
    await create(live, DEPLOYMENTS, deployment("web"))
    await pods(live, "app=web", 2)
    await live.call("DELETE", DEP, {"propagationPolicy": "Orphan"})
    await wait_until_deleted(live, DEP)
    left = (await get(live, SETS))["items"]
    assert len(left) == 1
    assert "ownerReferences" not in left[0]["metadata"]
    assert len(await pods(live, "app=web", 2)) == 2


async def test_object_with_one_remaining_owner_stays(live: Any) -> None:
    one, other = await config_map(live, "one"), await config_map(live, "other")
    await owned(live, "both", one, other)
    await live.call("DELETE", f"{MAPS}/one")
    left = await until(
        live, f"{MAPS}/both", lambda body: len(body["metadata"]["ownerReferences"]) == 1
    )
    assert left["metadata"]["ownerReferences"][0]["name"] == "other"
    await live.call("DELETE", f"{MAPS}/other")
    await wait_until_deleted(live, f"{MAPS}/both")


async def test_object_with_an_absent_owner_is_deleted(live: Any) -> None:
    """The uid decides: another object with the name of the owner is not the owner."""
    one = await config_map(live, "one")
    one["metadata"]["uid"] = "00000000-0000-4000-8000-000000000000"
    await owned(live, "child", one)
    await wait_until_deleted(live, f"{MAPS}/child")


async def test_owner_of_an_unknown_kind_is_ignored(live: Any) -> None:
    reference = {"apiVersion": "example.com/v1", "kind": "Thing", "name": "t", "uid": "u"}
    body = {"metadata": {"name": "child", "ownerReferences": [reference]}}
    await create(live, MAPS, body)
    one = await config_map(live, "one")
    await owned(live, "marker", one)
    await live.call("DELETE", f"{MAPS}/one")
    await wait_until_deleted(live, f"{MAPS}/marker")
    assert (await get(live, f"{MAPS}/child"))["metadata"]["ownerReferences"] == [reference]


async def test_foreground_deletion_waits_only_for_blocking_dependents(live: Any) -> None:
    one = await config_map(live, "one")
    for name, blocks in (("blocks", True), ("free", False)):
        await owned(live, name, one, blocks=blocks)
        hold = {"metadata": {"finalizers": ["example.com/hold"]}}
        await merge(live, f"{MAPS}/{name}", hold)
    await live.call("DELETE", f"{MAPS}/one?propagationPolicy=Foreground")
    for name in ("blocks", "free"):
        await until(live, f"{MAPS}/{name}", lambda body: "deletionTimestamp" in body["metadata"])
    assert (await get(live, f"{MAPS}/one"))["metadata"]["deletionTimestamp"]
    await merge(live, f"{MAPS}/blocks", {"metadata": {"finalizers": None}})
    await wait_until_deleted(live, f"{MAPS}/one")
    assert (await get(live, f"{MAPS}/free"))["metadata"]["finalizers"]


async def test_long_chain_of_owners_is_deleted(live: Any) -> None:
    last = await config_map(live, "m-0")
    for number in range(1, 12):
        last = await owned(live, f"m-{number}", last)
    await live.call("DELETE", f"{MAPS}/m-0")
    await wait_until_deleted(live, f"{MAPS}/m-11")


async def test_garbage_from_before_a_restart_is_collected(serve: Any) -> None:
    live = await serve()
    one = await config_map(live, "one")
    await owned(live, "child", one)
    store = live.cluster.store
    await live.cluster.__aexit__(None, None, None)
    store.open()
    from kubeling.apiserver.kinds import kind_by_name

    entry = store.get_stored(kind_by_name("ConfigMap"), "default", "one")
    store.delete(kind_by_name("ConfigMap"), entry.object(), entry.revision)
    store.close()
    again = await serve()
    await wait_until_deleted(again, f"{MAPS}/child")
