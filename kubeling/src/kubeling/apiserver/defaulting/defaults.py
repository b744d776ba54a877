"""Defaults that a real API server sets in an object, by type, and the fields that it sets at creation.

The defaults of each type of an object have three sources. The schema has the defaults and zero values of the
OpenAPI document (`lastState: {}`). `_FIELDS` has those that the document lacks (`eventTime: null`). The
functions in `_DEFAULTERS` set the defaults that depend on other fields.

Source: k8s.io/kubernetes v1.37 pkg/apis/*/v1/defaults.go.
"""

import base64
import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

from kubeling.apiserver import schema
from kubeling.apiserver.kinds import RBAC, Kind
from kubeling.apiserver.release import base_name, is_older
from kubeling.apiserver.status import forbidden

Object = dict[str, Any]

_HISTORY_LIMIT = 10
_RETAIN = {"whenDeleted": "Retain", "whenScaled": "Retain"}
_CPU_METRIC = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
}


# Defaults that only newer releases have: the first release, the path in an object, and the value.
_SINCE: Mapping[str, tuple[str, tuple[str, ...], Any]] = {
    "CSIDriver": ("1.37", ("spec", "preventPodSchedulingIfMissing"), False),
    "StatefulSet": ("1.37", ("spec", "updateStrategy", "rollingUpdate", "maxUnavailable"), 1),
}

# The defaults of fields for which zero is the same as no value.
_ZERO_FIELDS: Mapping[str, Mapping[str, Any]] = {
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
    """Use the labels of the pod template as selector and labels of a controller that has none."""
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
    """Set the defaults of scaling up and scaling down; the spec has at least one of them."""
    for name, defaults in (("scaleUp", _SCALE_UP), ("scaleDown", _SCALE_DOWN)):
        given = {
            key: value for key, value in (behavior.get(name) or {}).items() if value is not None
        }
        behavior[name] = copy.deepcopy(defaults) | given


def _default_device_request(request: Object) -> None:
    if request["allocationMode"] == "ExactCount":
        request["count"] = request.get("count") or 1


def _default_limits(item: Object) -> None:
    """Set the missing defaults of containers from their maximum, and the requests also from the minimum."""
    if item.get("type") == "Container":
        limits = {**(item.get("max") or {}), **(item.get("default") or {})}
        requests = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}
        item |= {key: of for key, of in (("default", limits), ("defaultRequest", requests)) if of}


_FILE_MODE = 0o644
_CONTAINER: Object = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
_WEBHOOK: Object = {
    "failurePolicy": "Fail",
    "matchPolicy": "Equivalent",
    "namespaceSelector": {},
    "objectSelector": {},
    "timeoutSeconds": 10,
}
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}

_FIELDS: dict[str, Mapping[str, Any]] = {
    "admissionregistration.v1.ServiceReference": {"port": 443},
    "apiextensions.v1.ServiceReference": {"port": 443},
    "autoscaling.v1.HorizontalPodAutoscalerSpec": {"minReplicas": 1},
    "ClusterRole": {"rules": None},
    "ConfigMapVolumeSource": {"defaultMode": _FILE_MODE},
    "Container": _CONTAINER,
    "ContainerStateRunning": {"startedAt": None},
    "ContainerStateTerminated": {"startedAt": None, "finishedAt": None},
    "core.v1.EndpointPort": {"protocol": "TCP"},
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
    "CSINodeDriver": {"topologyKeys": None},
    "CustomResourceDefinitionSpec": {"conversion": {"strategy": "None"}},
    "CustomResourceDefinitionStatus": {"conditions": None, "storedVersions": None},
    "DaemonSetSpec": {"revisionHistoryLimit": _HISTORY_LIMIT},
    "DaemonSetUpdateStrategy": {"type": "RollingUpdate"},
    "DeploymentSpec": {
        "replicas": 1,
        "revisionHistoryLimit": _HISTORY_LIMIT,
        "progressDeadlineSeconds": 600,
    },
    "DeploymentStrategy": {"type": "RollingUpdate"},
    "DeviceSubRequest": {"allocationMode": "ExactCount"},
    "DownwardAPIVolumeSource": {"defaultMode": _FILE_MODE},
    "EndpointPort": {"name": "", "protocol": "TCP"},
    "EphemeralContainer": _CONTAINER,
    "Event": {"firstTimestamp": None, "lastTimestamp": None, "eventTime": None},
    "events.v1.Event": {"deprecatedFirstTimestamp": None, "deprecatedLastTimestamp": None},
    "ExactDeviceRequest": {"allocationMode": "ExactCount"},
    "ExemptPriorityLevelConfiguration": {"nominalConcurrencyShares": 0, "lendablePercent": 0},
    "GRPCAction": {"service": ""},
    "HorizontalPodAutoscalerSpec": {"minReplicas": 1, "metrics": [_CPU_METRIC]},
    "HorizontalPodAutoscalerStatus": {"currentMetrics": None},
    "HostPathVolumeSource": {"type": ""},
    "HTTPGetAction": {"path": "/", "scheme": "HTTP"},
    "IngressClassParametersReference": {"scope": "Cluster"},
    "LimitedPriorityLevelConfiguration": {"nominalConcurrencyShares": 30, "lendablePercent": 0},
    "MatchResources": {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}},
    "MutatingAdmissionPolicySpec": {"failurePolicy": "Fail"},
    "MutatingWebhook": {**_WEBHOOK, "reinvocationPolicy": "Never"},
    "NamedRuleWithOperations": {"scope": "*"},
    "NamespaceCondition": {"lastTransitionTime": None},
    "NamespaceStatus": {"phase": "Active"},
    "NetworkPolicyPort": {"protocol": "TCP"},
    "NodeCondition": {"lastHeartbeatTime": None, "lastTransitionTime": None},
    "ObjectFieldSelector": {"apiVersion": "v1"},
    "PersistentVolumeClaimSpec": {"volumeMode": "Filesystem"},
    "PersistentVolumeClaimStatus": {"phase": "Pending"},
    "PersistentVolumeSpec": {
        "persistentVolumeReclaimPolicy": "Retain",
        "volumeMode": "Filesystem",
    },
    "PersistentVolumeStatus": {"phase": "Pending"},
    "PodCondition": {"lastProbeTime": None, "lastTransitionTime": None},
    "PodFailurePolicyOnPodConditionsPattern": {"status": "True"},
    "PodSpec": {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    },
    "PodStatus": {"phase": "Pending"},
    "PriorityClass": {"preemptionPolicy": "PreemptLowerPriority"},
    "Probe": _PROBE,
    "ProjectedVolumeSource": {"defaultMode": _FILE_MODE},
    "ReplicaSetSpec": {"replicas": 1},
    "ResourceFieldSelector": {"divisor": "0"},
    "Role": {"rules": None},
    "RollingUpdateDaemonSet": {"maxUnavailable": 1, "maxSurge": 0},
    "RollingUpdateDeployment": {"maxUnavailable": "25%", "maxSurge": "25%"},
    "RuleWithOperations": {"scope": "*"},
    "Secret": {"type": "Opaque"},
    "SecretVolumeSource": {"defaultMode": _FILE_MODE},
    "ServiceAccountTokenProjection": {"expirationSeconds": 3600},
    "ServiceReference": {"port": 443},
    "ServiceSpec": {"type": "ClusterIP", "sessionAffinity": "None"},
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
    "ValidatingWebhook": _WEBHOOK,
}

_PREEMPTION = "PreemptLowerPriority"
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
_NODE_TAINTS = (NOT_READY, UNREACHABLE)


def set_defaults(kind: Kind | str, obj: Object) -> Object:
    """Set an object's defaults in place and return it; a second call changes nothing."""
    if isinstance(kind, Kind) and kind.custom is not None:
        kind.custom.set_defaults(obj)
        return obj
    name = schema.type_name(kind)
    _walk(name, obj)
    if isinstance(kind, Kind):
        _set_newer_defaults(kind, obj)
    if base_name(name) == "Pod":  # by the requests and limits of its containers
        obj["status"]["qosClass"] = qos_class(obj["spec"])
    return obj


def _set_newer_defaults(kind: Kind, obj: Object) -> None:
    since, path, value = _SINCE.get(kind.type_name, ("", (), None))
    if not since or is_older(kind.release, since):
        return
    part: Any = obj
    for name in path[:-1]:
        part = part.get(name)
        if part is None:
            return
    if part.get(path[-1]) is None:
        part[path[-1]] = value


@functools.cache
def _defaults_of(
    kind: str,
) -> tuple[Mapping[str, Any], Mapping[str, Any], Callable[[Object], None] | None]:
    """Return the constant defaults of a type, those of fields with zero, and its function."""
    name = base_name(kind)
    constants = {**schema.notes(kind).get("default", {}), **_FIELDS.get(name, {})}
    return constants, _ZERO_FIELDS.get(name, {}), _DEFAULTERS.get(name)


def _walk(kind: str, value: Any) -> None:
    if isinstance(value, dict) and kind in schema.types():
        constants, zeros, defaulter = _defaults_of(kind)
        for name, default in constants.items():
            if value.get(name) is None:
                value[name] = copy.deepcopy(default)
        for name, default in zeros.items():
            value[name] = value.get(name) or default
        if defaulter:
            defaulter(value)
    if isinstance(value, dict | list):
        for below, each in schema.children(kind, value):
            _walk(below, each)


def prepare_for_create(kind: Kind, obj: Object) -> Object:
    """Reset the status of a new object, whatever the client sent; call this before `set_defaults`."""
    if kind.has_status and kind.type_name != "Node":  # a kubelet creates its Node with a status
        obj.pop("status", None)
    if kind.type_name == "Namespace":
        finalizers = obj.setdefault("spec", {}).setdefault("finalizers", [])
        if "kubernetes" not in finalizers:
            finalizers.append("kubernetes")
    return obj


def admit_pod(pod: Object, classes: Mapping[str, Object]) -> Object:
    """Set the priority of a new pod, and tolerations of unreachable nodes, as the built-in admission does.

    `classes` are the cluster's PriorityClasses by name. Raises StatusError 403 if the class does not exist,
    or the pod's priority differs from the class's.
    """
    _set_priority(pod, classes)
    tolerations = pod["spec"].get("tolerations") or []
    missing = [_toleration(key) for key in _NODE_TAINTS if not _tolerates(tolerations, key)]
    if missing:
        pod["spec"]["tolerations"] = [*tolerations, *missing]
    return pod


def _set_priority(pod: Object, classes: Mapping[str, Object]) -> None:
    spec, pod_name = pod["spec"], pod.get("metadata", {}).get("name", "")
    name = spec.get("priorityClassName") or _default_priority_class(classes)
    found = classes.get(name, {})
    if name and not found:
        raise forbidden("pods", f'no PriorityClass with name "{name}" was found', name=pod_name)
    value, policy = found.get("value", 0), found.get("preemptionPolicy", _PREEMPTION)
    for part, given in (("priority", value), ("preemptionPolicy", policy)):
        if spec.get(part) not in (None, given):
            reason = (
                f"{part} {spec[part]} is not that of the pod's priority class, which is {given}"
            )
            raise forbidden("pods", f'pods "{pod_name}" is forbidden: {reason}', name=pod_name)
        spec[part] = given
    if name:
        spec["priorityClassName"] = name


def _default_priority_class(classes: Mapping[str, Object]) -> str:
    """Return the global default class; if several classes are, the one with the lowest value."""
    defaults = [
        (each["value"], name) for name, each in classes.items() if each.get("globalDefault")
    ]
    return min(defaults)[1] if defaults else ""


def _toleration(key: str) -> Object:
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}


def _tolerates(tolerations: list[Object], key: str) -> bool:
    return any(
        each.get("key", "") in ("", key) and each.get("effect", "") in ("", "NoExecute")
        for each in tolerations
    )


def admit_node(node: Object) -> Object:
    """Taint a new node as not ready, as the built-in admission does."""
    taints = node.setdefault("spec", {}).setdefault("taints", [])
    if not any(each.get("key") == NOT_READY for each in taints):
        taints.append(_no_schedule(NOT_READY))
    return node


def node_taints(node: Mapping[str, Any]) -> list[Object]:
    """Return a node's taints, with the taint that its Ready condition requires.

    Other taints do not change. A node without a Ready condition keeps its taints.
    """
    taints = list((node.get("spec") or {}).get("taints") or ())
    conditions = (node.get("status") or {}).get("conditions") or ()
    ready = next((each.get("status") for each in conditions if each.get("type") == "Ready"), None)
    if ready is None:
        return taints
    required_taint = {"True": None, "Unknown": UNREACHABLE}.get(str(ready), NOT_READY)
    result = [
        each for each in taints if not _is_readiness_taint(each) or each["key"] == required_taint
    ]
    if required_taint and not any(_is_readiness_taint(each) for each in result):
        result.append(_no_schedule(required_taint))
    return result


def _no_schedule(key: str) -> Object:
    return {"key": key, "effect": "NoSchedule"}


def _is_readiness_taint(taint: Mapping[str, Any]) -> bool:
    return taint.get("key") in _NODE_TAINTS and taint.get("effect") == "NoSchedule"


def qos_class(spec: Mapping[str, Any]) -> str:
    """Return the QoS class of a pod by the requests and limits of its containers."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    resources = [each.get("resources") or {} for each in containers]
    amounts_by_part = [
        {name: amount for name, amount in (each.get(part) or {}).items() if name in _COMPUTE}
        for each in resources
        for part in ("requests", "limits")
    ]
    if not any(amounts_by_part):
        return "BestEffort"
    pairs = list(zip(amounts_by_part[::2], amounts_by_part[1::2], strict=True))
    full = all(len(limits) == len(_COMPUTE) and limits == requests for requests, limits in pairs)
    return "Guaranteed" if full else "Burstable"


_COMPUTE = ("cpu", "memory")


def _default_container(container: Object) -> None:
    if container.get("imagePullPolicy") is None:
        image = str(container.get("image") or "")
        container["imagePullPolicy"] = "Always" if _is_latest(image) else "IfNotPresent"


def _is_latest(image: str) -> bool:
    name, _, digest = image.rpartition("/")[2].partition("@")
    _, _, tag = name.partition(":")
    return tag == "latest" or not (tag or digest)


def _default_pod(pod: Object) -> None:
    # In a pod template the value is not changed; each pod from it is.
    if (pod["spec"].get("terminationGracePeriodSeconds") or 0) < 0:
        pod["spec"]["terminationGracePeriodSeconds"] = 1
    if pod["spec"].get("enableServiceLinks") is None:
        pod["spec"]["enableServiceLinks"] = True


def _default_pod_spec(spec: Object) -> None:
    # `serviceAccount` is the deprecated alias of `serviceAccountName`.
    if account := spec.get("serviceAccountName") or spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    if spec.get("hostNetwork"):
        for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
            for port in container.get("ports") or ():
                port.setdefault("hostPort", port.get("containerPort"))


def _default_pod_status(status: Object) -> None:
    for singular, plural in (("podIP", "podIPs"), ("hostIP", "hostIPs")):
        listed = [each.get("ip") for each in status.get(plural) or ()]
        if status.get(singular) and status[singular] not in listed[:1]:
            status[plural] = [{"ip": status[singular]}]
        elif listed and not status.get(singular):
            status[singular] = listed[0]


def _default_resources(resources: Object) -> None:
    """Set each missing request to its limit."""
    for part in ("limits", "requests"):
        if amounts := resources.get(part):
            resources[part] = {name: _amount(value) for name, value in amounts.items()}
    if limits := resources.get("limits"):
        requests = resources.setdefault("requests", {})
        for name, value in limits.items():
            requests.setdefault(name, value)


def _amount(value: Any) -> str:
    if isinstance(value, float):
        milli = round(value * 1000)
        return str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"
    return str(value)


def _default_volume(volume: Object) -> None:
    if volume.keys() <= {"name"}:
        volume["emptyDir"] = {}


def _default_service_spec(spec: Object) -> None:
    kind = spec["type"]
    for port in spec.get("ports") or ():
        if not port.get("targetPort") and kind != "ExternalName":
            port["targetPort"] = port.get("port")
    if spec["sessionAffinity"] == "ClientIP":
        spec.setdefault("sessionAffinityConfig", {"clientIP": {"timeoutSeconds": 10800}})
    if kind == "ExternalName":
        return
    spec.setdefault("internalTrafficPolicy", "Cluster")
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    if kind in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def _default_definition_names(names: Object) -> None:
    if kind := names.get("kind"):
        names.setdefault("singular", kind.lower())
        names.setdefault("listKind", kind + "List")


def _default_secret(secret: Object) -> None:
    if plain := secret.pop("stringData", None):
        data = {key: base64.b64encode(text.encode()).decode() for key, text in plain.items()}
        secret["data"] = (secret.get("data") or {}) | data


def _default_namespace(namespace: Object) -> None:
    metadata = namespace.setdefault("metadata", {})
    if name := metadata.get("name"):
        labels = metadata.get("labels") or {}
        metadata["labels"] = labels | {"kubernetes.io/metadata.name": name}


def _default_binding(binding: Object) -> None:
    if isinstance(role := binding.get("roleRef"), dict) and not role.get("apiGroup"):
        role["apiGroup"] = RBAC
    for subject in binding.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = RBAC


_DEFAULTERS: dict[str, Callable[[Object], None]] = {
    "ClusterRoleBinding": _default_binding,
    "Container": _default_container,
    "CustomResourceDefinitionNames": _default_definition_names,
    "DaemonSetUpdateStrategy": _default_rolling,
    "DeploymentStrategy": _default_rolling,
    "DeviceSubRequest": _default_device_request,
    "EphemeralContainer": _default_container,
    "ExactDeviceRequest": _default_device_request,
    "HorizontalPodAutoscalerBehavior": _default_behavior,
    "Job": _default_job,
    "LimitRangeItem": _default_limits,
    "Namespace": _default_namespace,
    "NetworkPolicySpec": _default_network_policy,
    "Pod": _default_pod,
    "PodSpec": _default_pod_spec,
    "PodStatus": _default_pod_status,
    "ReplicationController": _default_replication_controller,
    "ResourceRequirements": _default_resources,
    "RoleBinding": _default_binding,
    "Secret": _default_secret,
    "ServiceSpec": _default_service_spec,
    "StatefulSetSpec": _default_claims,
    "StatefulSetUpdateStrategy": _default_stateful,
    "Volume": _default_volume,
}
