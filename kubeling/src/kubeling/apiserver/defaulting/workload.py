"""Defaults of workloads and of kinds without a controller; `defaults` applies them.

Source: k8s.io/kubernetes v1.37 pkg/apis/*/v1/defaults.go.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

Object = dict[str, Any]

_HISTORY_LIMIT = 10
_RETAIN = {"whenDeleted": "Retain", "whenScaled": "Retain"}
_CPU_METRIC = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
}

FIELDS: Mapping[str, Mapping[str, Any]] = {
    "CronJobSpec": {
        "concurrencyPolicy": "Allow",
        "suspend": False,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 1,
    },
    "CSIDriverSpec": {
        "attachRequired": True,
        "podInfoOnMount": False,
        "storageCapacity": False,
        "fsGroupPolicy": "ReadWriteOnceWithFSType",
        "volumeLifecycleModes": ["Persistent"],
        "requiresRepublish": False,
        "seLinuxMount": False,
    },
    "DaemonSetSpec": {"revisionHistoryLimit": _HISTORY_LIMIT},
    "DaemonSetUpdateStrategy": {"type": "RollingUpdate"},
    "DeploymentSpec": {
        "replicas": 1,
        "revisionHistoryLimit": _HISTORY_LIMIT,
        "progressDeadlineSeconds": 600,
    },
    "DeploymentStrategy": {"type": "RollingUpdate"},
    "CSINodeDriver": {"topologyKeys": None},
    "DeviceSubRequest": {"allocationMode": "ExactCount"},
    "EndpointPort": {"name": "", "protocol": "TCP"},
    "ExactDeviceRequest": {"allocationMode": "ExactCount"},
    "ExemptPriorityLevelConfiguration": {"nominalConcurrencyShares": 0, "lendablePercent": 0},
    "HorizontalPodAutoscalerSpec": {"minReplicas": 1, "metrics": [_CPU_METRIC]},
    "HorizontalPodAutoscalerStatus": {"currentMetrics": None},
    "IngressClassParametersReference": {"scope": "Cluster"},
    "LimitedPriorityLevelConfiguration": {"nominalConcurrencyShares": 30, "lendablePercent": 0},
    "MatchResources": {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}},
    "MutatingAdmissionPolicySpec": {"failurePolicy": "Fail"},
    "NetworkPolicyPort": {"protocol": "TCP"},
    "PersistentVolumeClaimSpec": {"volumeMode": "Filesystem"},
    "PersistentVolumeClaimStatus": {"phase": "Pending"},
    "PersistentVolumeSpec": {
        "persistentVolumeReclaimPolicy": "Retain",
        "volumeMode": "Filesystem",
    },
    "PersistentVolumeStatus": {"phase": "Pending"},
    "PodFailurePolicyOnPodConditionsPattern": {"status": "True"},
    "PriorityClass": {"preemptionPolicy": "PreemptLowerPriority"},
    "ReplicaSetSpec": {"replicas": 1},
    "RollingUpdateDaemonSet": {"maxUnavailable": 1, "maxSurge": 0},
    "RollingUpdateDeployment": {"maxUnavailable": "25%", "maxSurge": "25%"},
    "StatefulSetPersistentVolumeClaimRetentionPolicy": _RETAIN,
    "StatefulSetSpec": {
        "replicas": 1,
        "podManagementPolicy": "OrderedReady",
        "revisionHistoryLimit": _HISTORY_LIMIT,
        "persistentVolumeClaimRetentionPolicy": _RETAIN,
    },
    "StatefulSetUpdateStrategy": {"type": "RollingUpdate"},
    "StorageClass": {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"},
    "ValidatingAdmissionPolicySpec": {"failurePolicy": "Fail"},
    "autoscaling.v1.HorizontalPodAutoscalerSpec": {"minReplicas": 1},
    "core.v1.EndpointPort": {"protocol": "TCP"},
    "events.v1.Event": {"deprecatedFirstTimestamp": None, "deprecatedLastTimestamp": None},
}

# Defaults that only newer releases have: the first release, the path in an object, and the value.
SINCE: Mapping[str, tuple[str, tuple[str, ...], Any]] = {
    "CSIDriver": ("1.37", ("spec", "preventPodSchedulingIfMissing"), False),
    "StatefulSet": ("1.37", ("spec", "updateStrategy", "rollingUpdate", "maxUnavailable"), 1),
}

# The defaults of fields for which zero is the same as no value.
ZERO_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "FlowSchemaSpec": {"matchingPrecedence": 1000},
    "QueuingConfiguration": {"queues": 64, "handSize": 8, "queueLengthLimit": 50},
}
_SCALE_UP = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
_SCALE_DOWN = {
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
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


def _default_claims(spec: Object) -> None:
    """Set `kind` and `apiVersion` of the claims of a StatefulSet."""
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("kind", "PersistentVolumeClaim")
        claim.setdefault("apiVersion", "v1")


def _default_behavior(behavior: Object) -> None:
    """Complete both directions if one of them is given."""
    for name, defaults in (("scaleUp", _SCALE_UP), ("scaleDown", _SCALE_DOWN)):
        given = {
            key: value for key, value in (behavior.get(name) or {}).items() if value is not None
        }
        behavior[name] = copy.deepcopy(defaults) | given


def _default_device_request(request: Object) -> None:
    if request["allocationMode"] == "ExactCount":
        request["count"] = request.get("count") or 1


def _default_limits(item: Object) -> None:
    """Complete the limits of containers: a default by the maximum, a request by the default or minimum."""
    if item.get("type") == "Container":
        limits = {**(item.get("max") or {}), **(item.get("default") or {})}
        requests = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}
        item |= {key: of for key, of in (("default", limits), ("defaultRequest", requests)) if of}


DEFAULTERS: Mapping[str, Callable[[Object], None]] = {
    "DeviceSubRequest": _default_device_request,
    "ExactDeviceRequest": _default_device_request,
    "HorizontalPodAutoscalerBehavior": _default_behavior,
    "LimitRangeItem": _default_limits,
    "DaemonSetUpdateStrategy": _default_rolling,
    "DeploymentStrategy": _default_rolling,
    "Job": _default_job,
    "NetworkPolicySpec": _default_network_policy,
    "ReplicationController": _default_replication_controller,
    "StatefulSetSpec": _default_claims,
    "StatefulSetUpdateStrategy": _default_stateful,
}
