from datetime import datetime
from typing import Any

import pytest

from kubeling.apiserver import kinds
from kubeling.apiserver.read import table
from tests.apiserver.recorded import recorded_body

NOW = datetime.fromisoformat("2026-11-24T00:00:00Z").timestamp()
POD = kinds.kind_by_name("Pod")


def cells(kind: Any, obj: Any, **metadata: Any) -> Any:
    obj = {"kind": kind.kind, **obj}
    obj["metadata"] = {"creationTimestamp": "2026-11-23T23:59:00Z"} | obj.get("metadata", {})
    obj["metadata"] |= metadata
    return table.make_table(kind, [obj], NOW)["rows"][0]["cells"]


def status_of(pod: Any, **metadata: Any) -> Any:
    return cells(POD, pod, **metadata)[2]


TABLES = {
    "namespaces as a table": "Namespace",
    "pods as a table": "Pod",
    "config maps as a table": "ConfigMap",
    "nodes as a table": "Node",
    "events as a table": "Event",
    "deployments as a table": "Deployment",
}


@pytest.mark.parametrize("title", TABLES)
def test_columns_equal_those_of_a_real_server(title: str) -> None:
    drawn = table.make_table(kinds.kind_by_name(TABLES[title]), [], NOW)["columnDefinitions"]
    assert [each | {"description": "<description>"} for each in drawn] == (
        recorded_body(title)["columnDefinitions"]
    )
    assert all(each["description"] for each in drawn)


ROWS = {
    "create namespace": "namespaces as a table",
    "plain pod, defaults": "one pod as a table",
    "status does not touch spec": "running pod as a table",
    "rich pod, defaults": "pods as a table",
    "config map": "config maps as a table",
    "node status": "nodes as a table",
    "event": "events as a table",
}


@pytest.mark.parametrize("title", ROWS)
def test_recorded_objects_have_the_recorded_cells(title: str) -> None:
    obj = recorded_body(title)
    obj["metadata"]["creationTimestamp"] = "2026-11-24T00:00:00Z"
    if obj["kind"] == "Event":
        obj["message"] = "m"
    drawn = table.make_table(kinds.kind_by_name(obj["kind"]), [obj], NOW)["rows"][0]["cells"]
    recorded = [each["cells"] for each in recorded_body(ROWS[title])["rows"]]
    assert drawn in recorded


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (-3, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (121, "2m1s"),
        (600, "10m"),
        (10799, "179m"),
        (10800, "3h"),
        (11000, "3h3m"),
        (28800, "8h"),
        (172799, "47h"),
        (172800, "2d"),
        (176400, "2d1h"),
        (8 * 86400, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (731 * 86400, "2y1d"),
        (3000 * 86400, "8y"),
    ],
)
def test_time_span_is_formatted_like_kubectl(seconds: int, written: str) -> None:
    assert table.duration(seconds) == written


RUNNING = {"running": {"startedAt": "2026-11-23T23:59:10Z"}}


def pod(*states: Any, phase: str = "Running", init: Any = (), **status: Any) -> Any:
    """Build a pod from container states; `init` has pairs of state and restart policy."""
    return {
        "metadata": {"name": "p"},
        "spec": {
            "containers": [{"name": f"c{at}"} for at in range(len(states) or 1)],
            "initContainers": [
                {"name": f"i{at}"} | ({"restartPolicy": policy} if policy else {})
                for at, (_, policy) in enumerate(init)
            ],
        },
        "status": {
            "phase": phase,
            "containerStatuses": [
                {"name": f"c{at}", "ready": "running" in state, "restartCount": 0, "state": state}
                for at, state in enumerate(states)
            ],
            "initContainerStatuses": [
                {
                    "name": f"i{at}",
                    "ready": "running" in state,
                    "started": "running" in state,
                    "restartCount": 1,
                    "state": state,
                }
                for at, (state, _) in enumerate(init)
            ],
            **status,
        },
    }


ENDED = {"terminated": {"exitCode": 0, "reason": "Completed"}}
FAILED = {"terminated": {"exitCode": 3}}
WAITING = {"waiting": {"reason": "PodInitializing"}}


@pytest.mark.parametrize(
    ("found", "ready", "status"),
    [
        (pod(RUNNING), "1/1", "Running"),
        (pod({"waiting": {"reason": "CrashLoopBackOff"}}), "0/1", "CrashLoopBackOff"),
        (pod({"waiting": {"reason": "ImagePullBackOff"}}), "0/1", "ImagePullBackOff"),
        (pod(ENDED, phase="Succeeded"), "0/1", "Completed"),
        (pod(FAILED, phase="Failed"), "0/1", "ExitCode:3"),
        (pod({"terminated": {"exitCode": 137, "signal": 9}}), "0/1", "Signal:9"),
        (pod({"terminated": {"exitCode": 1, "reason": "Error"}}), "0/1", "Error"),
        (pod(WAITING, phase="Pending", init=[(RUNNING, "")]), "0/1", "Init:0/1"),
        (pod(WAITING, phase="Pending", init=[(ENDED, ""), (RUNNING, "")]), "0/1", "Init:1/2"),
        (pod(WAITING, phase="Pending", init=[(FAILED, "")]), "0/1", "Init:ExitCode:3"),
        (
            pod(WAITING, phase="Pending", init=[({"waiting": {"reason": "CrashLoopBackOff"}}, "")]),
            "0/1",
            "Init:CrashLoopBackOff",
        ),
        (pod(RUNNING, init=[(RUNNING, "Always")]), "2/2", "Running"),
        (pod(RUNNING, init=[(ENDED, "")]), "1/1", "Running"),
        (pod(phase="Failed", reason="Evicted"), "0/1", "Evicted"),
        (
            pod(RUNNING, ENDED, conditions=[{"type": "Ready", "status": "True"}]),
            "1/2",
            "Running",
        ),
        (pod(ENDED, RUNNING), "1/2", "NotReady"),
        (
            pod(
                phase="Pending",
                conditions=[{"type": "PodScheduled", "reason": "SchedulingGated"}],
            ),
            "0/1",
            "SchedulingGated",
        ),
    ],
)
def test_pod_row_shows_the_status(found: Any, ready: Any, status: Any) -> None:
    drawn = cells(POD, found)
    assert (drawn[1], drawn[2]) == (ready, status)


def test_deleted_pod_is_terminating() -> None:
    assert status_of(pod(RUNNING), deletionTimestamp="2026-11-24T00:00:00Z") == "Terminating"
    done = pod(ENDED, phase="Succeeded")
    assert status_of(done, deletionTimestamp="2026-11-24T00:00:00Z") == "Completed"
    lost = pod(RUNNING, reason="NodeLost")
    assert status_of(lost, deletionTimestamp="2026-11-24T00:00:00Z") == "Unknown"


def test_restarts_show_the_time_of_the_last_one() -> None:
    found = pod(RUNNING, init=[(ENDED, "")])
    found["status"]["containerStatuses"][0] |= {
        "restartCount": 2,
        "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-11-23T23:59:30Z"}},
    }
    assert cells(POD, found)[3] == "2 (30s ago)"


def test_restarts_of_init_containers_count_until_they_complete() -> None:
    assert cells(POD, pod(WAITING, phase="Pending", init=[(RUNNING, "")]))[3] == "1"
    assert cells(POD, pod(RUNNING, init=[(ENDED, "")]))[3] == "0"
    assert cells(POD, pod(RUNNING, init=[(RUNNING, "Always")]))[3] == "1"


def test_row_of_a_finished_pod_has_a_completed_condition() -> None:
    rows = table.make_table(POD, [{"kind": "Pod"} | pod(ENDED, phase="Succeeded")], NOW)["rows"]
    assert rows[0]["conditions"] == [{"type": "Completed", "status": "True", "reason": "Succeeded"}]


def test_readiness_gates_are_counted() -> None:
    found = pod(RUNNING, conditions=[{"type": "a", "status": "True"}])
    found["spec"]["readinessGates"] = [{"conditionType": "a"}, {"conditionType": "b"}]
    assert cells(POD, found)[8] == "1/2"


def test_row_includes_the_requested_part_of_the_object() -> None:
    obj = {"kind": "Pod", **pod(RUNNING)}
    rows = {
        how: table.make_table(POD, [obj], NOW, include=how)["rows"][0]
        for how in ("None", "Metadata", "Object")
    }
    assert "object" not in rows["None"]
    assert rows["Metadata"]["object"]["kind"] == "PartialObjectMetadata"
    assert rows["Object"]["object"] == obj


def test_cordoned_node_shows_scheduling_disabled() -> None:
    node = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    kind = kinds.kind_by_name("Node")
    assert cells(kind, node)[1] == "NotReady"
    assert cells(kind, {"spec": {"unschedulable": True}})[1] == "Unknown,SchedulingDisabled"
    roles = {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": ""}
    assert cells(kind, node, labels=roles)[2] == "control-plane,worker"


@pytest.mark.parametrize(
    ("spec", "outside", "ports"),
    [
        ({"type": "ClusterIP"}, "<none>", "<none>"),
        (
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 3, "protocol": "TCP"}]},
            "<none>",
            "80:3/TCP",
        ),
        ({"type": "LoadBalancer"}, "<pending>", "<none>"),
        ({"type": "ExternalName", "externalName": "x.example"}, "x.example", "<none>"),
        (
            {
                "type": "ClusterIP",
                "externalIPs": ["1.2.3.4"],
                "ports": [{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
            },
            "1.2.3.4",
            "80/TCP,53/UDP",
        ),
    ],
)
def test_service_row_shows_type_address_and_ports(spec: Any, outside: Any, ports: Any) -> None:
    drawn = cells(kinds.kind_by_name("Service"), {"spec": spec})
    assert (drawn[3], drawn[4]) == (outside, ports)


def test_service_row_shows_selector_and_load_balancer_address() -> None:
    spec = {"type": "LoadBalancer", "selector": {"b": "2", "a": "1"}}
    status = {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}, {"hostname": "x.example"}]}}
    drawn = cells(kinds.kind_by_name("Service"), {"spec": spec, "status": status})
    assert drawn[3] == "1.2.3.4,x.example"
    assert drawn[6] == "a=1,b=2"


def test_event_series_shows_its_last_observed_time() -> None:
    event = {
        "eventTime": "2026-11-23T23:50:00.000000Z",
        "series": {"count": 4, "lastObservedTime": "2026-11-23T23:59:58.000000Z"},
        "involvedObject": {"kind": "Node"},
        "reportingComponent": "kubelet",
        "reportingInstance": "n1",
        "message": " m \n",
    }
    drawn = cells(kinds.kind_by_name("Event"), event)
    assert drawn[0] == "2s"
    assert drawn[3] == "node"
    assert drawn[5:9] == ["kubelet, n1", "m", "10m", 4]


def test_event_without_times_has_an_unknown_age() -> None:
    assert cells(kinds.kind_by_name("Event"), {})[0] == "<unknown>"


def test_binding_row_shows_role_and_subjects() -> None:
    binding = {
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [
            {"kind": "User", "name": "alice"},
            {"kind": "User", "name": "bob"},
            {"kind": "Group", "name": "devs"},
            {"kind": "ServiceAccount", "namespace": "one", "name": "sa"},
        ],
    }
    drawn = cells(kinds.kind_by_name("RoleBinding"), binding)
    assert drawn[1:] == ["Role/r", "60s", "alice, bob", "devs", "one/sa"]


def test_kind_without_columns_has_name_and_creation_time() -> None:
    drawn = cells(kinds.kind_by_name("Role"), {"metadata": {"name": "r"}})
    assert drawn == ["r", "2026-11-23T23:59:00Z"]


@pytest.mark.parametrize(
    ("name", "obj", "drawn"),
    [
        ("Secret", {"type": "Opaque", "data": {"a": "", "b": ""}}, ["s", "Opaque", 2]),
        ("ServiceAccount", {"secrets": [{"name": "x"}]}, ["s"]),
        ("Lease", {"spec": {"holderIdentity": "me"}}, ["s", "me"]),
        ("MutatingWebhookConfiguration", {"webhooks": [{}, {}]}, ["s", 2]),
        ("ConfigMap", {"data": {"a": ""}, "binaryData": {"b": ""}}, ["s", 2]),
    ],
)
def test_other_kinds_have_their_own_columns(name: str, obj: Any, drawn: Any) -> None:
    found = cells(kinds.kind_by_name(name), obj | {"metadata": {"name": "s"}})
    assert found[:-1] == drawn
    assert found[-1] == "60s"


CONTAINERS = {"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "j:2"}]}
WORKLOAD = {
    "replicas": 3,
    "selector": {"matchLabels": {"app": "a"}},
    "template": {"spec": {**CONTAINERS, "nodeSelector": {"disk": "ssd"}}},
}
WIDE = ["c,d", "i:1,j:2", "app=a"]
TIMES = {"startTime": "2026-11-23T23:58:00Z", "completionTime": "2026-11-23T23:59:30Z"}
COMPLETE = {"type": "Complete", "status": "True"}


@pytest.mark.parametrize(
    ("kind", "obj", "row"),
    [
        (
            "Deployment",
            {"spec": WORKLOAD, "status": {"readyReplicas": 2, "updatedReplicas": 1}},
            ["x", "2/3", 1, 0, "60s", *WIDE],
        ),
        (
            "ReplicaSet",
            {"spec": WORKLOAD, "status": {"replicas": 3, "readyReplicas": 2}},
            ["x", 3, 3, 2, "60s", *WIDE],
        ),
        (
            "ReplicationController",
            {"spec": {**WORKLOAD, "selector": {"app": "a"}}, "status": {"replicas": 3}},
            ["x", 3, 3, 0, "60s", *WIDE],
        ),
        (
            "StatefulSet",
            {"spec": WORKLOAD, "status": {"readyReplicas": 1}},
            ["x", "1/3", "60s", *WIDE[:2]],
        ),
        (
            "DaemonSet",
            {"spec": WORKLOAD, "status": {"desiredNumberScheduled": 2, "numberReady": 1}},
            ["x", 2, 0, 1, 0, 0, "disk=ssd", "60s", *WIDE],
        ),
        (
            "Job",
            {
                "spec": {**WORKLOAD, "completions": 2},
                "status": {**TIMES, "succeeded": 2, "conditions": [COMPLETE]},
            },
            ["x", "Complete", "2/2", "90s", "60s", *WIDE],
        ),
        (
            "Job",
            {"spec": {"parallelism": 3, "template": {"spec": CONTAINERS}}, "status": {}},
            ["x", "Running", "0/1 of 3", "", "60s", *WIDE[:2], "<none>"],
        ),
        (
            "CronJob",
            {
                "spec": {
                    "schedule": "0 3 * * *",
                    "suspend": False,
                    "jobTemplate": {"spec": {"template": {"spec": CONTAINERS}}},
                },
                "status": {"active": [{}], "lastScheduleTime": "2026-11-23T23:55:00Z"},
            },
            ["x", "0 3 * * *", "<none>", "False", 1, "5m", "60s", *WIDE[:2], "<none>"],
        ),
        (
            "PodDisruptionBudget",
            {"spec": {"maxUnavailable": "20%"}, "status": {"disruptionsAllowed": 1}},
            ["x", "N/A", "20%", 1, "60s"],
        ),
        ("NetworkPolicy", {"spec": {"podSelector": {}}}, ["x", "<none>", "60s"]),
        (
            "PriorityClass",
            {"value": 5, "preemptionPolicy": "Never"},
            ["x", 5, False, "60s", "Never"],
        ),
        (
            "CSIDriver",
            {
                "spec": {
                    "attachRequired": False,
                    "tokenRequests": [{"audience": "a"}, {"audience": ""}, {"audience": "b"}],
                    "volumeLifecycleModes": ["Ephemeral", "Persistent"],
                }
            },
            ["x", False, False, False, "a,,b", False, "Ephemeral,Persistent", "60s"],
        ),
        (
            "CSIDriver",
            {"spec": {"attachRequired": True}},
            ["x", True, False, False, "<unset>", False, "<none>", "60s"],
        ),
        (
            "EndpointSlice",
            {
                "addressType": "IPv4",
                "ports": [{"port": 80}, {"name": "web"}, {}, {"port": 443}],
                "endpoints": [{"addresses": ["10.0.0.1"]}],
            },
            ["x", "IPv4", "80,web,* + 1 more...", "10.0.0.1", "60s"],
        ),
    ],
)
def test_workload_row_has_its_columns(kind: str, obj: Any, row: list[Any]) -> None:
    assert cells(kinds.kind_by_name(kind), obj, name="x") == row


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ([{"type": "Suspended", "status": "True"}], "Suspended"),
        ([{"type": "Suspended", "status": "False"}], "Running"),
        ([{"type": "FailureTarget", "status": "True"}], "FailureTarget"),
        (
            [{"type": "FailureTarget", "status": "True"}, {"type": "Failed", "status": "True"}],
            "Failed",
        ),
    ],
)
def test_job_row_shows_the_status(conditions: Any, status: str) -> None:
    job = {"spec": {"template": {"spec": CONTAINERS}}, "status": {"conditions": conditions}}
    assert cells(kinds.kind_by_name("Job"), job, name="x")[1] == status
