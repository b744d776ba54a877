import copy
import json
from typing import Any

import pytest

from kubeling.apiserver import kinds
from kubeling.apiserver.defaulting import defaults
from kubeling.apiserver.status import StatusError
from tests.apiserver.recorded import STEPS, UID, kind_of, new_object, recorded_body, step

POD = kinds.kind_by_name("Pod")
CLASSES = {"low": {"value": 5, "preemptionPolicy": "Never"}}
ACCOUNT_VOLUME = "kube-api-access-<suffix>"

CREATED = [
    each["title"]
    for each in STEPS
    if each["method"] == "POST"
    and each["expect"]["status"] == 201
    and (body := each["expect"].get("body"))
    and (kind := kind_of(body))
    and kind.stored
]


def without_account(pod: Any) -> Any:
    """Remove the fields of the ServiceAccount admission plugin, which are not defaults."""
    spec = pod["spec"]
    for name in ("serviceAccount", "serviceAccountName"):
        spec.pop(name, None)
    spec["volumes"] = [each for each in spec.get("volumes", ()) if each["name"] != ACCOUNT_VOLUME]
    for container in [*spec["containers"], *spec.get("initContainers", ())]:
        mounts = container.get("volumeMounts", ())
        container["volumeMounts"] = [each for each in mounts if each["name"] != ACCOUNT_VOLUME]
    return pod


def without_masked(obj: Any) -> Any:
    obj = json.loads(json.dumps(obj).replace(UID, "<uid>"))
    for name in ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"):
        obj["metadata"].pop(name, None)
    if "generateName" in obj["metadata"]:
        obj["metadata"].pop("name")
    for name in ("apiVersion", "kind", "message"):
        obj.pop(name, None)
    for name in ("clusterIP", "clusterIPs"):  # set by the allocator
        obj.get("spec", {}).pop(name, None)
    return obj


@pytest.mark.parametrize("title", CREATED)
def test_new_object_gets_the_defaults_of_a_real_server(title: str) -> None:
    recorded = recorded_body(title)
    kind = kind_of(recorded)
    assert kind is not None
    made = new_object(kind, step(title)["body"])
    if not kind.namespaced:
        made["metadata"].pop("namespace", None)
    if kind is POD:
        made = without_account(defaults.admit_pod(made, CLASSES))
        recorded = without_account(recorded)
    if kind.kind == "Node":
        made = defaults.admit_node(made)
    assert without_masked(made) == without_masked(recorded)


@pytest.mark.parametrize("title", CREATED)
def test_defaulting_is_idempotent(title: str) -> None:
    recorded = recorded_body(title)
    kind = kind_of(recorded)
    assert kind is not None
    once = new_object(kind, step(title)["body"])
    assert defaults.set_defaults(kind, copy.deepcopy(once)) == once


def test_status_in_a_new_object_is_ignored() -> None:
    pod = new_object(POD, {"spec": {"containers": []}, "status": {"phase": "Running"}})
    assert pod["status"]["phase"] == "Pending"


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("app", "Always"),
        ("app:latest", "Always"),
        ("app:1", "IfNotPresent"),
        ("host:5000/app", "Always"),
        ("host:5000/app:1", "IfNotPresent"),
        ("app@sha256:0000", "IfNotPresent"),
    ],
)
def test_image_without_a_fixed_version_is_always_pulled(image: Any, policy: Any) -> None:
    container = {"name": "c", "image": image}
    assert defaults.set_defaults("Container", container)["imagePullPolicy"] == policy


def test_given_values_are_not_replaced() -> None:
    container = {"name": "c", "image": "app", "imagePullPolicy": "Never", "resources": {}}
    assert defaults.set_defaults("Container", container)["imagePullPolicy"] == "Never"


def test_deprecated_account_field_follows_the_new_field() -> None:
    spec = {"containers": [], "serviceAccountName": "new", "serviceAccount": "old"}
    assert defaults.set_defaults("PodSpec", spec)["serviceAccount"] == "new"
    spec = {"containers": [], "serviceAccount": "old"}
    assert defaults.set_defaults("PodSpec", spec)["serviceAccountName"] == "old"


def test_volume_without_a_source_is_an_empty_directory() -> None:
    assert defaults.set_defaults("Volume", {"name": "v"}) == {"name": "v", "emptyDir": {}}


def test_ports_on_the_host_network_get_a_host_port() -> None:
    spec = {"hostNetwork": True, "containers": [{"name": "c", "ports": [{"containerPort": 80}]}]}
    port = defaults.set_defaults("PodSpec", spec)["containers"][0]["ports"][0]
    assert port == {"containerPort": 80, "hostPort": 80, "protocol": "TCP"}


def test_missing_requests_are_set_to_the_limits() -> None:
    resources = {"limits": {"cpu": 1, "memory": 0.5}, "requests": {"cpu": 0.25}}
    assert defaults.set_defaults("ResourceRequirements", resources) == {
        "limits": {"cpu": "1", "memory": "500m"},
        "requests": {"cpu": "250m", "memory": "500m"},
    }


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ([{}], "BestEffort"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1"}}], "Burstable"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
        ([{"requests": {"ephemeral-storage": "1Gi"}}], "BestEffort"),
    ],
)
def test_qos_class_follows_requests_and_limits(resources: Any, qos: Any) -> None:
    containers = [{"name": f"c{at}", "resources": each} for at, each in enumerate(resources)]
    assert new_object(POD, {"spec": {"containers": containers}})["status"]["qosClass"] == qos


def test_pod_ip_is_in_both_fields() -> None:
    assert defaults.set_defaults("PodStatus", {"podIP": "10.0.0.1"})["podIPs"] == [
        {"ip": "10.0.0.1"}
    ]
    moved = {"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.1"}]}
    assert defaults.set_defaults("PodStatus", moved)["podIPs"] == [{"ip": "10.0.0.2"}]
    assert (
        defaults.set_defaults("PodStatus", {"hostIPs": [{"ip": "10.0.0.3"}]})["hostIP"]
        == "10.0.0.3"
    )


def test_recorded_status_has_its_zero_values() -> None:
    patch = step("status")["body"]["status"]
    filled = defaults.set_defaults("PodStatus", patch)
    recorded = recorded_body("status")["status"]
    assert filled["containerStatuses"] == recorded["containerStatuses"]
    assert filled["conditions"][0] == recorded["conditions"][0]


def test_pod_with_its_own_toleration_keeps_it() -> None:
    pod = new_object(POD, {"spec": {"containers": [], "tolerations": [{"operator": "Exists"}]}})
    assert defaults.admit_pod(pod, CLASSES)["spec"]["tolerations"] == [{"operator": "Exists"}]


def prioritized(**spec: Any) -> Any:
    pod = new_object(POD, {"metadata": {"name": "x"}, "spec": {"containers": [], **spec}})
    return defaults.admit_pod(pod, CLASSES)["spec"]


def test_pod_gets_the_priority_of_its_class() -> None:
    assert prioritized(priorityClassName="low")["priority"] == 5
    assert prioritized(priorityClassName="low")["preemptionPolicy"] == "Never"
    assert prioritized(priorityClassName="low", priority=5)["priority"] == 5


def test_pod_without_a_class_gets_the_global_default() -> None:
    usual = CLASSES | {"usual": {"value": 7, "globalDefault": True}}
    pod = defaults.admit_pod(new_object(POD, {"spec": {"containers": []}}), usual)
    assert (pod["spec"]["priority"], pod["spec"]["priorityClassName"]) == (7, "usual")
    assert prioritized()["priority"] == 0
    assert "priorityClassName" not in prioritized()


@pytest.mark.parametrize(
    "spec",
    [
        {"priorityClassName": "mine"},
        {"priorityClassName": "low", "priority": 6},
        {"priority": 1},
        {"priorityClassName": "low", "preemptionPolicy": "PreemptLowerPriority"},
    ],
)
def test_missing_class_and_different_priority_are_refused(spec: Any) -> None:
    """Fails if a pod can have a higher priority than the pods of the system."""
    with pytest.raises(StatusError) as caught:
        prioritized(**spec)
    assert (caught.value.status, caught.value.name) == (403, "x")


def test_taint_of_a_new_node_is_set_once() -> None:
    node = {"metadata": {"name": "n"}}
    once = copy.deepcopy(defaults.admit_node(node))
    assert defaults.admit_node(copy.deepcopy(once)) == once


@pytest.mark.parametrize(
    ("spec", "added"),
    [
        ({"type": "NodePort"}, {"externalTrafficPolicy": "Cluster"}),
        (
            {"type": "LoadBalancer"},
            {"externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": True},
        ),
        (
            {"sessionAffinity": "ClientIP"},
            {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}},
        ),
    ],
)
def test_services_of_other_types_get_their_own_defaults(spec: Any, added: Any) -> None:
    assert added.items() <= defaults.set_defaults("ServiceSpec", spec).items()


def test_external_name_service_has_no_address_family() -> None:
    spec = {"type": "ExternalName", "externalName": "x.example"}
    assert "ipFamilies" not in defaults.set_defaults("ServiceSpec", spec)


def test_string_data_takes_precedence_over_data() -> None:
    secret = {"data": {"a": "eA==", "b": "eA=="}, "stringData": {"a": "v"}}
    assert defaults.set_defaults("Secret", secret) == {
        "metadata": {},
        "type": "Opaque",
        "data": {"a": "dg==", "b": "eA=="},
    }


def test_subjects_get_the_group_of_their_kind() -> None:
    binding = {
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"}],
    }
    filled = defaults.set_defaults("RoleBinding", binding)
    assert filled["roleRef"]["apiGroup"] == "rbac.authorization.k8s.io"
    assert filled["subjects"][0]["apiGroup"] == "rbac.authorization.k8s.io"
    assert "apiGroup" not in filled["subjects"][1]


def test_defaults_are_not_shared_between_objects() -> None:
    first = defaults.set_defaults("Container", {"name": "a"})
    first["resources"]["limits"] = {"cpu": "1"}
    assert defaults.set_defaults("Container", {"name": "b"})["resources"] == {}
