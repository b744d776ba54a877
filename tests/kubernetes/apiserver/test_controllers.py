"""What a namespace holds from its birth, and what happens at its end."""

import asyncio
from typing import Any

import pytest

from podpass.kubernetes.apiserver.defaulting import defaults
from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.controllers.client import Writer
from podpass.kubernetes.controllers.event_ttl import Forgetting
from podpass.kubernetes.controllers.namespaces import GRACE_SECONDS, Namespaces

NAMESPACE = "/api/v1/namespaces/one"
ENDING = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/f"]}
LARGE = {"containers": [{"name": f"c{at}", "image": "i", "env": []} for at in range(2000)]}
POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


async def until(live: Any, path: str, status: int) -> Any:
    for _ in range(100):
        answer = await live.call("GET", path)
        if answer.status == status:
            return answer
        await asyncio.sleep(0.05)
    raise AssertionError(f"{path} answers {answer.status} and not {status}")


async def namespace(live: Any) -> None:
    made = await live.call("POST", "/api/v1/namespaces", {"metadata": {"name": "one"}})
    assert made.status == 201
    await until(live, f"{NAMESPACE}/serviceaccounts/default", 200)


async def test_a_namespace_gets_its_default_account_and_the_clusters_authority(live: Any) -> None:
    await namespace(live)
    found = await until(live, f"{NAMESPACE}/configmaps/kube-root-ca.crt", 200)
    assert found.body["data"] == {"ca.crt": live.ca_file.read_text()}


async def test_they_come_back_and_are_put_right(live: Any) -> None:
    await namespace(live)
    account, authority = (
        f"{NAMESPACE}/serviceaccounts/default",
        f"{NAMESPACE}/configmaps/kube-root-ca.crt",
    )
    first = (await live.call("GET", account)).body["metadata"]["uid"]
    await live.call("DELETE", account)
    assert (await until(live, account, 200)).body["metadata"]["uid"] != first
    await live.call(
        "PATCH",
        authority,
        {"data": {"ca.crt": "mine"}},
        content_type="application/merge-patch+json",
    )
    for _ in range(100):
        if (await live.call("GET", authority)).body["data"]["ca.crt"] != "mine":
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the authority was not put right")


async def test_a_namespace_takes_all_it_holds_with_it(live: Any) -> None:
    await namespace(live)
    await live.call("POST", f"{NAMESPACE}/pods", POD)
    await live.call("POST", f"{NAMESPACE}/secrets", {"metadata": {"name": "s"}})
    gone = await live.call("DELETE", NAMESPACE)
    assert gone.body["status"]["phase"] == "Terminating"
    refused = await live.call("POST", f"{NAMESPACE}/secrets", {"metadata": {"name": "late"}})
    assert refused.status == 403
    await until(live, NAMESPACE, 404)
    await namespace(live)
    assert not (await live.call("GET", f"{NAMESPACE}/pods")).body["items"]
    assert (await live.call("GET", f"{NAMESPACE}/secrets/s")).status == 404


async def test_a_namespace_of_many_pods_that_end_slowly_keeps_nobody_waiting(live: Any) -> None:
    """Fails if they are gone through in one turn of the loop: each is read, and none is written."""
    store, turns = live.cluster.store, 0
    for number in range(200):
        about = {"name": f"p{number}", "namespace": "many", "uid": f"p{number}"}
        store.create(named("Pod"), {"metadata": about | ENDING, "spec": LARGE})
    store.create(named("Namespace"), {"metadata": {"name": "many", "uid": "many"} | ENDING})
    writer = Writer(live.cluster.resources, live.cluster.deletions, "test")
    namespaces = Namespaces(writer, "")
    assert await namespaces.look("", "many")  # not yet
    await asyncio.sleep(GRACE_SECONDS)

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    await namespaces.look("", "many")
    running.cancel()
    assert turns > 1


async def test_a_namespace_waits_for_a_pod_that_runs_and_for_finalizers(live: Any) -> None:
    await namespace(live)
    await live.call("POST", f"{NAMESPACE}/pods", POD)
    target = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    await live.call("POST", f"{NAMESPACE}/pods/p/binding", target)
    held = {"metadata": {"name": "held", "finalizers": ["example.com/f"]}}
    await live.call("POST", f"{NAMESPACE}/configmaps", held)
    await live.call("POST", f"{NAMESPACE}/configmaps", {"metadata": {"name": "used"}})
    await live.call("DELETE", NAMESPACE)
    for _ in range(100):
        pod = await live.call("GET", f"{NAMESPACE}/pods/p")
        if "deletionTimestamp" in pod.body["metadata"]:
            break
        await asyncio.sleep(0.05)
    assert pod.body["metadata"]["deletionGracePeriodSeconds"] == 30
    assert (await live.call("GET", NAMESPACE)).status == 200
    used = await live.call("GET", f"{NAMESPACE}/configmaps/used")
    assert "deletionTimestamp" not in used.body["metadata"]  # what a pod runs with outlives it
    await live.call("DELETE", f"{NAMESPACE}/pods/p?gracePeriodSeconds=0")
    await until(live, f"{NAMESPACE}/configmaps/used", 404)
    merge = "application/merge-patch+json"
    free = {"metadata": {"finalizers": None}}
    await live.call("PATCH", f"{NAMESPACE}/configmaps/held", free, content_type=merge)
    await until(live, NAMESPACE, 404)


async def test_the_systems_own_namespaces_stay(live: Any) -> None:
    for name in ("default", "kube-system", "kube-public"):
        refused = await live.call("DELETE", f"/api/v1/namespaces/{name}")
        assert (refused.status, refused.body["reason"]) == (403, "Forbidden")


async def test_a_namespace_that_was_going_goes_on_after_a_restart(serve: Any) -> None:
    live = await serve()
    await namespace(live)
    await live.call("DELETE", NAMESPACE)
    await live.cluster.__aexit__(None, None, None)
    again = await serve()
    await until(again, NAMESPACE, 404)


async def test_events_are_forgotten_an_hour_after_their_last(serve: Any) -> None:
    now = [1_767_225_600.0]
    live = await serve(clock=lambda: now[0])
    events = "/api/v1/namespaces/default/events"
    about = {"involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "R"}
    await live.call("POST", events, {"metadata": {"name": "old"}, **about})
    later = {"lastTimestamp": "2026-01-01T00:30:00Z"}
    await live.call("POST", events, {"metadata": {"name": "new"}, **about, **later})
    now[0] += 3601
    await Forgetting(Writer(live.cluster.resources, live.cluster.deletions, "test")).look("", "")
    left = (await live.call("GET", events)).body["items"]
    assert [item["metadata"]["name"] for item in left] == ["new"]


NODE = "/api/v1/nodes/n"
NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
UNREACHABLE = {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}
OWN = {"key": "example.com/mine", "effect": "NoSchedule"}


async def until_tainted(live: Any, *taints: dict[str, str]) -> None:
    for _ in range(100):
        found = (await live.call("GET", NODE)).body["spec"].get("taints", [])
        if found == list(taints):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"the node has the taints {found}")


async def report(live: Any, ready: str) -> None:
    body = {"status": {"conditions": [{"type": "Ready", "status": ready}]}}
    strategic = "application/strategic-merge-patch+json"
    done = await live.call("PATCH", f"{NODE}/status", body, content_type=strategic)
    assert done.status == 200, done.text


async def test_a_node_takes_pods_while_it_is_ready_and_no_longer(live: Any) -> None:
    """Fails if a ready node keeps the taint it was admitted with."""
    spec = {"taints": [OWN]}
    made = await live.call("POST", "/api/v1/nodes", {"metadata": {"name": "n"}, "spec": spec})
    assert made.body["spec"]["taints"] == [OWN, NOT_READY]
    await report(live, "True")
    await until_tainted(live, OWN)
    await report(live, "False")
    await until_tainted(live, OWN, NOT_READY)
    await report(live, "Unknown")
    await until_tainted(live, OWN, UNREACHABLE)
    await report(live, "True")
    await until_tainted(live, OWN)


@pytest.mark.parametrize("conditions", [[], [{"type": "DiskPressure", "status": "False"}]])
def test_a_node_that_has_not_said_anything_keeps_its_taint(conditions: list[Any]) -> None:
    node = {"spec": {"taints": [NOT_READY]}, "status": {"conditions": conditions}}
    assert defaults.node_taints(node) == [NOT_READY]


def test_a_taint_of_the_same_name_that_ends_pods_is_not_the_controllers_to_take() -> None:
    evicts = NOT_READY | {"effect": "NoExecute"}
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    assert defaults.node_taints({"spec": {"taints": [evicts]}, "status": ready}) == [evicts]
