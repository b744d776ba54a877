"""What a real API server adds to an object: defaults by type, and what it sets when one is created.

One walk over the object's types: a row of `_FIELDS` gives fields a type has when nobody set them, a
function of `_HOOKS` what depends on other fields. Zero values stand here too, where the API writes
them (`lastState: {}`, `eventTime: null`).
"""

import base64
import copy
from collections.abc import Callable, Mapping
from typing import Any

from podpass.kubernetes.apiserver import schema
from podpass.kubernetes.apiserver.defaulting import workload
from podpass.kubernetes.apiserver.kinds import RBAC, Kind
from podpass.kubernetes.apiserver.status import forbidden

Object = dict[str, Any]

_MODE = 0o644
_CONTAINER: Object = {
    "resources": {},
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
    **workload.FIELDS,
    "ClusterRole": {"rules": None},
    "ConfigMapVolumeSource": {"defaultMode": _MODE},
    "Container": _CONTAINER,
    "ContainerPort": {"protocol": "TCP"},
    "ContainerStateRunning": {"startedAt": None},
    "ContainerStateTerminated": {"exitCode": 0, "startedAt": None, "finishedAt": None},
    "ContainerStatus": {
        "state": {},
        "lastState": {},
        "ready": False,
        "restartCount": 0,
        "image": "",
        "imageID": "",
    },
    "DownwardAPIVolumeSource": {"defaultMode": _MODE},
    "EphemeralContainer": _CONTAINER,
    "Event": {
        "involvedObject": {},
        "source": {},
        "firstTimestamp": None,
        "lastTimestamp": None,
        "eventTime": None,
        "reportingComponent": "",
        "reportingInstance": "",
    },
    "HTTPGetAction": {"path": "/", "scheme": "HTTP"},
    "GRPCAction": {"service": ""},
    "HostPathVolumeSource": {"type": ""},
    "LoadBalancerStatus": {},
    "MutatingWebhook": {**_WEBHOOK, "reinvocationPolicy": "Never"},
    "Namespace": {"spec": {}, "status": {}},
    "NamespaceCondition": {"lastTransitionTime": None},
    "NamespaceStatus": {"phase": "Active"},
    "Node": {"spec": {}, "status": {}},
    "NodeCondition": {"lastHeartbeatTime": None, "lastTransitionTime": None},
    "NodeStatus": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 0}}, "nodeInfo": {}},
    "NodeSystemInfo": dict.fromkeys(
        (
            *("machineID", "systemUUID", "bootID", "kernelVersion", "osImage"),
            *("containerRuntimeVersion", "kubeletVersion", "kubeProxyVersion"),
            *("operatingSystem", "architecture"),
        ),
        "",
    ),
    "ObjectFieldSelector": {"apiVersion": "v1"},
    "Pod": {"spec": {}, "status": {}},
    "PodCondition": {"lastProbeTime": None, "lastTransitionTime": None},
    "PodSpec": {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    },
    "PodStatus": {"phase": "Pending"},
    "Probe": _PROBE,
    "ProjectedVolumeSource": {"defaultMode": _MODE},
    "ResourceFieldSelector": {"divisor": "0"},
    "Role": {"rules": None},
    "RuleWithOperations": {"scope": "*"},
    "Secret": {"type": "Opaque"},
    "SecretVolumeSource": {"defaultMode": _MODE},
    "Service": {"spec": {}, "status": {}},
    "ServiceAccountTokenProjection": {"expirationSeconds": 3600},
    "ServicePort": {"protocol": "TCP"},
    "ServiceReference": {"port": 443},
    "ServiceSpec": {"type": "ClusterIP", "sessionAffinity": "None"},
    "ServiceStatus": {"loadBalancer": {}},
    "ValidatingWebhook": _WEBHOOK,
}

_PREEMPTION = "PreemptLowerPriority"
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
_LOST_NODE = (NOT_READY, UNREACHABLE)


def apply(kind: Kind | str, obj: Object) -> Object:
    """Set an object's defaults in place, and give it back; a second time changes nothing."""
    name = schema.type_name(kind)
    _walk(name, obj)
    if name == "Pod":  # by what its containers ask for now, the defaults of that included
        obj["status"]["qosClass"] = qos_class(obj["spec"])
    return obj


def _walk(kind: str, value: Any) -> None:
    if isinstance(value, dict) and kind in schema.types():
        for name, default in _FIELDS.get(kind, {}).items():
            if value.get(name) is None:
                value[name] = copy.deepcopy(default)
        if hook := _HOOKS.get(kind):
            hook(value)
    if isinstance(value, dict | list):
        for below, each in schema.children(kind, value):
            _walk(below, each)


def at_creation(kind: Kind, obj: Object) -> Object:
    """Set what an object starts with, whatever its maker sent: call it before `apply`."""
    if kind.has_status and kind.kind != "Node":  # a kubelet registers its node with its status
        obj.pop("status", None)
    if kind.kind == "Namespace":
        finalizers = obj.setdefault("spec", {}).setdefault("finalizers", [])
        if "kubernetes" not in finalizers:
            finalizers.append("kubernetes")
    return obj


def pod_admission(pod: Object, classes: Mapping[str, Object]) -> Object:
    """Do to a new pod what the built-in admission does: priority, and tolerations of lost nodes.

    Shapes:  `classes` are the cluster's PriorityClasses by name.
    Errors:  StatusError 403 for a priority class that is not there, or a priority that is not its own.
    """
    _prioritize(pod, classes)
    tolerations = pod["spec"].get("tolerations") or []
    missing = [_toleration(key) for key in _LOST_NODE if not _tolerates(tolerations, key)]
    if missing:
        pod["spec"]["tolerations"] = [*tolerations, *missing]
    return pod


def _prioritize(pod: Object, classes: Mapping[str, Object]) -> None:
    spec, pod_name = pod["spec"], pod.get("metadata", {}).get("name", "")
    name = spec.get("priorityClassName") or _usual_class(classes)
    found = classes.get(name, {})
    if name and not found:
        raise forbidden("pods", f'no PriorityClass with name "{name}" was found', name=pod_name)
    value, policy = found.get("value", 0), found.get("preemptionPolicy", _PREEMPTION)
    for part, given in (("priority", value), ("preemptionPolicy", policy)):
        if spec.get(part) not in (None, given):
            told = f"{part} {spec[part]} is not that of the pod's priority class, which is {given}"
            raise forbidden("pods", f'pods "{pod_name}" is forbidden: {told}', name=pod_name)
        spec[part] = given
    if name:
        spec["priorityClassName"] = name


def _usual_class(classes: Mapping[str, Object]) -> str:
    """Name the class of pods that name none: of several that want to be it, the lowest."""
    usual = [(each["value"], name) for name, each in classes.items() if each.get("globalDefault")]
    return min(usual)[1] if usual else ""


def _toleration(key: str) -> Object:
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}


def _tolerates(tolerations: list[Object], key: str) -> bool:
    return any(
        each.get("key", "") in ("", key) and each.get("effect", "") in ("", "NoExecute")
        for each in tolerations
    )


def node_admission(node: Object) -> Object:
    """Taint a new node until it is ready, as the built-in admission does."""
    taints = node.setdefault("spec", {}).setdefault("taints", [])
    if not any(each.get("key") == NOT_READY for each in taints):
        taints.append(_no_schedule(NOT_READY))
    return node


def node_taints(node: Mapping[str, Any]) -> list[Object]:
    """List a node's taints as its Ready condition wants them; others' stay as they are.

    A node that has not said anything yet keeps what it was admitted with.
    """
    taints = list((node.get("spec") or {}).get("taints") or ())
    conditions = (node.get("status") or {}).get("conditions") or ()
    ready = next((each.get("status") for each in conditions if each.get("type") == "Ready"), None)
    if ready is None:
        return taints
    wanted = {"True": None, "Unknown": UNREACHABLE}.get(str(ready), NOT_READY)
    kept = [each for each in taints if not _is_of_readiness(each) or each["key"] == wanted]
    if wanted and not any(_is_of_readiness(each) for each in kept):
        kept.append(_no_schedule(wanted))
    return kept


def _no_schedule(key: str) -> Object:
    return {"key": key, "effect": "NoSchedule"}


def _is_of_readiness(taint: Mapping[str, Any]) -> bool:
    return taint.get("key") in _LOST_NODE and taint.get("effect") == "NoSchedule"


def qos_class(spec: Mapping[str, Any]) -> str:
    """Sort a pod by what its containers reserve."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    resources = [each.get("resources") or {} for each in containers]
    asked = [
        {name: amount for name, amount in (each.get(part) or {}).items() if name in _COMPUTE}
        for each in resources
        for part in ("requests", "limits")
    ]
    if not any(asked):
        return "BestEffort"
    pairs = list(zip(asked[::2], asked[1::2], strict=True))
    full = all(len(limits) == len(_COMPUTE) and limits == requests for requests, limits in pairs)
    return "Guaranteed" if full else "Burstable"


_COMPUTE = ("cpu", "memory")


def _container(container: Object) -> None:
    if container.get("imagePullPolicy") is None:
        image = str(container.get("image") or "")
        container["imagePullPolicy"] = "Always" if _is_latest(image) else "IfNotPresent"


def _is_latest(image: str) -> bool:
    name, _, digest = image.rpartition("/")[2].partition("@")
    _, _, tag = name.partition(":")
    return tag == "latest" or not (tag or digest)


def _pod(pod: Object) -> None:
    # In a template it stays as it is given; each pod of it comes through here.
    if (pod["spec"].get("terminationGracePeriodSeconds") or 0) < 0:
        pod["spec"]["terminationGracePeriodSeconds"] = 1
    if pod["spec"].get("enableServiceLinks") is None:
        pod["spec"]["enableServiceLinks"] = True


def _pod_spec(spec: Object) -> None:
    # The older name of one field, kept in step.
    if account := spec.get("serviceAccountName") or spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    _drop_restart_policies(spec)
    if spec.get("hostNetwork"):
        for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
            for port in container.get("ports") or ():
                port.setdefault("hostPort", port.get("containerPort"))


def _drop_restart_policies(spec: Object) -> None:
    """Drop restart policies of containers, sidecars apart: in 1.34 their gate is closed."""
    for sort, kept in (("containers", ""), ("initContainers", "Always")):
        for container in spec.get(sort) or ():
            container.pop("restartPolicyRules", None)
            if container.get("restartPolicy") != kept:
                container.pop("restartPolicy", None)


def _pod_status(status: Object) -> None:
    for one, many in (("podIP", "podIPs"), ("hostIP", "hostIPs")):
        listed = [each.get("ip") for each in status.get(many) or ()]
        if status.get(one) and status[one] not in listed[:1]:
            status[many] = [{"ip": status[one]}]
        elif listed and not status.get(one):
            status[one] = listed[0]


def _resources(resources: Object) -> None:
    """Ask for as much as is allowed, where nothing was asked for."""
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


def _volume(volume: Object) -> None:
    if volume.keys() <= {"name"}:
        volume["emptyDir"] = {}


def _service_spec(spec: Object) -> None:
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


def _secret(secret: Object) -> None:
    if plain := secret.pop("stringData", None):
        data = {key: base64.b64encode(text.encode()).decode() for key, text in plain.items()}
        secret["data"] = (secret.get("data") or {}) | data


def _namespace(namespace: Object) -> None:
    metadata = namespace.setdefault("metadata", {})
    if name := metadata.get("name"):
        labels = metadata.get("labels") or {}
        metadata["labels"] = labels | {"kubernetes.io/metadata.name": name}


def _binding(binding: Object) -> None:
    if isinstance(role := binding.get("roleRef"), dict) and not role.get("apiGroup"):
        role["apiGroup"] = RBAC
    for subject in binding.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = RBAC


_HOOKS: dict[str, Callable[[Object], None]] = {
    **workload.HOOKS,
    "ClusterRoleBinding": _binding,
    "Container": _container,
    "EphemeralContainer": _container,
    "Namespace": _namespace,
    "Pod": _pod,
    "PodSpec": _pod_spec,
    "PodStatus": _pod_status,
    "ResourceRequirements": _resources,
    "RoleBinding": _binding,
    "Secret": _secret,
    "ServiceSpec": _service_spec,
    "Volume": _volume,
}
