"""Controllers of namespaces, events and nodes, through the API."""

import asyncio
from typing import Any

import pytest

from kubeling.apiserver.defaulting import defaults
from kubeling.apiserver.kinds import kind_by_name
from kubeling.controllers.client import ControllerClient
from kubeling.controllers.namespaces import GRACE_SECONDS, NamespaceController
from kubeling.controllers.small_controllers import delete_old_events

NAMESPACE = "/api/v1/namespaces/one"
ENDING = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/f"]}
LARGE = {"containers": [{"name": f"c{at}", "image": "i", "env": []} for at in range(2000)]}
POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


async def wait_for_status(live: Any, path: str, status: int) -> Any:
    for _ in range(100):
        response = await live.call("GET", path)
        if response.status == status:
            return response
        await asyncio.sleep(0.05)
    raise AssertionError(f"{path} returns {response.status} and not {status}")


async def namespace(live: Any) -> None:
    made = await live.call("POST", "/api/v1/namespaces", {"metadata": {"name": "one"}})
    assert made.status == 201
    await wait_for_status(live, f"{NAMESPACE}/serviceaccounts/default", 200)


async def test_namespace_gets_a_default_account_and_the_ca_config_map(live: Any) -> None:
    await namespace(live)
    found = await wait_for_status(live, f"{NAMESPACE}/configmaps/kube-root-ca.crt", 200)
    assert found.body["data"] == {"ca.crt": live.ca_file.read_text()}


async def test_deleted_or_changed_namespace_defaults_are_restored(live: Any) -> None:
    await namespace(live)
    account, authority = (
        f"{NAMESPACE}/serviceaccounts/default",
        f"{NAMESPACE}/configmaps/kube-root-ca.crt",
    )
    first = (await live.call("GET", account)).body["metadata"]["uid"]
    await live.call("DELETE", account)
    assert (await wait_for_status(live, account, 200)).body["metadata"]["uid"] != first
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
    raise AssertionError("the CA was not restored")


async def test_deletion_of_a_namespace_deletes_its_contents(live: Any) -> None:
    await namespace(live)
    await live.call("POST", f"{NAMESPACE}/pods", POD)
    await live.call("POST", f"{NAMESPACE}/secrets", {"metadata": {"name": "s"}})
    gone = await live.call("DELETE", NAMESPACE)
    assert gone.body["status"]["phase"] == "Terminating"
    refused = await live.call("POST", f"{NAMESPACE}/secrets", {"metadata": {"name": "late"}})
    assert refused.status == 403
    await wait_for_status(live, NAMESPACE, 404)
    await namespace(live)
    assert not (await live.call("GET", f"{NAMESPACE}/pods")).body["items"]
    assert (await live.call("GET", f"{NAMESPACE}/secrets/s")).status == 404


async def test_deletion_of_a_namespace_with_many_pods_yields_to_other_requests(live: Any) -> None:
    """Fails if all pods are processed in one event-loop iteration: each is read, and none is written."""
    store, iterations = live.cluster.store, 0
    for number in range(200):
        about = {"name": f"p{number}", "namespace": "many", "uid": f"p{number}"}
        store.create(kind_by_name("Pod"), {"metadata": about | ENDING, "spec": LARGE})
    store.create(kind_by_name("Namespace"), {"metadata": {"name": "many", "uid": "many"} | ENDING})
    writer = ControllerClient(live.cluster.registry, live.cluster.deletion_handler, "test")
    namespaces = NamespaceController(writer, "")
    assert await namespaces.reconcile("", "many")  # the grace period is not over
    await asyncio.sleep(GRACE_SECONDS)

    async def others() -> None:
        nonlocal iterations
        while True:
            iterations += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    await namespaces.reconcile("", "many")
    running.cancel()
    assert iterations > 1


async def test_namespace_deletion_waits_for_running_pods_and_finalizers(live: Any) -> None:
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
    assert (
        "deletionTimestamp" not in used.body["metadata"]
    )  # objects that a running pod uses are deleted after it
    await live.call("DELETE", f"{NAMESPACE}/pods/p?gracePeriodSeconds=0")
    await wait_for_status(live, f"{NAMESPACE}/configmaps/used", 404)
    merge = "application/merge-patch+json"
    free = {"metadata": {"finalizers": None}}
    await live.call("PATCH", f"{NAMESPACE}/configmaps/held", free, content_type=merge)
    await wait_for_status(live, NAMESPACE, 404)


async def test_system_namespaces_cannot_be_deleted(live: Any) -> None:
    for name in ("default", "kube-system", "kube-public"):
        refused = await live.call("DELETE", f"/api/v1/namespaces/{name}")
        assert (refused.status, refused.body["reason"]) == (403, "Forbidden")


async def test_namespace_deletion_continues_after_a_restart(serve: Any) -> None:
    live = await serve()
    await namespace(live)
    await live.call("DELETE", NAMESPACE)
    await live.cluster.__aexit__(None, None, None)
    again = await serve()
    await wait_for_status(again, NAMESPACE, 404)


async def test_events_are_deleted_one_hour_after_their_last_occurrence(serve: Any) -> None:
    now = [1_767_225_600.0]
    live = await serve(clock=lambda: now[0])
    events = "/api/v1/namespaces/default/events"
    about = {"involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "R"}
    await live.call("POST", events, {"metadata": {"name": "old"}, **about})
    later = {"lastTimestamp": "2026-01-01T00:30:00Z"}
    await live.call("POST", events, {"metadata": {"name": "new"}, **about, **later})
    now[0] += 3601
    client = ControllerClient(live.cluster.registry, live.cluster.deletion_handler, "test")
    await delete_old_events(client, "", "")
    left = (await live.call("GET", events)).body["items"]
    assert [item["metadata"]["name"] for item in left] == ["new"]


NODE = "/api/v1/nodes/n"
NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
UNREACHABLE = {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}
OWN = {"key": "example.com/mine", "effect": "NoSchedule"}


async def wait_for_taints(live: Any, *taints: dict[str, str]) -> None:
    for _ in range(100):
        found = (await live.call("GET", NODE)).body["spec"].get("taints", [])
        if found == list(taints):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"the node has the taints {found}")


async def set_ready_condition(live: Any, ready: str) -> None:
    body = {"status": {"conditions": [{"type": "Ready", "status": ready}]}}
    strategic = "application/strategic-merge-patch+json"
    done = await live.call("PATCH", f"{NODE}/status", body, content_type=strategic)
    assert done.status == 200, done.text


async def test_taints_follow_the_ready_condition(live: Any) -> None:
    """Fails if a ready node keeps the taint from its admission."""
    spec = {"taints": [OWN]}
    made = await live.call("POST", "/api/v1/nodes", {"metadata": {"name": "n"}, "spec": spec})
    assert made.body["spec"]["taints"] == [OWN, NOT_READY]
    await set_ready_condition(live, "True")
    await wait_for_taints(live, OWN)
    await set_ready_condition(live, "False")
    await wait_for_taints(live, OWN, NOT_READY)
    await set_ready_condition(live, "Unknown")
    await wait_for_taints(live, OWN, UNREACHABLE)
    await set_ready_condition(live, "True")
    await wait_for_taints(live, OWN)


@pytest.mark.parametrize("conditions", [[], [{"type": "DiskPressure", "status": "False"}]])
def test_node_without_conditions_keeps_its_taint(conditions: list[Any]) -> None:
    node = {"spec": {"taints": [NOT_READY]}, "status": {"conditions": conditions}}
    assert defaults.node_taints(node) == [NOT_READY]


def test_no_execute_taint_with_the_same_key_is_preserved() -> None:
    evicts = NOT_READY | {"effect": "NoExecute"}
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    assert defaults.node_taints({"spec": {"taints": [evicts]}, "status": ready}) == [evicts]
