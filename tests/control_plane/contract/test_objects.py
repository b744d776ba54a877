"""Subresources and simple kinds: binding, status, logs, eviction, leases, events."""

from typing import Any

import pytest

from tests.control_plane.contract.api import STRATEGIC, Api, check_refused, deployment, pod


def _binding(node: str) -> dict[str, Any]:
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    return {"metadata": {"name": "p"}, "target": target}


async def test_second_binding_of_a_pod_is_a_conflict(api: Api) -> None:
    await api.create("pods", pod())
    path = api.path("pods", "p", "binding")
    reply = await api.call("POST", path, _binding("node-1"))
    assert (reply.status, reply.body["status"]) == (201, "Success")
    found = await api.get(api.path("pods", "p"))
    assert found["spec"]["nodeName"] == "node-1"
    scheduled = [each for each in found["status"]["conditions"] if each["type"] == "PodScheduled"]
    assert [each["status"] for each in scheduled] == ["True"]
    check_refused(await api.call("POST", path, _binding("node-2")), 409, "Conflict")


async def test_pod_status_is_changed_by_its_subresource_only(api: Api) -> None:
    await api.create("pods", pod())
    change = {"status": {"phase": "Running"}, "spec": {"activeDeadlineSeconds": 5}}
    reply = await api.patch(api.path("pods", "p", "status"), change, STRATEGIC)
    assert reply.body["status"]["phase"] == "Running"
    assert "activeDeadlineSeconds" not in reply.body["spec"]
    reply = await api.patch(api.path("pods", "p"), {"status": {"phase": "Failed"}}, STRATEGIC)
    assert reply.body["status"]["phase"] == "Running"


async def test_log_of_an_unbound_pod_is_refused(api: Api) -> None:
    await api.create("pods", pod())
    reply = await api.call("GET", api.path("pods", "p", "log"))
    assert (reply.status, reply.text) == (204, "")
    check_refused(await api.call("GET", api.path("pods", "q", "log")), 404, "NotFound")


async def test_log_of_an_unknown_container_is_refused(api: Api) -> None:
    await api.create("pods", pod())
    path = api.path("pods", "p", "log")
    check_refused(await api.call("GET", f"{path}?container=x"), 400, "BadRequest")
    reply = await api.call("GET", f"{path}?tailLines=-1")
    check_refused(reply, 422, "Invalid", "tailLines")
    two = pod("two", containers=[{"name": "a", "image": "i"}, {"name": "b", "image": "i"}])
    await api.create("pods", two)
    check_refused(await api.call("GET", api.path("pods", "two", "log")), 400, "BadRequest")


@pytest.mark.parametrize("version", ["policy/v1", "policy/v1beta1"])
async def test_an_eviction_deletes_a_pod(api: Api, version: str) -> None:
    await api.create("pods", pod())
    path = api.path("pods", "p", "eviction")
    body = {"apiVersion": version, "kind": "Eviction", "metadata": {"name": "p"}}
    reply = await api.call("POST", path, body | {"apiVersion": "policy/v2"})
    check_refused(reply, 400, "BadRequest")
    reply = await api.call("POST", path, body)
    assert (reply.status, reply.body["status"]) == (201, "Success")
    assert (await api.call("GET", api.path("pods", "p"))).status == 404


async def test_eviction_that_a_disruption_budget_forbids_is_refused_with_429(api: Api) -> None:
    await api.create("deployments", deployment())
    found = await api.wait_for(api.path("pods"), lambda reply: len(reply.body["items"]) == 1)
    name = found.body["items"][0]["metadata"]["name"]
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await api.patch(api.path("pods", name, "status"), {"status": status}, STRATEGIC)
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "d"}}}
    await api.create("poddisruptionbudgets", {"metadata": {"name": "b"}, "spec": spec})
    await api.wait_for(
        api.path("poddisruptionbudgets", "b"),
        lambda reply: reply.body.get("status", {}).get("currentHealthy") == 1,
    )
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    reply = await api.call("POST", api.path("pods", name, "eviction"), body)
    check_refused(reply, 429, "TooManyRequests")


async def test_deployment_creates_its_pods_and_is_scaled(api: Api) -> None:
    await api.create("deployments", deployment(replicas=2))
    found = await api.wait_for(api.path("pods"), lambda reply: len(reply.body["items"]) == 2)
    owner = found.body["items"][0]["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["controller"]) == ("ReplicaSet", True)
    path = api.path("deployments", "d", "scale")
    scale = await api.get(path)
    assert (scale["kind"], scale["status"]["selector"]) == ("Scale", "app=d")
    reply = await api.patch(path, {"spec": {"replicas": 3}})
    assert reply.body["spec"]["replicas"] == 3
    await api.wait_for(api.path("pods"), lambda reply: len(reply.body["items"]) == 3)


async def test_job_creates_its_pod(api: Api) -> None:
    container = {"name": "c", "image": "i"}
    template = {
        "spec": {"restartPolicy": "Never", "containers": [container], "schedulerName": "none"}
    }
    await api.create("jobs", {"metadata": {"name": "j"}, "spec": {"template": template}})
    found = await api.wait_for(api.path("pods"), lambda reply: len(reply.body["items"]) == 1)
    labels = found.body["items"][0]["metadata"]["labels"]
    assert labels["batch.kubernetes.io/job-name"] == "j"


async def test_lease_is_renewed_only_with_its_current_version(api: Api) -> None:
    spec = {
        "holderIdentity": "one",
        "leaseDurationSeconds": 15,
        "renewTime": "2026-01-01T00:00:00.000000Z",
    }
    made = await api.create("leases", {"metadata": {"name": "l"}, "spec": spec})
    path = api.path("leases", "l")
    mine = made | {"spec": spec | {"holderIdentity": "two"}}
    assert (await api.call("PUT", path, mine)).status == 200
    check_refused(await api.call("PUT", path, mine), 409, "Conflict")
    assert (await api.get(path))["spec"]["renewTime"] == "2026-01-01T00:00:00.000000Z"


async def test_event_is_stored_only_in_the_namespace_of_its_object(api: Api) -> None:
    body = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": api.namespace},
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
    check_refused(reply, 422, "Invalid", "involvedObject.namespace")


async def test_recreated_account_has_another_uid(api: Api) -> None:
    made = await api.create("serviceaccounts", {"metadata": {"name": "web"}})
    await api.call("DELETE", api.path("serviceaccounts", "web"))
    again = await api.create("serviceaccounts", {"metadata": {"name": "web"}})
    assert made["metadata"]["uid"] != again["metadata"]["uid"]


async def test_new_namespace_gets_the_default_account_and_the_ca_bundle(api: Api) -> None:
    assert (await api.get(api.path("serviceaccounts", "default")))["metadata"][
        "namespace"
    ] == api.namespace
    found = await api.get(api.path("configmaps", "kube-root-ca.crt"))
    assert found["data"]["ca.crt"].startswith("-----BEGIN CERTIFICATE-----")
    await api.call("DELETE", api.path("serviceaccounts", "default"))
    await api.wait_for(api.path("serviceaccounts", "default"), lambda reply: reply.status == 200)


async def test_ephemeral_containers_are_added_by_their_subresource_only(api: Api) -> None:
    await api.create("pods", pod())
    change = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "d"}]}}
    check_refused(await api.patch(api.path("pods", "p"), change, STRATEGIC), 422, "Invalid", "spec")
    reply = await api.patch(api.path("pods", "p", "ephemeralcontainers"), change, STRATEGIC)
    assert reply.status == 200, reply.text
    assert [each["name"] for each in reply.body["spec"]["ephemeralContainers"]] == ["debug"]


@pytest.mark.parametrize("kind", ["Opaque", "kubernetes.io/tls"])
async def test_type_of_a_secret_cannot_change(api: Api, kind: str) -> None:
    data = {"tls.crt": "", "tls.key": ""}
    await api.create("secrets", {"metadata": {"name": "s"}, "type": kind, "data": data})
    reply = await api.patch(api.path("secrets", "s"), {"type": "example.com/other"})
    check_refused(reply, 422, "Invalid", "type")


async def test_service_gets_and_loses_addresses_with_its_type(api: Api) -> None:
    ports = [{"port": 80, "protocol": "TCP"}]
    outside = {"type": "ExternalName", "externalName": "example.com"}
    body = {"metadata": {"name": "s"}, "spec": outside | {"ports": ports}}
    await api.create("services", body)
    path = api.path("services", "s")

    async def change(**spec: Any) -> Any:
        reply = await api.patch(path, {"spec": spec})
        assert reply.status == 200, reply.text
        return reply.body["spec"]

    spec = await change(type="NodePort", externalName=None)
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert spec["ports"][0]["nodePort"]
    address = spec["clusterIP"]
    spec = await change(type="ClusterIP")
    assert spec["clusterIP"] == address
    assert "nodePort" not in spec["ports"][0]
    await change(type="NodePort")
    spec = await change(**outside)
    assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"} & set(spec)
    assert "nodePort" not in spec["ports"][0]


def _replication_controller(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "rc"}}, "spec": pod()["spec"]}
    return {"metadata": {"name": "rc"}, "spec": {"template": template, **spec}}


async def test_replication_controller_has_defaults_and_creates_its_pods(api: Api) -> None:
    made = await api.create("replicationcontrollers", _replication_controller())
    labels = {"app": "rc"}
    assert (made["metadata"]["labels"], made["metadata"]["generation"]) == (labels, 1)
    assert (made["spec"]["selector"], made["spec"]["replicas"]) == (labels, 1)
    assert made["status"] == {"replicas": 0}
    path = api.path("replicationcontrollers", "rc")
    await api.patch(f"{path}/scale", {"spec": {"replicas": 2}})
    done = await api.wait_for(
        path, lambda reply: reply.body["status"].get("fullyLabeledReplicas") == 2
    )
    assert done.body["status"]["observedGeneration"] == 2
    scale = await api.get(f"{path}/scale")
    assert (scale["spec"], scale["status"]) == (
        {"replicas": 2},
        {"replicas": 2, "selector": "app=rc"},
    )
    owners = [
        each["metadata"]["ownerReferences"] for each in (await api.get(api.path("pods")))["items"]
    ]
    assert [(owner["kind"], owner["controller"]) for (owner,) in owners] == [
        ("ReplicationController", True)
    ] * 2


async def test_replication_controller_without_matching_labels_is_refused(api: Api) -> None:
    path = api.path("replicationcontrollers")
    reply = await api.call("POST", path, _replication_controller(selector={"app": "other"}))
    check_refused(reply, 422, "Invalid", "spec.template.metadata.labels")
    reply = await api.call("POST", path, {"metadata": {"name": "rc"}})
    check_refused(reply, 422, "Invalid", "spec.selector", "spec.template")
    await api.create("replicationcontrollers", _replication_controller(replicas=0))
    reply = await api.patch(f"{path}/rc", {"spec": {"selector": {"app": "other"}}})
    check_refused(reply, 422, "Invalid", "spec.template.metadata.labels")
    reply = await api.patch(f"{path}/rc", {"spec": {"selector": None}})
    assert reply.body["spec"]["selector"] == {"app": "rc"}


async def test_deleting_a_replication_controller_without_propagation_policy_orphans_its_pods(
    api: Api,
) -> None:
    await api.create("replicationcontrollers", _replication_controller())
    await api.wait_for(api.path("pods"), lambda reply: len(reply.body["items"]) == 1)
    path = api.path("replicationcontrollers", "rc")
    assert (await api.call("DELETE", path)).status == 200
    await api.wait_for(path, lambda reply: reply.status == 404)
    (orphan,) = (await api.get(api.path("pods")))["items"]
    assert "ownerReferences" not in orphan["metadata"]
    assert "deletionTimestamp" not in orphan["metadata"]


async def test_table_of_replication_controllers_has_their_selector(api: Api) -> None:
    await api.create("replicationcontrollers", _replication_controller(replicas=0))
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    table = await api.get(api.path("replicationcontrollers"), accept=accept)
    names = [column["name"] for column in table["columnDefinitions"]]
    counts = ["Name", "Desired", "Current", "Ready", "Age"]
    assert names == [*counts, "Containers", "Images", "Selector"]
    (row,) = table["rows"]
    assert [*row["cells"][:4], *row["cells"][5:]] == ["rc", 0, 0, 0, "c", "i", "app=rc"]
