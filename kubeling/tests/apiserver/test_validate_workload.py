"""Validation of workloads, jobs, budgets, policies and priority classes, with the causes of the real API."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from kubeling.apiserver import kinds
from kubeling.apiserver.validation import validate
from tests.apiserver.built_in_objects import new_body
from tests.apiserver.recorded import new_object
from tests.apiserver.test_validate import to_pairs

POD_SPEC: Any = {"containers": [{"name": "c", "image": "i"}]}
SELECTOR = {"matchLabels": {"app": "a"}}
TEMPLATE: Any = {"metadata": {"labels": {"app": "a"}}, "spec": POD_SPEC}
JOB_POD: Any = {"spec": {**POD_SPEC, "restartPolicy": "Never"}}

SPECS: dict[str, Any] = {
    "Deployment": {"selector": SELECTOR, "template": TEMPLATE},
    "ReplicaSet": {"selector": SELECTOR, "template": TEMPLATE},
    "ReplicationController": {"template": TEMPLATE},
    "DaemonSet": {"selector": SELECTOR, "template": TEMPLATE},
    "StatefulSet": {"selector": SELECTOR, "template": TEMPLATE, "serviceName": "s"},
    "Job": {"template": JOB_POD},
    "CronJob": {"schedule": "*/5 * * * 1-5", "jobTemplate": {"spec": {"template": JOB_POD}}},
    "NetworkPolicy": {"podSelector": SELECTOR},
    "PodDisruptionBudget": {"selector": SELECTOR, "minAvailable": 1},
}


def new_workload(kind: str, change: Callable[[Any], object] = lambda _: None) -> Any:
    spec = copy.deepcopy(SPECS[kind])
    change(spec)
    return new_object(kinds.kind_by_name(kind), {"metadata": {"name": "x"}, "spec": spec})


def causes(kind: str, change: Callable[[Any], object]) -> list[tuple[str, str]]:
    found = validate.create(kinds.kind_by_name(kind), new_workload(kind, change))
    return [(each.reason.removeprefix("FieldValue"), each.field) for each in found]


@pytest.mark.parametrize("kind", SPECS)
def test_minimal_workload_is_accepted(kind: str) -> None:
    assert validate.create(kinds.kind_by_name(kind), new_workload(kind)) == []


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        *(
            (kind, ["spec.selector", "spec.template.spec.containers"])
            for kind in ("Deployment", "ReplicaSet", "DaemonSet", "StatefulSet")
        ),
        ("ReplicationController", ["spec.selector", "spec.template"]),
        ("Job", ["spec.template.spec.containers", "spec.template.spec.restartPolicy"]),
        (
            "CronJob",
            [
                "spec.schedule",
                "spec.jobTemplate.spec.template.spec.containers",
                "spec.jobTemplate.spec.template.spec.restartPolicy",
            ],
        ),
        ("NetworkPolicy", []),
        ("PodDisruptionBudget", []),
    ],
)
def test_empty_workload_reports_only_required_fields(kind: str, fields: list[str]) -> None:
    """Fails if a field with a default is reported as missing."""
    empty = new_object(kinds.kind_by_name(kind), {"metadata": {"name": "x"}})
    assert [each.field for each in validate.create(kinds.kind_by_name(kind), empty)] == fields


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.update(selector={"app": "b"}), [("Invalid", "spec.template.metadata.labels")]),
        (lambda s: s.update(selector={"-": "b"}), [("Invalid", "spec.selector")]),
        (lambda s: s["template"].pop("metadata"), [("Required", "spec.selector")]),
        (lambda s: s.update(replicas=-1), [("Invalid", "spec.replicas")]),
        (
            lambda s: s["template"]["spec"].update(restartPolicy="Never"),
            [("NotSupported", "spec.template.spec.restartPolicy")],
        ),
        (
            lambda s: s["template"]["spec"].update(activeDeadlineSeconds=1),
            [("Forbidden", "spec.template.spec.activeDeadlineSeconds")],
        ),
    ],
)
def test_invalid_replication_controller_is_refused(
    change: Callable[[Any], object], expected: Any
) -> None:
    assert causes("ReplicationController", change)[: len(expected)] == expected


def test_selector_of_a_replication_controller_may_change() -> None:
    kind = kinds.kind_by_name("ReplicationController")
    old = new_workload(kind.kind)
    new = copy.deepcopy(old)
    new["spec"]["selector"] = new["spec"]["template"]["metadata"]["labels"] = {"app": "b"}
    assert validate.update(kind, new, old) == []
    new["spec"]["selector"] = {}
    assert [each.field for each in validate.update(kind, new, old)] == ["spec.selector"]


WORKLOADS = ("Deployment", "ReplicaSet", "DaemonSet", "StatefulSet")
LABELS = "spec.template.metadata.labels"


@pytest.mark.parametrize("kind", WORKLOADS)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.pop("selector"), [("Required", "spec.selector")]),
        (lambda s: s.update(selector={}), [("Invalid", "spec.selector")]),
        (lambda s: s.update(selector={"matchLabels": {"app": "b"}}), [("Invalid", LABELS)]),
        (
            lambda s: s["template"]["spec"].update(restartPolicy="Never"),
            [("NotSupported", "spec.template.spec.restartPolicy")],
        ),
        (
            lambda s: s["template"]["spec"].update(activeDeadlineSeconds=5),
            [("Forbidden", "spec.template.spec.activeDeadlineSeconds")],
        ),
        (
            lambda s: s["template"]["spec"].update(containers=[]),
            [("Required", "spec.template.spec.containers")],
        ),
        (
            lambda s: s["template"]["metadata"].update(annotations={"a b": "c"}),
            [("Invalid", "spec.template.metadata.annotations")],
        ),
        (lambda s: s.update(minReadySeconds=-1), [("Invalid", "spec.minReadySeconds")]),
    ],
)
def test_invalid_workload_is_refused(kind: str, change: Any, expected: Any) -> None:
    assert causes(kind, change) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.update(replicas=-1), [("Invalid", "spec.replicas")]),
        (
            lambda s: s.update(strategy={"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}),
            [("Forbidden", "spec.strategy.rollingUpdate")],
        ),
        (lambda s: s.update(strategy={"type": "Other"}), [("NotSupported", "spec.strategy")]),
        (
            lambda s: s.update(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}),
            [("Invalid", "spec.strategy.rollingUpdate.maxUnavailable")],
        ),
        (
            lambda s: s.update(strategy={"rollingUpdate": {"maxUnavailable": "101%"}}),
            [("Invalid", "spec.strategy.rollingUpdate.maxUnavailable")],
        ),
        (
            lambda s: s.update(strategy={"rollingUpdate": {"maxSurge": "x"}}),
            [("Invalid", "spec.strategy.rollingUpdate.maxSurge")],
        ),
        (lambda s: s.update(strategy={"rollingUpdate": {"maxSurge": "300%"}}), []),
        (
            lambda s: s.update(minReadySeconds=600),
            [("Invalid", "spec.progressDeadlineSeconds")],
        ),
        (lambda s: s.update(revisionHistoryLimit=-1), [("Invalid", "spec.revisionHistoryLimit")]),
    ],
)
def test_invalid_deployment_is_refused(change: Any, expected: Any) -> None:
    assert causes("Deployment", change) == expected


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "DaemonSet"])
def test_selector_is_immutable(kind: str) -> None:
    """Fails if a changed selector can orphan all pods of a workload."""
    old, changed = new_workload(kind), new_workload(kind)
    changed["spec"]["selector"] = {"matchLabels": {"app": "a", "more": "b"}}
    changed["spec"]["template"]["metadata"]["labels"]["more"] = "b"
    found = validate.update(kinds.kind_by_name(kind), changed, old)
    assert [each.field for each in found] == ["spec.selector"]


def test_most_fields_of_a_stateful_set_are_immutable() -> None:
    kind, old = kinds.kind_by_name("StatefulSet"), new_workload("StatefulSet")
    allowed = new_workload("StatefulSet", lambda spec: spec.update(replicas=3, minReadySeconds=1))
    assert validate.update(kind, allowed, old) == []
    renamed = new_workload("StatefulSet", lambda spec: spec.update(serviceName="other"))
    found = validate.update(kind, renamed, old)
    assert [(each.reason, each.field) for each in found] == [("FieldValueForbidden", "spec")]


def test_changed_claim_is_refused_with_one_cause() -> None:
    kind = kinds.kind_by_name("PersistentVolumeClaim")
    old = new_object(kind, new_body(kind))
    new = copy.deepcopy(old)
    new["spec"]["resources"]["requests"]["storage"] = "2Gi"
    assert to_pairs(validate.update(kind, new, old)) == []
    new["spec"]["storageClassName"] = "other"
    assert to_pairs(validate.update(kind, new, old)) == [("Forbidden", "spec")]


def test_claim_templates_of_a_stateful_set_are_volumes_of_its_pods() -> None:
    def change(spec: Any) -> None:
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        spec["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": claim}]
        mount = {"name": "data", "mountPath": "/data"}
        spec["template"]["spec"]["containers"][0]["volumeMounts"] = [mount]

    assert causes("StatefulSet", change) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.update(parallelism=-1), [("Invalid", "spec.parallelism")]),
        (lambda s: s.update(backoffLimit=-1), [("Invalid", "spec.backoffLimit")]),
        (lambda s: s.update(completionMode="Other"), [("NotSupported", "spec.completionMode")]),
        (
            lambda s: s.update(completionMode="Indexed", parallelism=1),
            [("Required", "spec.completions")],
        ),
        (
            lambda s: s.update(backoffLimitPerIndex=1, maxFailedIndexes=2, completions=1),
            [("Invalid", "spec.backoffLimitPerIndex"), ("Invalid", "spec.maxFailedIndexes")],
        ),
        (
            lambda s: s.update(maxFailedIndexes=1, completions=1),
            [("Invalid", "spec.maxFailedIndexes")],
        ),
        (
            lambda s: (
                s.update(podFailurePolicy={"rules": [{"action": "Never"}]}),
                s["template"]["spec"].update(restartPolicy="OnFailure"),
            ),
            [
                ("NotSupported", "spec.podFailurePolicy.rules[0].action"),
                ("Invalid", "spec.podFailurePolicy"),
                ("Invalid", "spec.podFailurePolicy.rules[0]"),
            ],
        ),
        (
            lambda s: s.update(
                podFailurePolicy={
                    "rules": [
                        {
                            "action": "FailIndex",
                            "onExitCodes": {
                                "operator": "In",
                                "values": [0, 0],
                                "containerName": "other",
                            },
                        }
                    ]
                }
            ),
            [
                ("Invalid", "spec.podFailurePolicy.rules[0].action"),
                ("Invalid", "spec.podFailurePolicy.rules[0].onExitCodes.values"),
                ("Invalid", "spec.podFailurePolicy.rules[0].onExitCodes.values"),
                ("Invalid", "spec.podFailurePolicy.rules[0].onExitCodes.containerName"),
            ],
        ),
        (
            lambda s: s.update(successPolicy={"rules": [{"succeededCount": 1}]}, completions=1),
            [("Invalid", "spec.successPolicy")],
        ),
        (
            lambda s: s.update(
                completionMode="Indexed",
                completions=3,
                successPolicy={
                    "rules": [
                        {},
                        {"succeededCount": 4},
                        {"succeededIndexes": "1,0"},
                        {"succeededIndexes": "0-3"},
                        {"succeededIndexes": "0,1-2"},
                    ]
                },
            ),
            [
                ("Invalid", "spec.successPolicy.rules[0]"),
                ("Invalid", "spec.successPolicy.rules[1].succeededCount"),
                ("Invalid", "spec.successPolicy.rules[2].succeededIndexes"),
                ("Invalid", "spec.successPolicy.rules[3].succeededIndexes"),
            ],
        ),
        (
            lambda s: s["template"]["spec"].pop("restartPolicy"),
            [("Required", "spec.template.spec.restartPolicy")],
        ),
        (
            lambda s: s["template"]["spec"].update(restartPolicy="Sometimes"),
            [
                ("NotSupported", "spec.template.spec.restartPolicy"),
                ("NotSupported", "spec.template.spec.restartPolicy"),
            ],
        ),
        (
            lambda s: s.update(selector={"matchLabels": {"mine": "a"}}),
            [("Invalid", "spec.selector"), ("Invalid", LABELS)],
        ),
        (
            lambda s: (
                s.update(selector={"matchLabels": {"mine": "a"}}, manualSelector=True),
                s["template"].update(metadata={"labels": {"mine": "a"}}),
            ),
            [],
        ),
    ],
)
def test_invalid_job_is_refused(change: Any, expected: Any) -> None:
    assert causes("Job", change) == expected


@pytest.mark.parametrize(
    ("part", "value", "changes"),
    [
        ("parallelism", 3, True),
        ("suspend", True, True),
        ("backoffLimit", 1, True),
        ("completions", 3, False),
        ("completionMode", "Indexed", False),
        ("selector", {"matchLabels": {"a": "b"}}, False),
    ],
)
def test_only_some_fields_of_a_job_may_change(part: str, value: Any, changes: bool) -> None:
    old, changed = new_workload("Job"), new_workload("Job")
    changed["spec"][part] = value
    found = [each.field for each in validate.update(kinds.kind_by_name("Job"), changed, old)]
    assert (f"spec.{part}" not in found) is changes


@pytest.mark.parametrize(
    ("schedule", "is_valid"),
    [
        ("0 3 * * *", True),
        ("*/15 0-6,22 * JAN-MAR MON", True),
        ("@hourly", True),
        ("@every 5m", True),
        ("0 3 * *", False),
        ("60x * * * *", False),
        ("60 * * * *", False),
        ("*/0 * * * *", False),
        ("5-1 * * * *", False),
        ("0 3 * FEB-JAN *", False),
        ("TZ=UTC 0 3 * * *", False),
        ("@sometimes", False),
    ],
)
def test_schedule_has_five_fields_or_a_predefined_name(schedule: str, is_valid: bool) -> None:
    found = causes("CronJob", lambda spec: spec.update(schedule=schedule))
    assert found == ([] if is_valid else [("Invalid", "spec.schedule")])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"from": [{}]}, [("Required", "spec.ingress[0].from[0]")]),
        ({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}, []),
        (
            {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]},
            [("Invalid", "spec.ingress[0].from[0].ipBlock.except[0]")],
        ),
        (
            {"from": [{"ipBlock": {"cidr": "ten"}}]},
            [("Invalid", "spec.ingress[0].from[0].ipBlock.cidr")],
        ),
        (
            {"from": [{"ipBlock": {"cidr": "::/0"}, "podSelector": {}}]},
            [("Forbidden", "spec.ingress[0].from[0]")],
        ),
        (
            {"ports": [{"port": 80, "endPort": 79}]},
            [("Invalid", "spec.ingress[0].ports[0].endPort")],
        ),
        ({"ports": [{"port": "web"}]}, []),
        (
            {"ports": [{"protocol": "ICMP"}]},
            [("NotSupported", "spec.ingress[0].ports[0].protocol")],
        ),
    ],
)
def test_invalid_network_policy_rule_is_refused(rule: Any, expected: Any) -> None:
    assert causes("NetworkPolicy", lambda spec: spec.update(ingress=[rule])) == expected


@pytest.mark.parametrize(
    ("name", "value", "fields"),
    [
        ("mine", 1_000_000_000, []),
        ("mine", 1_000_000_001, ["value"]),
        ("system-cluster-critical", 2_000_000_000, []),
        ("system-cluster-critical", 5, ["metadata.name"]),
        ("system-mine", 5, ["metadata.name"]),
    ],
)
def test_system_priority_is_reserved(name: str, value: int, fields: list[str]) -> None:
    kind = kinds.kind_by_name("PriorityClass")
    made = new_object(kind, {"metadata": {"name": name}, "value": value})
    assert [each.field for each in validate.create(kind, made)] == fields
    changed = copy.deepcopy(made)
    changed["value"] -= 1
    assert [each.field for each in validate.update(kind, changed, made)][:1] == ["value"]


@pytest.mark.parametrize("name", ["HorizontalPodAutoscaler", "Ingress", "NetworkPolicy"])
def test_creation_of_a_kind_without_a_controller_causes_a_warning(name: str) -> None:
    (message,) = validate.creation_warnings(kinds.kind_by_name(name))
    assert message.startswith(f"{name}: ")


def test_creation_of_a_kind_with_a_controller_causes_no_warning() -> None:
    assert not validate.creation_warnings(kinds.kind_by_name("Deployment"))
