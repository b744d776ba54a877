"""Every built-in kind of the newest release is served: each verb, its columns, and its versions."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubeling.apiserver.kinds import KINDS, Kind
from kubeling.apiserver.read.table import make_table
from kubeling.apiserver.release import RELEASES
from tests.apiserver.built_in_objects import collection, name_of, new_body
from tests.apiserver.kubectl import Kubectl, kubectl
from tests.apiserver.test_watch import open_watch

__all__ = ["kubectl"]

VECTORS = Path(__file__).parents[1] / "vectors" / "built_in_kinds.json"
RECORDED = json.loads(VECTORS.read_text())
STORED = [kind for kind in KINDS if kind.stored]
RECORDED_KINDS = [kind for kind in STORED if name_of(kind) in RECORDED["objects"]]
MISSING = object()
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
# Kinds and subresources that this API server does not serve.
NOT_SERVED = {
    "bindings": "pods/binding does the same",
    "componentstatuses": "deprecated; it names components that do not run here",
    "pods/resize": "the resources of a running pod do not change",
}
# What differs from the real API server, with the reason.
PROTECTED = "no controller would remove the finalizer"
OTHER_UID = "contains the uid"
UID_LABELS = ("controller-uid", "batch.kubernetes.io/controller-uid")
DIFFERS = {
    "apiextensions.k8s.io/v1 customresourcedefinitions": {"cells[7]": "a controller sets it later"},
    "apiregistration.k8s.io/v1 apiservices": {"cells[2]": "a controller sets it later"},
    "apps/v1 daemonsets": {"made.metadata.annotations": "a deprecated copy of the generation"},
    "batch/v1 jobs": dict.fromkeys(
        (
            "cells[7]",
            *(f"made.metadata.labels.{name}" for name in UID_LABELS),
            *(f"made.spec.template.metadata.labels.{name}" for name in UID_LABELS),
            f"made.spec.selector.matchLabels.{UID_LABELS[1]}",
        ),
        OTHER_UID,
    ),
    "certificates.k8s.io/v1 certificatesigningrequests": dict.fromkeys(
        ("cells[3]", "made.spec.extra", "made.spec.uid", "made.spec.username"),
        "the user of the recording was another",
    ),
    "networking.k8s.io/v1 ipaddresses": {"cells": "a third cell without a column"},
    "storage.k8s.io/v1 volumeattributesclasses": {"made.metadata.finalizers": PROTECTED},
    "v1 persistentvolumeclaims": {"made.metadata.finalizers": PROTECTED},
    "v1 persistentvolumes": {"made.metadata.finalizers": PROTECTED},
    "v1 services": dict.fromkeys(
        ("cells[2]", "made.spec.clusterIP", "made.spec.clusterIPs[0]"), "the address is random"
    ),
}
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
# Kinds for which the real API server defines no table columns.
PLAIN = {"CSIStorageCapacity", "ClusterRole", "LimitRange", "Role"}
# Real kubectl applies an object of each of these kinds.
APPLIED = (
    *("StorageClass", "PersistentVolume", "IngressClass", "PriorityClass", "RuntimeClass"),
    *("PersistentVolumeClaim", "Ingress", "NetworkPolicy", "HorizontalPodAutoscaler"),
    *("ResourceQuota", "LimitRange", "StatefulSet", "CronJob", "PodTemplate", "Endpoints"),
    "ReplicationController",
)


@pytest.mark.parametrize("kind", STORED, ids=name_of)
async def test_object_is_created_read_patched_watched_and_deleted(live: Any, kind: Kind) -> None:
    body = new_body(kind)
    name, many = body["metadata"]["name"], collection(kind)
    made = await live.call("POST", many, body)
    assert made.status == 201, made.text
    one, revision = f"{many}/{name}", made.body["metadata"]["resourceVersion"]

    table = (
        await live.call("GET", f"{many}?fieldSelector=metadata.name={name}", accept=TABLE)
    ).body
    (row,) = table["rows"]
    assert len(row["cells"]) == len(table["columnDefinitions"])
    assert name in row["cells"]

    change = {"metadata": {"labels": {"a": "1"}}}
    patched = await live.call("PATCH", one, change, content_type=STRATEGIC)
    assert patched.status == 200, patched.text
    merged = await live.call(
        "PATCH", one, {"metadata": {"annotations": {"b": "1"}}}, content_type=MERGE
    )
    assert merged.body["metadata"]["labels"]["a"] == "1"
    applied = {**copy.deepcopy(body), "metadata": {"name": name, "labels": {"c": "1"}}}
    done = await live.call(
        "PATCH", f"{one}?fieldManager=me&force=true", applied, content_type=APPLY
    )
    assert done.status == 200, done.text
    read = (await live.call("GET", one)).body
    assert {"a": "1", "c": "1"}.items() <= read["metadata"]["labels"].items()
    assert (await live.call("PUT", one, read)).status == 200
    assert (await live.call("DELETE", one)).status == 200

    query = f"watch=1&resourceVersion={revision}&fieldSelector=metadata.name={name}"
    async with open_watch(live, f"{many}?{query}") as watch:
        kind_of_change, obj = await watch.next()
        assert (kind_of_change, obj["apiVersion"]) == ("MODIFIED", kind.api_version)
        while kind_of_change != "DELETED" and "deletionTimestamp" not in obj["metadata"]:
            kind_of_change, obj = await watch.next()
            assert obj["apiVersion"] == kind.api_version


@pytest.mark.parametrize("kind", STORED, ids=name_of)
async def test_unknown_field_is_refused(live: Any, kind: Kind) -> None:
    body = new_body(kind) | {"nopes": 1}
    refused = await live.call("POST", collection(kind) + "?fieldValidation=Strict", body)
    assert refused.status == 400
    assert 'unknown field "nopes"' in refused.body["message"]


@pytest.mark.parametrize("kind", [each for each in STORED if each.kind not in PLAIN], ids=name_of)
def test_kind_has_columns_of_its_own(kind: Kind) -> None:
    names = [each["name"] for each in make_table(kind, [], 0)["columnDefinitions"]]
    assert names != ["Name", "Created At"]


def differences(expected: Any, found: Any, path: str = "") -> Iterator[str]:
    """Yield the paths that differ between a recorded value and ours."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            below = f"{path}.{key}" if path else key
            yield from differences(expected.get(key, MISSING), found.get(key, MISSING), below)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for at, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences(one, other, f"{path}[{at}]")
    elif expected != found and not (is_time(expected) and is_time(found)):
        yield path


def is_time(value: Any) -> bool:
    """Tell whether a value is a time, or an age: both differ with the day of the run."""
    pattern = r"\d{4}-\S+Z|(\d+[ydhms])+"
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


@pytest.mark.parametrize("kind", RECORDED_KINDS, ids=name_of)
async def test_new_object_and_its_table_equal_those_of_a_real_server(live: Any, kind: Kind) -> None:
    recorded, body = RECORDED["objects"][name_of(kind)], new_body(kind, "recorded")
    # Not stored, so that no controller changes the object before it is read as a table.
    path = f"{collection(kind)}?dryRun=All"
    made = (await live.call("POST", path, body)).body
    for obj in (made, recorded["made"]):
        for name in ("uid", "resourceVersion", "managedFields"):
            obj["metadata"].pop(name, None)
    table = (await live.call("POST", path, body, accept=TABLE)).body
    columns = [
        {name: each for name, each in column.items() if name != "description"}
        for column in table["columnDefinitions"]
    ]
    found = {"made": made, "columns": columns, "cells": table["rows"][0]["cells"]}
    assert set(differences(recorded, found)) <= set(DIFFERS.get(name_of(kind), {}))


@pytest.mark.parametrize("root", ["/api", "/apis"])
async def test_discovery_equals_that_of_a_real_server(live: Any, root: str) -> None:
    found = (await live.call("GET", root, accept=DISCOVERY)).body["items"]
    recorded = RECORDED["discovery"][root]["items"]
    for group in recorded:
        group["metadata"].pop("creationTimestamp", None)
        for version in group["versions"]:
            kinds = version["resources"]
            kept = [each for each in kinds if each["resource"] not in NOT_SERVED]
            version["resources"] = kept
            for each in kept:
                parts = each.get("subresources", ())
                served = [
                    part
                    for part in parts
                    if f"{each['resource']}/{part['subresource']}" not in NOT_SERVED
                ]
                each.pop("subresources", None)
                each |= {"subresources": served} if served else {}
    assert not [
        path for path in differences(recorded, found) if ".responseKind." not in f".{path}."
    ]


async def test_versions_of_a_kind_share_their_objects(live: Any) -> None:
    path = "/apis/autoscaling/{}/namespaces/default/horizontalpodautoscalers"
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "maxReplicas": 3,
    }
    body = {"metadata": {"name": "web"}, "spec": spec | {"targetCPUUtilizationPercentage": 60}}
    assert (await live.call("POST", path.format("v1"), body)).status == 201
    newer = (await live.call("GET", path.format("v2") + "/web")).body
    (metric,) = newer["spec"]["metrics"]
    assert metric["resource"] == {
        "name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 60},
    }
    memory = {"type": "AverageValue", "averageValue": "1Gi"}
    newer["spec"]["metrics"].append(
        {"type": "Resource", "resource": {"name": "memory", "target": memory}}
    )
    assert (await live.call("PUT", path.format("v2") + "/web", newer)).status == 200
    change = {"spec": {"targetCPUUtilizationPercentage": 70}}
    older = await live.call("PATCH", path.format("v1") + "/web", change, content_type=MERGE)
    assert older.body["spec"]["targetCPUUtilizationPercentage"] == 70
    metrics = (await live.call("GET", path.format("v2") + "/web")).body["spec"]["metrics"]
    assert [each["resource"]["name"] for each in metrics] == ["cpu", "memory"]
    assert metrics[0]["resource"]["target"]["averageUtilization"] == 70
    assert (await live.call("DELETE", path.format("v1") + "/web")).status == 200
    assert (await live.call("GET", path.format("v2") + "/web")).status == 404


@pytest.mark.parametrize(
    "text",
    [
        *(
            "5",
            '"x"',
            "null",
            '{"a": 1}',
            "[1]",
            '[{"resource": 1}]',
            '[{"resource": {"target": []}}]',
        ),
        *('[{"type": "Resource", "resource": {"targetAverageValue": 1}}]', "[[]]", "{", "[" * 9000),
    ],
)
async def test_annotation_that_is_not_well_formed_stays_an_annotation(live: Any, text: str) -> None:
    """Fails if it becomes a field: the object would break each list of its kind."""
    path = "/apis/autoscaling/{}/namespaces/default/horizontalpodautoscalers"
    names = ("metrics", "current-metrics", "conditions", "behavior")
    annotations = {f"autoscaling.alpha.kubernetes.io/{each}": text for each in names}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    body = {
        "metadata": {"name": "web", "annotations": annotations},
        "spec": {"scaleTargetRef": target, "maxReplicas": 3},
    }
    assert (await live.call("POST", path.format("v1"), body)).status == 201
    for version in ("v1", "v2"):
        for accept in ("application/json", TABLE):
            assert (await live.call("GET", path.format(version), accept=accept)).status == 200
    found = (await live.call("GET", path.format("v2") + "/web")).body
    assert found["metadata"]["annotations"] == annotations
    assert found["spec"].keys() == {"scaleTargetRef", "maxReplicas", "minReplicas", "metrics"}


@pytest.mark.parametrize("bad", ["x", 7, {"a": 1}, ["x"], [{"resource": "x"}], [{"resource": [1]}]])
async def test_object_that_an_earlier_version_stored_does_not_break_the_lists_of_its_kind(
    live: Any, bad: Any
) -> None:
    """Earlier versions stored metrics of annotations unchecked."""
    kind = next(kind for kind in STORED if kind.type_name == "HorizontalPodAutoscaler")
    path = "/apis/autoscaling/{}/namespaces/default/horizontalpodautoscalers"
    body = new_body(kind)
    assert (await live.call("POST", path.format("v2"), body)).status == 201
    stored = copy.deepcopy(live.cluster.store.get(kind, "default", body["metadata"]["name"]))
    stored["metadata"] |= {"name": "bad", "uid": "bad"}
    stored["spec"]["metrics"] = bad
    stored["status"] = {"currentMetrics": bad, "conditions": bad}
    live.cluster.store.create(kind, stored)
    for version in ("v1", "v2"):
        for accept in ("application/json", TABLE):
            listed = await live.call("GET", path.format(version), accept=accept)
            assert (listed.status, listed.text.count('"name":"bad"')) == (200, 1)
            one = await live.call("GET", path.format(version) + "/bad", accept=accept)
            assert one.status == 200
        query = "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1"
        watched = await live.call("GET", path.format(version) + query)
        assert watched.text.count('"name":"bad"') == 1
    assert (await live.call("DELETE", path.format("v1") + "/bad")).status == 200


async def test_events_of_both_groups_are_the_same_objects(live: Any) -> None:
    kind = next(kind for kind in STORED if kind.type_name == "events.v1.Event")
    body = new_body(kind)
    assert (await live.call("POST", collection(kind), body)).status == 201
    core = "/api/v1/namespaces/default/events"
    found = (await live.call("GET", f"{core}/web")).body
    assert found["involvedObject"]["name"] == "p"
    assert (found["message"], found["reportingComponent"]) == ("text", "example.com/x")
    query = "?fieldSelector=regarding.name=p,regarding.kind=Pod"
    assert len((await live.call("GET", collection(kind) + query)).body["items"]) == 1
    assert (await live.call("DELETE", f"{core}/web")).status == 200
    assert (await live.call("GET", collection(kind) + "/web")).status == 404


async def test_requester_of_a_certificate_is_the_user(live: Any) -> None:
    """A signer relies on these fields, so a client must not be able to choose them."""
    kind = next(kind for kind in STORED if kind.kind == "CertificateSigningRequest")
    body = new_body(kind)
    body["spec"] |= {"username": "system:admin", "groups": ["system:masters"], "uid": "1"}
    made = (await live.call("POST", collection(kind), body)).body
    assert (made["spec"]["username"], made["spec"]["uid"]) == ("admin", "admin")
    change = {"spec": {"username": "other"}}
    patched = await live.call("PATCH", collection(kind) + "/web", change, content_type=MERGE)
    assert patched.body["spec"] == made["spec"]


async def test_approval_changes_only_the_conditions(live: Any) -> None:
    kind = next(kind for kind in STORED if kind.kind == "CertificateSigningRequest")
    made = (await live.call("POST", collection(kind), new_body(kind))).body
    approved = {"type": "Approved", "status": "True", "reason": "r", "message": "m"}
    made["status"] = {"conditions": [approved], "certificate": "eA=="}
    made["metadata"]["labels"] = {"a": "b"}
    done = (await live.call("PUT", collection(kind) + "/web/approval", made)).body
    assert [each["type"] for each in done["status"]["conditions"]] == ["Approved"]
    assert "certificate" not in done["status"]
    assert "labels" not in done["metadata"]


async def test_creation_of_a_kind_without_a_controller_warns_once(live: Any) -> None:
    kind = next(kind for kind in STORED if kind.kind == "Ingress")
    made = await live.call("POST", collection(kind), new_body(kind))
    (warning,) = made.warnings
    assert "Ingress: no controller runs here; nothing routes to it" in warning
    change = {"metadata": {"labels": {"a": "1"}}}
    again = await live.call("PATCH", collection(kind) + "/web", change, content_type=MERGE)
    assert not again.warnings


@pytest.mark.parametrize(
    ("name", "role", "status"),
    [
        ("Ingress", "view", 403),
        ("Ingress", "edit", 201),
        ("PersistentVolumeClaim", "edit", 201),
        ("HorizontalPodAutoscaler", "edit", 201),
        ("ResourceQuota", "edit", 403),
        ("Endpoints", "edit", 403),
        ("StorageClass", "edit", 403),
    ],
)
async def test_default_roles_grant_the_kinds_of_a_namespace(
    live: Any, name: str, role: str, status: int
) -> None:
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    body = {
        "metadata": {"name": "r"},
        "roleRef": ref,
        "subjects": [{"kind": "User", "name": "alice"}],
    }
    bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"
    assert (await live.call("POST", bindings, body)).status == 201
    kind = next(kind for kind in STORED if kind.kind == name)
    made = await live.call("POST", collection(kind), new_body(kind), token="alice-token")
    assert made.status == status, made.text


@pytest.mark.parametrize(
    ("name", "spec", "fields"),
    [
        ("PersistentVolumeClaim", {}, ["spec.accessModes", "spec.resources[storage]"]),
        ("Ingress", {}, ["spec"]),
        ("IngressClass", {}, ["spec.controller"]),
        ("NetworkPolicy", {"policyTypes": ["Nope"]}, ["spec.policyTypes[0]"]),
        (
            "HorizontalPodAutoscaler",
            {"scaleTargetRef": {"kind": "Deployment", "name": "web"}},
            ["spec.maxReplicas"],
        ),
    ],
)
async def test_invalid_object_is_refused_with_its_fields(
    live: Any, name: str, spec: Any, fields: list[str]
) -> None:
    kind = next(kind for kind in STORED if kind.kind == name)
    body = {"metadata": {"name": "web"}, "spec": spec}
    refused = await live.call("POST", collection(kind), body)
    assert refused.status == 422, refused.text
    assert [each["field"] for each in refused.body["details"]["causes"]] == fields


@pytest.mark.parametrize("release", RELEASES)
async def test_release_has_its_version_and_its_own_kinds_and_fields(
    serve: Any, release: str
) -> None:
    live = await serve(release=release)
    version = (await live.call("GET", "/version")).body
    assert f"{version['major']}.{version['minor']}" == release
    listed = (await live.call("GET", "/apis/admissionregistration.k8s.io/v1")).body["resources"]
    has_policies = "mutatingadmissionpolicies" in {each["name"] for each in listed}
    assert has_policies is (release != "1.35")
    pod = new_body(next(kind for kind in STORED if kind.kind == "Pod"))
    pod["spec"]["evictionResponders"] = []  # a field of 1.37
    made = await live.call("POST", "/api/v1/namespaces/default/pods?fieldValidation=Strict", pod)
    assert made.status == (201 if release == "1.37" else 400)
    names = {"containers": [{"name": "c", "image": "app:2"}]}
    pod["spec"].pop("evictionResponders")
    await live.call("POST", "/api/v1/namespaces/default/pods", pod)
    patched = await live.call(
        "PATCH", "/api/v1/namespaces/default/pods/web", {"spec": names}, content_type=STRATEGIC
    )
    assert patched.body["spec"]["containers"][0]["image"] == "app:2"
    assert patched.body["spec"]["containers"][0]["terminationMessagePolicy"] == "File"
    schemas = (await live.call("GET", "/openapi/v3/api/v1")).body["components"]["schemas"]
    fields = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]
    assert ("evictionResponders" in fields) is (release == "1.37")


async def test_kubectl_applies_shows_and_explains_built_in_kinds(kubectl: Kubectl) -> None:
    chosen = [next(kind for kind in STORED if kind.type_name == name) for name in APPLIED]
    items = [new_body(kind) for kind in chosen]
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    created = await kubectl("apply", "-f", "-", given=manifest)
    assert created.out.count(" created") == len(APPLIED)
    assert "Ingress: no controller runs here; nothing routes to it" in created.err
    again = await kubectl("apply", "-f", "-", given=manifest)
    # kubectl replaces a list without a merge key if its items have defaults, and reports a change.
    replaced = {"networkpolicy.networking.k8s.io/web", "limitrange/web", "endpoints/web"}
    changed = {line.split()[0] for line in again.out.splitlines() if "unchanged" not in line}
    assert changed <= replaced
    ingress = (await kubectl("get", "ing")).out.splitlines()
    assert ingress[0].split() == ["NAME", "CLASS", "HOSTS", "ADDRESS", "PORTS", "AGE"]
    assert ingress[1].split()[:5] == ["web", "nginx", "web.example.com", "80,", "443"]
    volume = (await kubectl("get", "pv")).out.splitlines()[1].split()
    assert volume[:5] == ["web", "1Gi", "RWO,RWX", "Retain", "Pending"]
    assert "memory: <unknown>/1Gi" in (await kubectl("get", "hpa")).out
    explained = (await kubectl("explain", "ingress.spec.rules.http.paths")).out
    assert "pathType" in explained
    assert "-required-" in explained
    resources = (await kubectl("api-resources")).out
    for kind in chosen:
        assert kind.plural in resources
    deleted = await kubectl("delete", "-f", "-", given=manifest)
    assert deleted.out.count("deleted") == len(APPLIED)


async def test_kubectl_creates_kinds_with_its_own_commands(kubectl: Kubectl) -> None:
    await kubectl("create", "ingress", "web", "--rule=web.example.com/*=web:80,tls=secret")
    await kubectl("create", "quota", "small", "--hard=pods=2")
    await kubectl("create", "priorityclass", "high", "--value=3")
    await kubectl("create", "deployment", "web", "--image=app:1", "--replicas=0")
    await kubectl("autoscale", "deployment", "web", "--max=3", "--cpu-percent=60")
    assert "cpu: <unknown>/60%" in (await kubectl("get", "hpa", "web")).out
    assert "web:80" in (await kubectl("describe", "ingress", "web")).out
    listed = (await kubectl("get", "all,ingress,quota,priorityclass", "-o", "name")).out.split()
    assert {"ingress.networking.k8s.io/web", "resourcequota/small"} <= set(listed)
