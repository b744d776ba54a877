"""The pods that the kubelet binds."""

from typing import Any

import pytest

from kubeling.kubelet.scheduler import needs_binding, unschedulable_reason


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": spec.pop("metadata", {}), "spec": spec}


@pytest.mark.parametrize(
    ("item", "binds"),
    [
        (pod(), True),
        (pod(schedulerName="default-scheduler"), True),
        (pod(schedulerName="other"), False),
        (pod(nodeName="node"), False),
        (pod(schedulingGates=[{"name": "wait"}]), False),
        (pod(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}), False),
    ],
)
def test_only_pods_of_the_default_scheduler_are_bound(item: dict[str, Any], binds: bool) -> None:
    assert needs_binding(item) is binds


def test_pod_with_another_node_selector_is_unschedulable() -> None:
    labels = {"kubernetes.io/os": "linux", "zone": "a"}
    assert unschedulable_reason(pod(nodeSelector={"zone": "a"}), labels) == ""
    assert "didn't match" in unschedulable_reason(pod(nodeSelector={"zone": "b"}), labels)
    assert "didn't match" in unschedulable_reason(pod(nodeSelector={"gpu": ""}), labels)
