import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeling.apiserver import kinds, status
from kubeling.apiserver.kinds import KINDS
from kubeling.apiserver.patch import json_patch
from kubeling.apiserver.validation import validate
from tests.apiserver.built_in_objects import new_body
from tests.apiserver.recorded import STEPS, new_object, recorded_body, step

POD, SECRET, SERVICE = (kinds.kind_by_name(name) for name in ("Pod", "Secret", "Service"))
MAP, HOOKS = kinds.kind_by_name("ConfigMap"), kinds.kind_by_name("MutatingWebhookConfiguration")
BINDING, ROLE, EVENT = (kinds.kind_by_name(name) for name in ("RoleBinding", "Role", "Event"))
LEASE, NODE = kinds.kind_by_name("Lease"), kinds.kind_by_name("Node")


def to_pairs(causes: Any) -> Any:
    """Return causes as pairs of reason and field, without the prefix of the reason."""
    return [(str(each.reason).removeprefix("FieldValue"), each.field) for each in causes]


def kind_of(path: str) -> Any:
    plural = path.partition("?")[0].rpartition("/")[2]
    return next(kind for kind in KINDS if kind.plural == plural and kind.stored)


REFUSED = [
    each["title"]
    for each in STEPS
    if each["method"] == "POST"
    and each["expect"]["status"] == 422
    and each["path"].partition("?")[0].rpartition("/")[2] in {kind.plural for kind in KINDS}
    and each["title"] != "dry run with a wrong value"
]


@pytest.mark.parametrize("title", REFUSED)
def test_object_refused_by_a_real_server_is_refused_with_the_same_causes(title: str) -> None:
    kind, body = kind_of(step(title)["path"]), step(title)["body"]
    causes = validate.create(kind, new_object(kind, body))
    refusal = status.invalid(kind, body.get("metadata", {}).get("name", ""), causes).body()
    assert all(each["message"] for each in refusal["details"]["causes"])
    for each in refusal["details"]["causes"]:
        each["message"] = "<message>"
    assert refusal | {"message": "<message>"} == recorded_body(title)


TAKEN = [
    each["title"]
    for each in STEPS
    if each["method"] == "POST"
    and each["expect"]["status"] == 201
    and each["path"].partition("?")[0].rpartition("/")[2]
    in {kind.plural for kind in KINDS if kind.stored}
]


@pytest.mark.parametrize("title", TAKEN)
def test_object_accepted_by_a_real_server_is_accepted(title: str) -> None:
    kind = kind_of(step(title)["path"])
    assert to_pairs(validate.create(kind, new_object(kind, step(title)["body"]))) == []


@pytest.mark.parametrize(
    ("live", "title", "kind"),
    [
        ("plain pod, defaults", "pod update of an immutable field", POD),
        ("immutable config map", "immutable stays", MAP),
        ("role binding", "role ref is immutable", BINDING),
    ],
)
def test_change_refused_by_a_real_server_is_refused_with_the_same_causes(
    live: Any, title: str, kind: Any
) -> None:
    old = recorded_body(live)
    new = json_patch.merge_patch(old, step(title)["body"])
    recorded = recorded_body(title)["details"]["causes"]
    causes = [{"reason": str(c.reason), "field": c.field} for c in validate.update(kind, new, old)]
    assert causes == [{"reason": each["reason"], "field": each["field"]} for each in recorded]


def test_image_of_a_pod_may_change() -> None:
    old, new = recorded_body("plain pod, defaults"), recorded_body("pod image may change")
    for each in (old, new):
        each["metadata"].pop("creationTimestamp")
        each["spec"]["volumes"][0]["name"] = "v"
        each["spec"]["containers"][0]["volumeMounts"][0]["name"] = "v"
    assert to_pairs(validate.update(POD, new, old)) == []


def pod(container: Any = None, **spec: Any) -> Any:
    containers = [{"name": "c", "image": "i"} | (container or {})]
    return new_object(POD, {"metadata": {"name": "p"}, "spec": {"containers": containers, **spec}})


C = "spec.containers[0]"
HTTP = {"httpGet": {"port": 80}}


@pytest.mark.parametrize(
    ("container", "causes"),
    [
        ({"name": "Bad_Name"}, [("Invalid", f"{C}.name")]),
        ({"name": ""}, [("Required", f"{C}.name")]),
        ({"image": " i"}, [("Invalid", f"{C}.image")]),
        ({"imagePullPolicy": "x"}, [("NotSupported", f"{C}.imagePullPolicy")]),
        ({"terminationMessagePolicy": "x"}, [("NotSupported", f"{C}.terminationMessagePolicy")]),
        ({"ports": [{}]}, [("Required", f"{C}.ports[0].containerPort")]),
        ({"ports": [{"containerPort": 65535}]}, []),
        ({"ports": [{"containerPort": 65536}]}, [("Invalid", f"{C}.ports[0].containerPort")]),
        (
            {"ports": [{"containerPort": 1, "protocol": "x"}]},
            [("NotSupported", f"{C}.ports[0].protocol")],
        ),
        (
            {"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]},
            [("Duplicate", f"{C}.ports[1].name")],
        ),
        ({"ports": [{"containerPort": 1, "name": "1"}]}, [("Invalid", f"{C}.ports[0].name")]),
        ({"env": [{"value": "x"}]}, [("Required", f"{C}.env[0].name")]),
        ({"env": [{"name": "a=b"}]}, [("Invalid", f"{C}.env[0].name")]),
        (
            {
                "env": [
                    {
                        "name": "a",
                        "value": "x",
                        "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}},
                    }
                ]
            },
            [("Invalid", f"{C}.env[0].valueFrom")],
        ),
        (
            {"env": [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "spec.nope"}}}]},
            [("NotSupported", f"{C}.env[0].valueFrom.fieldRef.fieldPath")],
        ),
        (
            {
                "env": [
                    {"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['x']"}}}
                ]
            },
            [],
        ),
        (
            {"env": [{"name": "a", "valueFrom": {"secretKeyRef": {"name": "s"}}}]},
            [("Required", f"{C}.env[0].valueFrom.secretKeyRef.key")],
        ),
        ({"envFrom": [{}]}, [("Invalid", f"{C}.envFrom[0]")]),
        ({"envFrom": [{"secretRef": {}}]}, [("Invalid", f"{C}.envFrom[0]")]),
        (
            {"resources": {"limits": {"cpu": "100m"}, "requests": {"cpu": "1"}}},
            [("Invalid", f"{C}.resources.requests")],
        ),
        ({"resources": {"limits": {"memory": "1Gi"}, "requests": {"memory": "1G"}}}, []),
        (
            {"resources": {"limits": {"cpu": "-1"}}},
            [("Invalid", f"{C}.resources.limits[cpu]")] * 1
            + [("Invalid", f"{C}.resources.requests[cpu]")],
        ),
        ({"readinessProbe": {}}, [("Required", f"{C}.readinessProbe")]),
        ({"readinessProbe": {"httpGet": {}}}, [("Invalid", f"{C}.readinessProbe.httpGet.port")]),
        (
            {"readinessProbe": HTTP | {"exec": {"command": ["a"]}}},
            [("Forbidden", f"{C}.readinessProbe.httpGet")],
        ),
        (
            {"livenessProbe": HTTP | {"successThreshold": 2}},
            [("Invalid", f"{C}.livenessProbe.successThreshold")],
        ),
        ({"readinessProbe": HTTP | {"successThreshold": 2}}, []),
        ({"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}, []),
        ({"lifecycle": {"preStop": {}}}, [("Required", f"{C}.lifecycle.preStop")]),
        ({"securityContext": {"runAsUser": -1}}, [("Invalid", f"{C}.securityContext.runAsUser")]),
        (
            {"securityContext": {"privileged": True, "allowPrivilegeEscalation": False}},
            [("Invalid", f"{C}.securityContext")],
        ),
        (
            {"volumeMounts": [{"name": "e", "mountPath": "/x", "subPath": "../y"}]},
            [("Invalid", f"{C}.volumeMounts[0].subPath")],
        ),
        (
            {"volumeMounts": [{"name": "e", "mountPath": "/x"}, {"name": "e", "mountPath": "/x"}]},
            [("Invalid", f"{C}.volumeMounts[1].mountPath")],
        ),
        ({"volumeMounts": [{"name": "e"}]}, [("Required", f"{C}.volumeMounts[0].mountPath")]),
    ],
)
def test_invalid_container_is_refused(container: Any, causes: Any) -> None:
    obj = pod(container, volumes=[{"name": "e", "emptyDir": {}}])
    assert to_pairs(validate.create(POD, obj)) == causes


V = "spec.volumes[0]"
TOKEN = f"{V}.projected.sources[0].serviceAccountToken"


@pytest.mark.parametrize(
    ("volume", "causes"),
    [
        ({"name": "A"}, [("Invalid", f"{V}.name")]),
        ({"emptyDir": {}, "secret": {"secretName": "s"}}, [("Forbidden", f"{V}.secret")]),
        ({"secret": {}}, [("Required", f"{V}.secret.secretName")]),
        ({"configMap": {}}, [("Required", f"{V}.configMap.name")]),
        (
            {"configMap": {"name": "c", "defaultMode": 512}},
            [("Invalid", f"{V}.configMap.defaultMode")],
        ),
        (
            {"configMap": {"name": "c", "items": [{"key": "k", "path": "/abs"}]}},
            [("Invalid", f"{V}.configMap.items[0].path")],
        ),
        ({"hostPath": {"path": "/a/../b"}}, [("Invalid", f"{V}.hostPath.path")]),
        ({"hostPath": {"path": "/a", "type": "x"}}, [("NotSupported", f"{V}.hostPath.type")]),
        (
            {"downwardAPI": {"items": [{"path": "x"}]}},
            [("Required", f"{V}.downwardAPI.items[0]")],
        ),
        (
            {"projected": {"sources": [{"secret": {"name": "s"}, "configMap": {"name": "c"}}]}},
            [("Forbidden", f"{V}.projected.sources[0].configMap")],
        ),
        (
            {"projected": {"sources": [{"secret": {}}]}},
            [("Required", f"{V}.projected.sources[0].secret.name")],
        ),
        (
            {"projected": {"sources": [{"serviceAccountToken": {}}]}},
            [("Required", f"{TOKEN}.path")],
        ),
        (
            {"projected": {"sources": [{"serviceAccountToken": {"path": "a/../../b"}}]}},
            [("Invalid", f"{TOKEN}.path")],
        ),
    ],
)
def test_invalid_volume_is_refused(volume: Any, causes: Any) -> None:
    obj = pod(volumes=[{"name": "v"} | volume])
    assert to_pairs(validate.create(POD, obj)) == causes


@pytest.mark.parametrize(
    ("seconds", "causes"),
    [
        (599, [("Invalid", f"{TOKEN}.expirationSeconds")]),
        (600, []),
        (1 << 32, []),
        ((1 << 32) + 1, [("Invalid", f"{TOKEN}.expirationSeconds")]),
    ],
)
def test_projected_token_below_ten_minutes_is_refused(seconds: int, causes: Any) -> None:
    """Fails if the limits of a token's lifetime are deleted."""
    source = {"serviceAccountToken": {"path": "t", "expirationSeconds": seconds}}
    obj = pod(volumes=[{"name": "v", "projected": {"sources": [source]}}])
    assert to_pairs(validate.create(POD, obj)) == causes


@pytest.mark.parametrize(
    ("spec", "causes"),
    [
        ({"restartPolicy": "x"}, [("NotSupported", "spec.restartPolicy")]),
        ({"dnsPolicy": "x"}, [("NotSupported", "spec.dnsPolicy")]),
        ({"preemptionPolicy": "x"}, [("NotSupported", "spec.preemptionPolicy")]),
        ({"activeDeadlineSeconds": 0}, [("Invalid", "spec.activeDeadlineSeconds")]),
        ({"serviceAccountName": "A"}, [("Invalid", "spec.serviceAccountName")]),
        ({"hostname": "a.b"}, [("Invalid", "spec.hostname")]),
        ({"nodeSelector": {"-": "x"}}, [("Invalid", "spec.nodeSelector")]),
        ({"hostAliases": [{"ip": "x"}]}, [("Invalid", "spec.hostAliases[0].ip")]),
        (
            {"tolerations": [{"effect": "x", "operator": "Exists"}]},
            [("NotSupported", "spec.tolerations[0].effect")],
        ),
        ({"tolerations": [{"value": "x"}]}, [("Invalid", "spec.tolerations[0].operator")]),
        ({"tolerations": [{"key": "-", "value": "x"}]}, [("Invalid", "spec.tolerations[0].key")]),
        (
            {"tolerations": [{"key": "a", "operator": "Exists", "value": "x"}]},
            [("Invalid", "spec.tolerations[0].operator")],
        ),
        (
            {"initContainers": [{"name": "c", "image": "i"}]},
            [("Duplicate", "spec.initContainers[0].name")],
        ),
        (
            {"initContainers": [{"name": "i", "image": "i", "readinessProbe": HTTP}]},
            [("Forbidden", "spec.initContainers[0].readinessProbe")],
        ),
        (
            {
                "initContainers": [
                    {"name": "i", "image": "i", "restartPolicy": "Always", "readinessProbe": HTTP}
                ]
            },
            [],
        ),
        (
            {"initContainers": [{"name": "i", "image": "i", "lifecycle": {}}]},
            [("Forbidden", "spec.initContainers[0].lifecycle")],
        ),
        (
            {"ephemeralContainers": [{"name": "e", "image": "i"}]},
            [
                ("Forbidden", "spec.ephemeralContainers"),
                ("Forbidden", "spec.ephemeralContainers[0].resources"),
            ][:1],
        ),
    ],
)
def test_invalid_pod_is_refused(spec: Any, causes: Any) -> None:
    assert to_pairs(validate.create(POD, pod(**spec))) == causes


def test_duplicate_environment_variables_cause_a_warning() -> None:
    obj = new_object(POD, step("pod with a duplicate env")["body"])
    assert (
        len(validate.warnings(POD, obj)) == step("pod with a duplicate env")["expect"]["warnings"]
    )
    assert validate.warnings(POD, pod()) == []
    assert validate.warnings(MAP, {}) == []


def changed(change: Any, **spec: Any) -> Any:
    old = pod(**spec)
    new = copy.deepcopy(old)
    change(new["spec"])
    return to_pairs(validate.update(POD, new, old))


EXTRA = {"key": "a", "operator": "Exists"}


@pytest.mark.parametrize(
    ("change", "causes"),
    [
        (lambda spec: spec["containers"][0].update(image="j"), []),
        (lambda spec: spec["containers"][0].update(command=["x"]), [("Forbidden", "spec")]),
        (lambda spec: spec["containers"].append({}), [("Forbidden", "spec.containers")]),
        (lambda spec: spec.update(activeDeadlineSeconds=5), []),
        (
            lambda spec: spec.update(activeDeadlineSeconds=50),
            [("Invalid", "spec.activeDeadlineSeconds")],
        ),
        (
            lambda spec: spec.pop("activeDeadlineSeconds"),
            [("Invalid", "spec.activeDeadlineSeconds")],
        ),
        (lambda spec: spec.update(tolerations=[*spec["tolerations"], EXTRA]), []),
        (lambda spec: spec.update(tolerations=[EXTRA]), [("Forbidden", "spec")]),
        (lambda spec: spec.update(nodeName="n"), [("Forbidden", "spec")]),
        (lambda spec: spec["containers"][0].update(image=""), [("Required", f"{C}.image")]),
        (lambda spec: spec.update(ephemeralContainers=[{"name": "e"}]), [("Forbidden", "spec")]),
    ],
)
def test_most_fields_of_a_pod_are_immutable(change: Any, causes: Any) -> None:
    spec = {"activeDeadlineSeconds": 10, "tolerations": [{"key": "b", "operator": "Exists"}]}
    assert changed(change, **spec) == causes


def test_ephemeral_containers_can_be_added_and_not_removed() -> None:
    old = pod()
    new = copy.deepcopy(old)
    new["spec"]["ephemeralContainers"] = [
        recorded_body("ephemeral container")["spec"]["ephemeralContainers"][0]
    ]
    at = "ephemeralcontainers"
    assert to_pairs(validate.update(POD, new, old, subresource=at)) == []
    assert to_pairs(validate.update(POD, old, new, subresource=at)) == [
        ("Forbidden", "spec.ephemeralContainers")
    ]


def test_status_is_checked_only_by_type() -> None:
    old = pod()
    new = copy.deepcopy(old) | {"status": {"phase": "Running"}}
    assert validate.update(POD, new, old, subresource="status") == []


M = "metadata"


@pytest.mark.parametrize(
    ("metadata", "causes"),
    [
        ({"labels": {"a/b/c": "x"}}, [("Invalid", f"{M}.labels")]),
        ({"labels": {"a": "x y"}}, [("Invalid", f"{M}.labels")]),
        ({"labels": {"a": "x" * 63}}, []),
        ({"labels": {"a": "x" * 64}}, [("Invalid", f"{M}.labels")]),
        ({"annotations": {"Any.Thing/x": "any text"}}, []),
        ({"annotations": {"-": "x"}}, [("Invalid", f"{M}.annotations")]),
        ({"annotations": {"a": "x" * 262_143}}, []),
        ({"annotations": {"a": "x" * 262_144}}, [("TooLong", f"{M}.annotations")]),
        ({"finalizers": ["kubernetes", "example.com/f"]}, []),
        ({"finalizers": ["f"]}, [("Invalid", f"{M}.finalizers[0]")]),
        (
            {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]},
            [("Invalid", f"{M}.ownerReferences.uid")],
        ),
        (
            {
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "P", "name": n, "uid": n, "controller": True}
                    for n in "ab"
                ]
            },
            [("Invalid", f"{M}.ownerReferences")],
        ),
    ],
)
def test_invalid_metadata_is_refused(metadata: Any, causes: Any) -> None:
    assert (
        to_pairs(validate.create(MAP, new_object(MAP, {"metadata": {"name": "m"} | metadata})))
        == causes
    )


@pytest.mark.parametrize(
    ("kind", "name", "good"),
    [
        ("Pod", "a.b-c", True),
        ("Pod", "a_b", False),
        ("Pod", "-a", False),
        ("Pod", "a" * 253, True),
        ("Pod", "a" * 254, False),
        ("Namespace", "a.b", False),
        ("Namespace", "a" * 63, True),
        ("Namespace", "a" * 64, False),
        ("Service", "1a", False),
        ("Role", "system:Any:thing", True),
        ("Role", "a/b", False),
        ("Role", "..", False),
    ],
)
def test_name_is_checked_by_the_rules_of_its_kind(kind: Any, name: str, good: Any) -> None:
    of = kinds.kind_by_name(kind)
    causes = to_pairs(validate.create(of, new_object(of, {"metadata": {"name": name}})))
    assert (("Invalid", "metadata.name") in causes) is not good


def test_name_of_an_object_is_immutable() -> None:
    old = new_object(MAP, {"metadata": {"name": "a", "uid": "1"}})
    new = new_object(MAP, {"metadata": {"name": "b", "uid": "2"}})
    assert to_pairs(validate.update(MAP, new, old)) == [
        ("Invalid", "metadata.name"),
        ("Invalid", "metadata.uid"),
    ]


def test_deleted_object_gets_no_new_finalizer() -> None:
    gone = "2026-01-01T00:00:00Z"
    old = new_object(
        MAP, {"metadata": {"name": "a", "deletionTimestamp": gone, "finalizers": ["a/b"]}}
    )
    new = copy.deepcopy(old)
    new["metadata"]["finalizers"].append("c/d")
    assert to_pairs(validate.update(MAP, new, old)) == [("Forbidden", "metadata.finalizers")]
    new["metadata"]["finalizers"] = []
    assert validate.update(MAP, new, old) == []


@pytest.mark.parametrize(
    ("kind", "body", "causes"),
    [
        (MAP, {"data": {"a b": ""}}, [("Invalid", "data[a b]")]),
        (MAP, {"data": {"..": ""}}, [("Invalid", "data[..]")]),
        (MAP, {"data": {"a": ""}, "binaryData": {"a": ""}}, [("Invalid", "data[a]")]),
        (MAP, {"data": {"a": "x" * 1_048_577}}, [("TooLong", "")]),
        (SECRET, {"data": {"a/b": ""}}, [("Invalid", "data[a/b]")]),
        (
            SECRET,
            {"type": "kubernetes.io/basic-auth"},
            [("Required", "data[username]"), ("Required", "data[password]")],
        ),
        (SECRET, {"type": "kubernetes.io/basic-auth", "data": {"username": "eA=="}}, []),
        (
            SECRET,
            {"type": "kubernetes.io/service-account-token"},
            [("Required", "metadata.annotations[kubernetes.io/service-account.name]")],
        ),
        (SERVICE, {}, [("Required", "spec.ports")]),
        (SERVICE, {"spec": {"clusterIP": "None"}}, []),
        (SERVICE, {"spec": {"type": "x", "ports": [{"port": 1}]}}, [("NotSupported", "spec.type")]),
        (
            SERVICE,
            {"spec": {"ports": [{"port": 0}]}},
            [("Invalid", "spec.ports[0].port")] * 1 + [("Invalid", "spec.ports[0].targetPort")],
        ),
        (
            SERVICE,
            {"spec": {"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]}},
            [("Duplicate", "spec.ports[1].name")],
        ),
        (
            SERVICE,
            {"spec": {"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]}},
            [("Duplicate", "spec.ports[1]")],
        ),
        (
            SERVICE,
            {"spec": {"ports": [{"port": 1, "name": "a"}, {"port": 2}]}},
            [("Required", "spec.ports[1].name")],
        ),
        (SERVICE, {"spec": {"type": "ExternalName"}}, [("Required", "spec.externalName")]),
        (
            NODE,
            {"spec": {"taints": [{"key": "a", "effect": "x"}]}},
            [("NotSupported", "spec.taints[0].effect")],
        ),
        (
            EVENT,
            {"involvedObject": {"namespace": "two"}},
            [("Invalid", "involvedObject.namespace")],
        ),
        (LEASE, {"spec": {"leaseDurationSeconds": 0}}, [("Invalid", "spec.leaseDurationSeconds")]),
        (
            ROLE,
            {"rules": [{"apiGroups": [""], "resources": ["x"]}]},
            [("Required", "rules[0].verbs")],
        ),
        (
            ROLE,
            {"rules": [{"verbs": ["get"]}]},
            [("Required", "rules[0].apiGroups"), ("Required", "rules[0].resources")],
        ),
        (
            ROLE,
            {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]},
            [("Invalid", "rules[0].nonResourceURLs")],
        ),
        (
            BINDING,
            {"roleRef": {"kind": "x", "name": "r"}},
            [("NotSupported", "roleRef.kind")],
        ),
        (
            BINDING,
            {
                "roleRef": {"kind": "Role", "name": "r"},
                "subjects": [{"kind": "ServiceAccount", "name": "s"}, {"kind": "x", "name": "y"}],
            },
            [("Required", "subjects[0].namespace"), ("NotSupported", "subjects[1].kind")],
        ),
    ],
)
def test_invalid_object_of_a_simple_kind_is_refused(kind: Any, body: Any, causes: Any) -> None:
    obj = new_object(kind, {"metadata": {"name": "x"}} | body)
    assert to_pairs(validate.create(kind, obj)) == causes


def test_event_with_an_event_time_needs_a_reporter() -> None:
    body = {"metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "x"}
    causes = to_pairs(validate.create(EVENT, new_object(EVENT, body)))
    assert ("Required", "reportingController") in causes
    assert ("Invalid", "type") in causes


@pytest.mark.parametrize(
    ("old", "new", "causes"),
    [
        ({"immutable": True, "data": {"a": ""}}, {"data": {"a": ""}}, [("Forbidden", "immutable")]),
        ({"data": {"a": ""}}, {"immutable": True, "data": {"b": ""}}, []),
        ({"type": "Opaque"}, {"type": "x"}, [("Invalid", "type")]),
    ],
)
def test_type_and_immutable_data_of_a_secret_cannot_change(old: Any, new: Any, causes: Any) -> None:
    name = {"metadata": {"name": "s"}}
    before, after = new_object(SECRET, name | old), new_object(SECRET, name | new)
    assert to_pairs(validate.update(SECRET, after, before)) == causes


def test_cluster_ip_of_a_service_is_immutable() -> None:
    body = {"metadata": {"name": "s"}, "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 1}]}}
    old = new_object(SERVICE, body)
    new = copy.deepcopy(old)
    new["spec"]["clusterIP"] = "10.0.0.2"
    assert to_pairs(validate.update(SERVICE, new, old)) == [("Invalid", "spec.clusterIPs[0]")]


W = "webhooks[0]"


@pytest.mark.parametrize(
    ("hook", "causes"),
    [
        ({}, []),
        ({"sideEffects": "Some"}, [("NotSupported", f"{W}.sideEffects")]),
        ({"admissionReviewVersions": []}, [("Required", f"{W}.admissionReviewVersions")]),
        ({"admissionReviewVersions": ["v9"]}, [("Invalid", f"{W}.admissionReviewVersions")]),
        ({"timeoutSeconds": 0}, [("Invalid", f"{W}.timeoutSeconds")]),
        ({"timeoutSeconds": 30}, []),
        ({"failurePolicy": "x"}, [("NotSupported", f"{W}.failurePolicy")]),
        ({"matchPolicy": "x"}, [("NotSupported", f"{W}.matchPolicy")]),
        ({"reinvocationPolicy": "x"}, [("NotSupported", f"{W}.reinvocationPolicy")]),
        ({"clientConfig": {}}, [("Required", f"{W}.clientConfig")]),
        (
            {"clientConfig": {"url": "https://u:p@h/x"}},
            [("Invalid", f"{W}.clientConfig.url")] * 2,
        ),
        ({"clientConfig": {"url": "https:///x"}}, [("Invalid", f"{W}.clientConfig.url")]),
        ({"clientConfig": {"url": "https://h/x?q=1"}}, [("Invalid", f"{W}.clientConfig.url")]),
        ({"clientConfig": {"url": "https://[x/"}}, [("Invalid", f"{W}.clientConfig.url")]),
        (
            {"clientConfig": {"service": {"name": "s", "path": "x"}}},
            [
                ("Required", f"{W}.clientConfig.service.namespace"),
                ("Invalid", f"{W}.clientConfig.service.path"),
            ],
        ),
        (
            {"rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]},
            [("Required", f"{W}.rules[0].operations")],
        ),
        (
            {
                "rules": [
                    {
                        "apiGroups": ["*", "x"],
                        "apiVersions": ["v1"],
                        "resources": ["pods"],
                        "operations": ["GET"],
                    }
                ]
            },
            [
                ("NotSupported", f"{W}.rules[0].operations[0]"),
                ("Invalid", f"{W}.rules[0].apiGroups"),
            ],
        ),
        (
            {"objectSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            [("Required", f"{W}.objectSelector.matchExpressions[0].values")],
        ),
        (
            {"objectSelector": {"matchExpressions": [{"key": "a", "operator": "x"}]}},
            [("Invalid", f"{W}.objectSelector.matchExpressions[0].operator")],
        ),
    ],
)
def test_invalid_webhook_is_refused(hook: Any, causes: Any) -> None:
    body = step("webhook configuration, defaults")["body"]
    body["webhooks"][0] |= hook
    assert to_pairs(validate.create(HOOKS, new_object(HOOKS, body))) == causes


def test_match_conditions_are_refused_as_unsupported() -> None:
    """Fails if the rule is deleted: the condition would be ignored."""
    body = step("webhook configuration, defaults")["body"]
    body["webhooks"][0]["matchConditions"] = [{"name": "a", "expression": "false"}]
    causes = validate.create(HOOKS, new_object(HOOKS, body))
    assert to_pairs(causes) == [("Forbidden", f"{W}.matchConditions")]
    assert "CEL" in causes[0].message


def test_duplicate_webhook_names_are_refused() -> None:
    body = step("webhook configuration, defaults")["body"]
    body["webhooks"] *= 2
    assert to_pairs(validate.create(HOOKS, new_object(HOOKS, copy.deepcopy(body)))) == [
        ("Duplicate", "webhooks[1].name")
    ]


@given(name=st.text(max_size=20))
def test_any_name_is_accepted_or_refused(name: str) -> None:
    causes = validate.create(POD, pod() | {"metadata": {"name": name, "namespace": "one"}})
    assert {each.field for each in causes} <= {"metadata.name"}


REF = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"}
POD_SPEC = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}


@pytest.mark.parametrize(
    ("kind", "body", "path", "value", "field", "message"),
    [
        (
            "Deployment",
            None,
            "spec.selector.matchLabels.b",
            "b",
            "spec.selector",
            "field is immutable",
        ),
        ("Job", None, "spec.template.spec.hostname", "b", "spec.template", "field is immutable"),
        (
            "Job",
            None,
            "spec.completions",
            7,
            "spec.completions",
            "Invalid value: 7: field is immutable",
        ),
        (
            "Job",
            {
                "spec": {
                    "completionMode": "Indexed",
                    "completions": 1,
                    "template": {"spec": POD_SPEC},
                }
            },
            "spec.completions",
            2,
            "spec.completions",
            "Invalid value: 2: can only be modified in tandem with spec.parallelism",
        ),
        (
            "RoleBinding",
            {"roleRef": REF},
            "roleRef.name",
            "b",
            "roleRef",
            (
                'Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"b"}: '
                "cannot change roleRef"
            ),
        ),
        (
            "StorageClass",
            None,
            "provisioner",
            "example.com/b",
            "provisioner",
            "Forbidden: updates to provisioner are forbidden.",
        ),
        ("StorageClass", None, "volumeBindingMode", "b", "volumeBindingMode", "field is immutable"),
        (
            "ConfigMap",
            {"immutable": True, "data": {"a": "a"}},
            "data.a",
            "b",
            "data",
            "Forbidden: field is immutable when `immutable` is set",
        ),
        ("Secret", None, "type", "b", "type", 'Invalid value: "b": field is immutable'),
        (
            "PersistentVolumeClaim",
            None,
            "spec.storageClassName",
            "b",
            "spec",
            "Forbidden: spec is immutable after creation except resources.requests and",
        ),
        (
            "StatefulSet",
            None,
            "spec.serviceName",
            "b",
            "spec",
            "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', ",
        ),
        ("Pod", None, "spec.hostname", "b", "spec", "Forbidden: pod updates may not change fields"),
        (
            "Service",
            {"spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 1}]}},
            "spec.clusterIP",
            "10.96.0.8",
            "spec.clusterIPs[0]",
            'Invalid value: ["10.96.0.8"]: may not change once set',
        ),
        (
            "Service",
            {"spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 1}]}},
            "spec.clusterIP",
            "",
            "spec.clusterIPs[0]",
            "Invalid value: null: primary clusterIP can not be unset",
        ),
        ("PriorityClass", None, "value", 7, "value", "Forbidden: may not be changed in an update."),
        ("IPAddress", None, "spec.parentRef.name", "b", "spec.parentRef", "field is immutable"),
    ],
)
def test_message_about_a_changed_immutable_field_is_that_of_the_real_api(
    kind: str, body: Any, path: str, value: Any, field: str, message: str
) -> None:
    """Clients such as Argo CD and Helm search for this text, and then replace the object."""
    of = kinds.kind_by_name(kind)
    name = {"metadata": {"name": new_body(of)["metadata"]["name"]}}
    old = new_object(of, new_body(of) if body is None else name | body)
    new = copy.deepcopy(old)
    at = new
    *parents, last = path.split(".")
    for each in parents:
        at = at.setdefault(each, {})
    at[last] = value
    found = {each.field: each.message for each in validate.update(of, new, old)}
    assert message in found[field]
