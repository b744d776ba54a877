"""Which pods are bound."""

from typing import Any

import pytest

from podpass.kubernetes.kubelet.scheduler import is_ours_to_bind, misfit


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": spec.pop("metadata", {}), "spec": spec}


@pytest.mark.parametrize(
    ("item", "ours"),
    [
        (pod(), True),
        (pod(schedulerName="default-scheduler"), True),
        (pod(schedulerName="other"), False),
        (pod(nodeName="node"), False),
        (pod(schedulingGates=[{"name": "wait"}]), False),
        (pod(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}), False),
    ],
)
def test_only_pods_that_wait_for_the_default_scheduler_are_bound(
    item: dict[str, Any], ours: bool
) -> None:
    assert is_ours_to_bind(item) is ours


def test_a_node_selector_must_fit_the_node_s_labels() -> None:
    labels = {"kubernetes.io/os": "linux", "zone": "a"}
    assert misfit(pod(nodeSelector={"zone": "a"}), labels) == ""
    assert "didn't match" in misfit(pod(nodeSelector={"zone": "b"}), labels)
    assert "didn't match" in misfit(pod(nodeSelector={"gpu": ""}), labels)
