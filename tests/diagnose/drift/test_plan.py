"""Which pods are compared, with what, and which controllers are restarted."""

from typing import Any

import pytest
from kubeling.apiserver.patch.json_patch import json_patch

from podpass import names
from podpass.account.annotations import filter_annotations, parse_identity_config
from podpass.account.model import ServiceAccount, parse_pod
from podpass.admission.mutate import mutate
from podpass.diagnose.drift.comparison import Drift
from podpass.diagnose.drift.plan import (
    Candidate,
    ControllerRef,
    Owners,
    PodDrift,
    RolloutState,
    UncheckedPod,
    compare,
    find_candidates,
    find_obstacle,
    is_selected,
    read_rollout,
)
from podpass.settings import WebhookSettings

TENANT = "11111111-1111-4111-8111-111111111111"
CLIENT = "33333333-3333-4333-8333-000000000001"
LABEL = {names.USE_LABEL: "true"}
ANNOTATIONS = {names.CLIENT_ID: CLIENT}
DEPLOYMENT = ControllerRef("default", "Deployment", "web")
OWNERS = Owners(deployments={("default", "web-1"): "web", ("default", "alone"): None})


def pod(
    name: str = "web-1-a", *, owner: str = "ReplicaSet/web-1", **changes: Any
) -> dict[str, Any]:
    kind, _, controller = owner.partition("/")
    references = [{"kind": kind, "name": controller, "controller": True}] if owner else []
    metadata = {
        "name": name,
        "namespace": "default",
        "labels": {**LABEL, "pod-template-hash": "1"},
        "ownerReferences": references,
        **changes.pop("metadata", {}),
    }
    return {
        "metadata": metadata,
        "spec": {"serviceAccountName": "web", "containers": [{"name": "app", "image": "i"}]},
        "status": {"phase": "Running"},
        **changes,
    }


def admit(
    sent: dict[str, Any], annotations: dict[str, str] | None = None, tenant_id: str = TENANT
) -> dict[str, Any]:
    """Return the pod that the webhook creates."""
    if sent["metadata"].get("labels", {}).get(names.USE_LABEL) != "true":
        return sent
    settings = WebhookSettings(tenant_id=tenant_id)
    parsed = parse_pod({**sent, "kind": "Pod"}, "default")
    given = filter_annotations(ANNOTATIONS if annotations is None else annotations)
    account = ServiceAccount(namespace="default", name="web", annotations=given)
    config = parse_identity_config(parsed, account, tenant_id=tenant_id)
    operations = [dict(each) for each in mutate(parsed, config, settings).operations]
    made: dict[str, Any] = json_patch(sent, operations)
    return made


def candidate(found: dict[str, Any], owners: Owners = OWNERS) -> Candidate:
    [only] = find_candidates([found], owners)
    return only


def differences(running: dict[str, Any], **now: Any) -> tuple[Drift, ...]:
    one = candidate(running, now.pop("owners", OWNERS))
    found = compare(one, admit(one.sent, **now))
    assert not isinstance(found, UncheckedPod)
    return () if found is None else found.differs


def test_pod_that_admission_would_create_unchanged_has_no_differences() -> None:
    assert differences(admit(pod())) == ()


CHANGES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "client-id": ({"annotations": {names.CLIENT_ID: "other"}}, "AZURE_CLIENT_ID", CLIENT, "other"),
    "no-client-id": ({"annotations": {}}, "AZURE_CLIENT_ID", CLIENT, ""),
    "tenant": ({"tenant_id": "t"}, "AZURE_TENANT_ID", TENANT, "t"),
    "expiration": (
        {"annotations": {**ANNOTATIONS, names.TOKEN_EXPIRATION: "7200"}},
        f"expirationSeconds of {names.TOKEN_PATH}",
        "3600",
        "7200",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_setting_is_reported_with_present_and_expected_value(change: str) -> None:
    now, member, present, expected = CHANGES[change]
    [found] = differences(admit(pod()), **now)
    assert (found.member, found.present, found.expected) == (member, present, expected)


def test_a_pod_that_the_webhook_has_missed_differs() -> None:
    members = {each.member for each in differences(pod())}
    assert {names.ENV_CLIENT_ID, names.ENV_TOKEN_FILE, names.MOUNT_PATH} <= members


def test_a_variable_that_the_template_has_does_not_differ() -> None:
    sent = pod()
    sent["spec"]["containers"][0]["env"] = [{"name": names.ENV_CLIENT_ID, "value": "mine"}]
    template = {"metadata": {"labels": LABEL}, "spec": sent["spec"]}
    owners = Owners(
        templates={DEPLOYMENT: {"spec": {"template": template}}}, deployments=OWNERS.deployments
    )
    assert differences(admit(sent), owners=owners) == ()


def test_label_added_to_the_template_is_a_difference() -> None:
    template = {"metadata": {"labels": LABEL}, "spec": {"serviceAccountName": "web"}}
    owners = Owners(
        templates={DEPLOYMENT: {"spec": {"template": template}}}, deployments=OWNERS.deployments
    )
    plain = pod(metadata={"labels": {"pod-template-hash": "1"}})
    assert find_candidates([plain], OWNERS) == []
    assert differences(plain, owners=owners)


def test_label_removed_from_the_template_is_a_difference() -> None:
    owners = Owners(
        templates={DEPLOYMENT: {"spec": {"template": {"metadata": {}}}}},
        deployments=OWNERS.deployments,
    )
    assert differences(admit(pod()), owners=owners)


def test_pod_is_unchecked_if_the_dry_run_injects_nothing() -> None:
    one = candidate(admit(pod()))
    found = compare(one, one.sent)
    assert isinstance(found, UncheckedPod)
    assert "podpass doctor" in found.reason


def test_a_refused_dry_run_is_reported() -> None:
    found = compare(candidate(pod()), "no dry run of the pod: forbidden")
    assert found == UncheckedPod(
        namespace="default", name="web-1-a", reason="no dry run of the pod: forbidden"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"status": {"phase": "Succeeded"}},
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
        {"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}},
        {"metadata": {"labels": {}}},
    ],
    ids=["ended", "deleted", "static", "without-label"],
)
def test_a_pod_that_admission_does_not_change_is_not_compared(changes: dict[str, Any]) -> None:
    assert find_candidates([pod(**changes)], OWNERS) == []


@pytest.mark.parametrize(
    ("owner", "controller"),
    [
        ("ReplicaSet/web-1", DEPLOYMENT),
        ("ReplicaSet/alone", ControllerRef("default", "ReplicaSet", "alone")),
        ("StatefulSet/db", ControllerRef("default", "StatefulSet", "db")),
        ("Job/once", ControllerRef("default", "Job", "once")),
        ("", ControllerRef("default", "Pod", "web-1-a")),
    ],
    ids=["deployment", "replicaset", "statefulset", "job", "bare"],
)
def test_controller_of_a_pod_is_found_through_its_owners(
    owner: str, controller: ControllerRef
) -> None:
    assert candidate(pod(owner=owner)).controller == controller


def test_pods_of_one_revision_need_one_dry_run() -> None:
    pods = [pod("web-1-a"), pod("web-1-b"), pod("bare-1", owner=""), pod("bare-2", owner="")]
    assert len({each.revision for each in find_candidates(pods, OWNERS)}) == 3


def test_the_drift_of_a_pod_names_its_controller() -> None:
    one = candidate(pod())
    found = compare(one, admit(one.sent))
    assert isinstance(found, PodDrift)
    assert str(found.controller) == "Deployment default/web"


def budget(name: str = "budget", healthy: int = 3, desired: int = 2) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": "web"}}},
        "status": {"currentHealthy": healthy, "desiredHealthy": desired},
    }


def rolling(**values: Any) -> dict[str, Any]:
    return {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": values}}}


@pytest.mark.parametrize(
    ("kind", "controller", "budgets", "reason"),
    [
        ("Deployment", {}, [budget(healthy=3, desired=3)], ""),
        ("Deployment", rolling(maxUnavailable=0), [budget(healthy=3, desired=3)], ""),
        ("Deployment", rolling(maxUnavailable=1), [budget(healthy=3, desired=2)], ""),
        ("Deployment", rolling(maxUnavailable=1), [budget(healthy=3, desired=3)], "allows 0 of 3"),
        (
            "Deployment",
            rolling(maxUnavailable="67%"),
            [budget(healthy=3, desired=2)],
            "2 pods unavailable",
        ),
        (
            "Deployment",
            {"spec": {"strategy": {"type": "Recreate"}}},
            [budget()],
            "3 pods unavailable",
        ),
        ("Deployment", {"spec": {"strategy": {"type": "Recreate"}}}, [], ""),
        ("Deployment", {"spec": {"paused": True}}, [], "is paused"),
        ("Deployment", rolling(maxUnavailable=1), [{"metadata": {"name": "n"}}], "no status yet"),
        ("StatefulSet", {}, [budget(healthy=3, desired=3)], "1 pods unavailable"),
        ("StatefulSet", {"spec": {"updateStrategy": {"type": "OnDelete"}}}, [], "OnDelete"),
        (
            "StatefulSet",
            {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}}},
            [],
            "partition 2",
        ),
        ("DaemonSet", {}, [budget(healthy=3, desired=2)], ""),
        ("DaemonSet", {"spec": {"updateStrategy": {"type": "OnDelete"}}}, [], "OnDelete"),
    ],
    ids=str,
)
def test_controller_that_cannot_be_restarted_has_a_reason(
    kind: str, controller: dict[str, Any], budgets: list[dict[str, Any]], reason: str
) -> None:
    found = find_obstacle(kind, controller, budgets, 3)
    assert found is None if not reason else reason in (found or "")


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "api"}}, False),
        ({}, True),
        (None, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
    ],
    ids=str,
)
def test_a_budget_selects_pods_by_their_labels(selector: Any, selected: bool) -> None:
    assert is_selected({"spec": {"selector": selector}}, {"app": "web"}) is selected


def rollout(kind: str, status: dict[str, Any], wanted: int = 2) -> RolloutState:
    controller = {
        "metadata": {"generation": 2},
        "spec": {"replicas": wanted},
        "status": {"observedGeneration": 2, **status},
    }
    return read_rollout(kind, controller)


def test_a_rollout_ends_when_all_pods_are_new_and_ready() -> None:
    done = {"updatedReplicas": 2, "replicas": 2, "availableReplicas": 2}

    def state(**changes: int) -> RolloutState:
        return rollout("Deployment", {**done, **changes})

    assert state().is_done
    assert not state(observedGeneration=1).is_done
    assert state(updatedReplicas=1).progress == "1 of 2 pods are new"
    assert state(replicas=3).progress == "1 old pods are still there"
    assert state(availableReplicas=1).progress == "1 of 2 new pods are ready"
    assert rollout("Deployment", {}, wanted=0).is_done


def test_a_deployment_that_exceeds_its_deadline_has_failed() -> None:
    condition = {"reason": "ProgressDeadlineExceeded", "message": "timed out progressing"}
    assert rollout("Deployment", {"conditions": [condition]}).failure == "timed out progressing"


def test_rollout_of_a_stateful_set_is_read_from_its_revisions() -> None:
    status = {"updatedReplicas": 1, "readyReplicas": 2, "currentRevision": "a"}
    assert not rollout("StatefulSet", {**status, "updateRevision": "b"}).is_done
    assert rollout("StatefulSet", {**status, "updateRevision": "a"}).is_done


def test_daemon_set_rollout_is_done_when_every_scheduled_pod_is_available() -> None:
    status = {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3}
    assert not rollout("DaemonSet", {**status, "numberAvailable": 2}).is_done
    assert rollout("DaemonSet", {**status, "numberAvailable": 3}).is_done
