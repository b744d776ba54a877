"""Defaults of workloads and related kinds; `defaults` applies them.

Source: k8s.io/kubernetes v1.34 pkg/apis/{apps,batch,networking,discovery,scheduling}/v1/defaults.go.
"""

from collections.abc import Callable, Mapping
from typing import Any

Object = dict[str, Any]

_HISTORY_LIMIT = 10
_RETAIN = {"whenDeleted": "Retain", "whenScaled": "Retain"}

FIELDS: Mapping[str, Mapping[str, Any]] = {
    "CronJob": {"spec": {}, "status": {}},
    "CronJobSpec": {
        "jobTemplate": {},
        "concurrencyPolicy": "Allow",
        "suspend": False,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 1,
    },
    "DaemonSet": {"spec": {}, "status": {}},
    "DaemonSetSpec": {"template": {}, "updateStrategy": {}, "revisionHistoryLimit": _HISTORY_LIMIT},
    "DaemonSetStatus": {
        "currentNumberScheduled": 0,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 0,
        "numberReady": 0,
    },
    "DaemonSetUpdateStrategy": {"type": "RollingUpdate"},
    "Deployment": {"spec": {}, "status": {}},
    "DeploymentSpec": {
        "template": {},
        "replicas": 1,
        "strategy": {},
        "revisionHistoryLimit": _HISTORY_LIMIT,
        "progressDeadlineSeconds": 600,
    },
    "DeploymentStrategy": {"type": "RollingUpdate"},
    "EndpointPort": {"name": "", "protocol": "TCP"},
    "Job": {"spec": {}, "status": {}},
    "JobSpec": {"template": {}},
    "JobTemplateSpec": {"metadata": {}, "spec": {}},
    "CSIDriver": {"spec": {}},
    "CSIDriverSpec": {
        "attachRequired": True,
        "podInfoOnMount": False,
        "storageCapacity": False,
        "fsGroupPolicy": "ReadWriteOnceWithFSType",
        "volumeLifecycleModes": ["Persistent"],
        "requiresRepublish": False,
        "seLinuxMount": False,
    },
    "NetworkPolicy": {"spec": {}},
    "NetworkPolicyPort": {"protocol": "TCP"},
    "NetworkPolicySpec": {"podSelector": {}},
    "PersistentVolumeClaim": {"status": {}},
    "PersistentVolumeClaimSpec": {"volumeMode": "Filesystem"},
    "PersistentVolumeClaimStatus": {"phase": "Pending"},
    "PodDisruptionBudget": {"spec": {}, "status": {}},
    "PodDisruptionBudgetStatus": {
        "disruptionsAllowed": 0,
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "expectedPods": 0,
    },
    "PodTemplateSpec": {"metadata": {}, "spec": {}},
    "PriorityClass": {"value": 0, "preemptionPolicy": "PreemptLowerPriority"},
    "ReplicaSet": {"spec": {}, "status": {}},
    "ReplicaSetSpec": {"template": {}, "replicas": 1},
    "ReplicaSetStatus": {"replicas": 0},
    "ReplicationController": {"spec": {}, "status": {}},
    "ReplicationControllerSpec": {"replicas": 1},
    "ReplicationControllerStatus": {"replicas": 0},
    "RollingUpdateDaemonSet": {"maxUnavailable": 1, "maxSurge": 0},
    "RollingUpdateDeployment": {"maxUnavailable": "25%", "maxSurge": "25%"},
    "StatefulSet": {"spec": {}, "status": {}},
    "StatefulSetPersistentVolumeClaimRetentionPolicy": _RETAIN,
    "StatefulSetSpec": {
        "template": {},
        "replicas": 1,
        "podManagementPolicy": "OrderedReady",
        "updateStrategy": {},
        "revisionHistoryLimit": _HISTORY_LIMIT,
        "persistentVolumeClaimRetentionPolicy": _RETAIN,
    },
    "StatefulSetStatus": {"replicas": 0, "availableReplicas": 0},
    "StatefulSetUpdateStrategy": {"type": "RollingUpdate"},
}


def _default_rolling(strategy: Object) -> None:
    """Add `rollingUpdate` to a RollingUpdate strategy; other strategies do not have it."""
    if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is None:
        strategy["rollingUpdate"] = {}


def _default_stateful(strategy: Object) -> None:
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.get("rollingUpdate")
        strategy["rollingUpdate"] = {"partition": 0} if rolling is None else rolling
        strategy["rollingUpdate"].setdefault("partition", 0)


def _default_job(job: Object) -> None:
    spec = job.setdefault("spec", {})
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    for name, value in (("parallelism", 1), ("completionMode", "NonIndexed"), ("suspend", False)):
        if spec.get(name) is None:
            spec[name] = value
    if spec.get("backoffLimit") is None:
        spec["backoffLimit"] = 6 if spec.get("backoffLimitPerIndex") is None else 2**31 - 1
    spec.setdefault("manualSelector", False)
    strict = spec.get("podFailurePolicy") is not None
    spec.setdefault("podReplacementPolicy", "Failed" if strict else "TerminatingOrFailed")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    metadata = job.setdefault("metadata", {})
    if labels and not metadata.get("labels"):
        metadata["labels"] = dict(labels)


def _default_replication_controller(controller: Object) -> None:
    """Use the labels of the pods as the selector and as labels if it has none."""
    spec = controller.setdefault("spec", {})
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if not labels:
        return
    if not spec.get("selector"):
        spec["selector"] = dict(labels)
    metadata = controller.setdefault("metadata", {})
    if not metadata.get("labels"):
        metadata["labels"] = dict(labels)


def _default_network_policy(spec: Object) -> None:
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _default_claim(claim: Object) -> None:
    """Set `kind` and `apiVersion` of a claim in a StatefulSet."""
    claim.setdefault("kind", "PersistentVolumeClaim")
    claim.setdefault("apiVersion", "v1")


DEFAULTERS: Mapping[str, Callable[[Object], None]] = {
    "DaemonSetUpdateStrategy": _default_rolling,
    "DeploymentStrategy": _default_rolling,
    "Job": _default_job,
    "NetworkPolicySpec": _default_network_policy,
    "PersistentVolumeClaim": _default_claim,
    "ReplicationController": _default_replication_controller,
    "StatefulSetUpdateStrategy": _default_stateful,
}
