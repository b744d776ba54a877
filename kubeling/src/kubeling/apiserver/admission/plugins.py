"""The built-in admission plugins.

These are NamespaceLifecycle, NodeRestriction, ServiceAccount, Priority, DefaultTolerationSeconds,
RuntimeClass and LimitRanger. ResourceQuota runs last, together with the write.

They run before the webhooks, and again after a webhook changed an object, so that a container that a webhook
adds also gets the token of its account.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from kubeling.apiserver.admission import resource_quota
from kubeling.apiserver.defaulting import defaults
from kubeling.apiserver.kinds import Kind, kind_by_name
from kubeling.apiserver.request import Request, UserInfo
from kubeling.apiserver.status import (
    Cause,
    CauseType,
    StatusError,
    forbidden_object,
    not_found,
)
from kubeling.apiserver.storage.storage import Object, ObjectStore
from kubeling.service_account.claims import EXTENDED_SECONDS
from kubeling.service_account.names import MOUNT_PATH

CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"
_UNDELETABLE = ("default", "kube-system", "kube-public")
_ROOT_CA = "kube-root-ca.crt"
_VOLUME_PREFIX = "kube-api-access-"
_MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
# The characters of generated names: without vowels, so that the names contain no words.
NAME_CHARACTERS = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5


@dataclass(slots=True, kw_only=True)
class AdmissionAttributes:
    """The attributes of a request under admission; plugins change `obj` in place or replace it.

    `obj` is None for a deletion, `old` for a creation. Both have no `kind` and `apiVersion`.
    """

    operation: str
    kind: Kind
    namespace: str
    name: str
    user: UserInfo
    obj: Object | None
    old: Object | None = None
    subresource: str = ""
    sub_kind: tuple[str, str, str] | None = None
    options: Object = field(default_factory=dict)
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, request: Request, operation: str, obj: Object | None, **more: Any) -> Self:
        """Return the attributes of a request; `more` adds others, or replaces those of its path."""
        of_request: dict[str, Any] = {
            "kind": request.kind,
            "namespace": request.info.namespace,
            "name": request.info.name,
            "subresource": request.info.subresource,
            "user": request.user,
            "warnings": request.warnings,
        }
        return cls(operation=operation, obj=obj, **of_request | more)


def random_suffix() -> str:
    """Return a random suffix for a generated name."""
    return "".join(random.choices(NAME_CHARACTERS, k=_SUFFIX_LENGTH))  # noqa: S311 a name, not a secret


def admit(
    attributes: AdmissionAttributes, store: ObjectStore, *, has_controllers: bool = True
) -> None:
    """Run the built-in plugins on a request. Raises StatusError 403, 404."""
    _namespace_lifecycle(attributes, store)
    if attributes.operation != CREATE or attributes.subresource or attributes.obj is None:
        return
    if attributes.kind.type_name == "Pod":
        _node_restriction(attributes, attributes.obj)
        _service_account(attributes, attributes.obj, store, has_controllers=has_controllers)
        defaults.admit_pod(attributes.obj, _priority_classes(store))
        _runtime_class(attributes, attributes.obj, store)
        _limit_ranger(attributes, attributes.obj, store)
    elif attributes.kind.type_name == "PersistentVolumeClaim":
        _limit_ranger(attributes, attributes.obj, store)
    elif attributes.kind.type_name == "Node":
        defaults.admit_node(attributes.obj)


def _namespace_lifecycle(attributes: AdmissionAttributes, store: ObjectStore) -> None:
    kind, name = attributes.kind, attributes.name
    if kind.type_name == "Namespace":
        if attributes.operation == DELETE and name in _UNDELETABLE:
            raise forbidden_object(kind, name, "this namespace may not be deleted")
        return
    if attributes.operation != CREATE or not kind.namespaced or not kind.stored:
        return
    namespace = store.get(kind_by_name("Namespace"), "", attributes.namespace)
    if namespace is None:
        raise not_found(kind_by_name("Namespace"), attributes.namespace)
    if namespace["metadata"].get("deletionTimestamp") and not attributes.subresource:
        where = attributes.namespace
        message = f"namespace {where} is being terminated"
        cause = Cause(CauseType.NAMESPACE_TERMINATING, message, "metadata.namespace")
        reason = f"unable to create new content in namespace {where} because it is being terminated"
        raise forbidden_object(kind, name, reason, [cause])


def _pod_forbidden(attributes: AdmissionAttributes, reason: str) -> StatusError:
    return forbidden_object(attributes.kind, attributes.name, reason)


def _node_restriction(attributes: AdmissionAttributes, pod: Object) -> None:
    """Refuse a pod that a node creates, except a mirror pod: the node would choose its account and tokens."""
    node, spec = attributes.user.node, pod["spec"]
    if node is None:
        return
    reason = ""
    if _MIRROR_ANNOTATION not in (pod["metadata"].get("annotations") or {}):
        reason = (
            f'pod does not have "{_MIRROR_ANNOTATION}" annotation, node "{node}" can only create mirror'
            " pods"
        )
    elif not node or spec.get("nodeName") != node:
        reason = f'node "{node}" can only create pods with spec.nodeName set to itself'
    elif spec.get("serviceAccountName"):
        reason = f'node "{node}" can not create pods that reference a service account'
    elif any(volume.get("projected") or volume.get("csi") for volume in spec.get("volumes") or ()):
        reason = f'node "{node}" can not create pods that reference tokens'
    if reason:
        raise _pod_forbidden(attributes, reason)


def _service_account(
    attributes: AdmissionAttributes, pod: Object, store: ObjectStore, *, has_controllers: bool
) -> None:
    """Set a pod's account and the account's pull secrets, and mount the projected API token."""
    spec = pod["spec"]
    if _MIRROR_ANNOTATION in (pod["metadata"].get("annotations") or {}):
        return
    name = spec.get("serviceAccountName") or "default"
    account = store.get(kind_by_name("ServiceAccount"), attributes.namespace, name)
    if account is None and not has_controllers:
        return
    if account is None:
        raise _pod_forbidden(
            attributes,
            f"error looking up service account {attributes.namespace}/{name}: "
            f'serviceaccount "{name}" not found',
        )
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [dict(each) for each in account["imagePullSecrets"]]
    if _automount(spec, account):
        _mount_token(spec)


def _runtime_class(attributes: AdmissionAttributes, pod: Object, store: ObjectStore) -> None:
    """Copy the overhead and the scheduling of a pod's RuntimeClass into the pod."""
    spec = pod["spec"]
    name = spec.get("runtimeClassName")
    found = store.get(kind_by_name("RuntimeClass"), "", name) if name else {}
    if found is None:
        raise _pod_forbidden(attributes, f'pod rejected: RuntimeClass "{name}" not found')
    overhead = (found.get("overhead") or {}).get("podFixed")
    if spec.get("overhead") not in (None, overhead):
        reason = "Pod's Overhead doesn't match RuntimeClass's defined Overhead"
        raise _pod_forbidden(attributes, f"pod rejected: {reason}")
    if overhead:
        spec["overhead"] = dict(overhead)
    scheduling, selector = found.get("scheduling") or {}, spec.get("nodeSelector") or {}
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        if selector.setdefault(key, value) != value:
            reason = f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
            reason += f"pod.spec.nodeSelector[{key}] = {selector[key]}"
            raise _pod_forbidden(attributes, reason)
        spec["nodeSelector"] = selector
    tolerations = spec.get("tolerations") or []
    if more := [each for each in scheduling.get("tolerations") or () if each not in tolerations]:
        spec["tolerations"] = [*tolerations, *more]


def _limit_ranger(attributes: AdmissionAttributes, obj: Object, store: ObjectStore) -> None:
    """Set default resources, and refuse an object that exceeds a bound of a LimitRange."""
    kind, name = attributes.kind, attributes.name
    if not (ranges := resource_quota.limit_ranges(store, attributes.namespace)):
        return
    if kind.type_name == "Pod":
        resource_quota.set_defaults(obj, ranges)
        obj["status"]["qosClass"] = defaults.qos_class(obj["spec"])
    if texts := resource_quota.violations(kind.type_name, obj, ranges):
        reason = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
        raise forbidden_object(kind, name, reason)


def _priority_classes(store: ObjectStore) -> dict[str, Object]:
    return {
        entry.name: entry.object() for entry in store.list_stored(kind_by_name("PriorityClass"))
    }


def _automount(spec: Mapping[str, Any], account: Mapping[str, Any]) -> bool:
    """Return whether to mount the token; the pod's own setting takes precedence over the account's."""
    for source in (spec, account):
        value = source.get("automountServiceAccountToken")
        if value is not None:
            return bool(value)
    return True


def _mount_token(spec: Object) -> None:
    volumes = spec.get("volumes") or []
    existing = [each["name"] for each in volumes if each["name"].startswith(_VOLUME_PREFIX)]
    volume = existing[0] if existing else _VOLUME_PREFIX + random_suffix()
    mounted = False
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        mounts = container.get("volumeMounts") or []
        if all(each.get("mountPath") != MOUNT_PATH for each in mounts):
            mount = {"name": volume, "readOnly": True, "mountPath": MOUNT_PATH}
            container["volumeMounts"] = [*mounts, mount]
            mounted = True
    if mounted and not existing:
        spec["volumes"] = [*volumes, _token_volume(volume)]


def _token_volume(name: str) -> Object:
    namespace = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": EXTENDED_SECONDS, "path": "token"}},
        {"configMap": {"name": _ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace}]}},
    ]
    return {"name": name, "projected": {"sources": sources, "defaultMode": 0o644}}
