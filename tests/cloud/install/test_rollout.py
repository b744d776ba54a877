"""The state of the cloud's pod: what it waits for, and what waiting does not end."""

from typing import Any

import pytest

from podpass.cloud.install.rollout import NotReady, describe_pods, has_new_pod, is_rolled_out

METADATA = {"name": "cloud-1", "namespace": "podpass-cloud", "creationTimestamp": "2026-01-01"}


def pod(*states: dict[str, Any], **status: Any) -> dict[str, Any]:
    statuses = [{"image": "podpass:1", "state": state} for state in states]
    return {"metadata": METADATA, "status": {"containerStatuses": statuses, **status}}


def waiting(reason: str) -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": "not found"}}


@pytest.mark.parametrize(
    ("pods", "text"),
    [
        ([], "waiting for the pod to be created"),
        ([{"metadata": {**METADATA, "deletionTimestamp": "x"}}], "waiting for the old pod to end"),
        ([pod(waiting("ContainerCreating"))], "pod cloud-1: ContainerCreating"),
        ([pod(waiting("ErrImagePull"))], "pod cloud-1: ErrImagePull"),
        ([pod({"running": {}})], "pod cloud-1 is starting"),
        ([{"metadata": METADATA}], "pod cloud-1 is starting"),
        (
            [pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "no node"}])],
            "pod cloud-1 is not scheduled: no node",
        ),
    ],
    ids=["none", "ending", "creating", "pulling", "starting", "new", "unscheduled"],
)
def test_state_says_what_the_pod_waits_for(pods: list[dict[str, Any]], text: str) -> None:
    assert describe_pods(pods) == text


@pytest.mark.parametrize(
    ("reason", "text", "hint"),
    [
        ("ImagePullBackOff", "the image cannot be pulled", "kind load docker-image"),
        ("ErrImageNeverPull", "must not be pulled", "--image"),
        ("InvalidImageName", "the name of the image is not valid", "--image"),
        ("CrashLoopBackOff", "exits at its start", "kubectl logs -n podpass-cloud cloud-1"),
    ],
)
def test_pod_state_that_waiting_cannot_fix_is_an_error(reason: str, text: str, hint: str) -> None:
    with pytest.raises(NotReady, match=text) as caught:
        describe_pods([pod(waiting(reason))])
    assert caught.value.hint is not None
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (
            {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
            True,
        ),
        (
            {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
            False,
        ),
        (
            {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 1},
            False,
        ),
        ({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1}, False),
        ({}, False),
    ],
    ids=["ready", "not-observed", "old-pod-left", "not-available", "new"],
)
def test_deployment_is_rolled_out(status: dict[str, int], expected: bool) -> None:
    deployment = {"metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": status}
    assert is_rolled_out(deployment) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1}, True),
        ({"observedGeneration": 2, "replicas": 1}, False),
        ({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1}, False),
        ({}, False),
    ],
    ids=["created", "not-created", "pod-of-the-earlier-template", "new"],
)
def test_only_a_pod_of_the_current_template_counts_as_new(
    status: dict[str, int], expected: bool
) -> None:
    deployment = {"metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": status}
    assert has_new_pod(deployment) is expected
