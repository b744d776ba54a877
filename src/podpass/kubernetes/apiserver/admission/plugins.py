"""The admission that is built into every API server: namespaces, accounts of pods, tolerations, priority.

They run before the webhooks, and again after a webhook has changed an object, so that a container a
webhook adds gets its account's token too.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from podpass.kubernetes.apiserver.defaulting import defaults
from podpass.kubernetes.apiserver.kinds import Kind, named
from podpass.kubernetes.apiserver.request import User
from podpass.kubernetes.apiserver.status import (
    Cause,
    StatusError,
    Why,
    forbidden,
    not_found,
)
from podpass.kubernetes.apiserver.storage.storage import Object, Store
from podpass.kubernetes.service_account.claims import EXTENDED_SECONDS
from podpass.kubernetes.service_account.names import MOUNT_PATH

CREATE, UPDATE, DELETE = "CREATE", "UPDATE", "DELETE"
_IMMORTAL = ("default", "kube-system", "kube-public")
_ROOT_CA = "kube-root-ca.crt"
_VOLUME_PREFIX = "kube-api-access-"
_MIRROR = "kubernetes.io/config.mirror"
# The letters of generated names: no vowels, so that no words come out.
LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5


@dataclass(slots=True, kw_only=True)
class Attributes:
    """What admission is told of a request; `obj` is changed in place or replaced.

    Shapes:  `obj` is None for a deletion, `old` for a creation. Both carry no kind of their own.
    """

    operation: str
    kind: Kind
    namespace: str
    name: str
    user: User
    obj: Object | None
    old: Object | None = None
    subresource: str = ""
    sub_kind: tuple[str, str, str] | None = None
    options: Object = field(default_factory=dict)
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)


def suffix() -> str:
    """Make the random end of a generated name."""
    return "".join(random.choices(LETTERS, k=_SUFFIX_LENGTH))  # noqa: S311 a name, no secret


def admit(attributes: Attributes, store: Store) -> None:
    """Run every built-in plugin on a request.

    Errors:  StatusError 403, 404.
    """
    _lifecycle(attributes, store)
    if attributes.operation != CREATE or attributes.subresource or attributes.obj is None:
        return
    if attributes.kind.kind == "Pod":
        _service_account(attributes, attributes.obj, store)
        defaults.pod_admission(attributes.obj, _priority_classes(store))
    elif attributes.kind.kind == "Node":
        defaults.node_admission(attributes.obj)


def _lifecycle(attributes: Attributes, store: Store) -> None:
    kind, name = attributes.kind, attributes.name
    if kind.kind == "Namespace":
        if attributes.operation == DELETE and name in _IMMORTAL:
            raise forbidden(
                kind.plural,
                f'namespaces "{name}" is forbidden: this namespace may not be deleted',
                name=name,
            )
        return
    if attributes.operation != CREATE or not kind.namespaced or not kind.stored:
        return
    namespace = store.get(named("Namespace"), "", attributes.namespace)
    if namespace is None:
        raise not_found(named("Namespace"), attributes.namespace)
    if namespace["metadata"].get("deletionTimestamp") and not attributes.subresource:
        raise _terminating(attributes)


def _terminating(attributes: Attributes) -> StatusError:
    kind, name = attributes.kind, attributes.name
    told = f"namespace {attributes.namespace} is being terminated"
    return forbidden(
        kind.plural,
        f'{kind.resource} "{name}" is forbidden: unable to create new content in namespace '
        f"{attributes.namespace} because it is being terminated",
        name=name,
        group=kind.group,
        causes=[Cause(Why.NAMESPACE_TERMINATING, told, "metadata.namespace")],
    )


def _refused(attributes: Attributes, why: str) -> StatusError:
    name = attributes.name
    return forbidden("pods", f'pods "{name}" is forbidden: {why}', name=name)


def _service_account(attributes: Attributes, pod: Object, store: Store) -> None:
    """Give a pod its account, the account's pull secrets, and the projected token of the API."""
    spec = pod["spec"]
    if _MIRROR in (pod["metadata"].get("annotations") or {}):
        return
    name = spec.get("serviceAccountName") or "default"
    account = store.get(named("ServiceAccount"), attributes.namespace, name)
    if account is None:
        raise _refused(
            attributes,
            f"error looking up service account {attributes.namespace}/{name}: "
            f'serviceaccount "{name}" not found',
        )
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [dict(each) for each in account["imagePullSecrets"]]
    if _automount(spec, account):
        _mount_token(spec)


def _priority_classes(store: Store) -> dict[str, Object]:
    return {entry.name: entry.object() for entry in store.entries(named("PriorityClass"))}


def _automount(spec: Mapping[str, Any], account: Mapping[str, Any]) -> bool:
    """The pod's own word counts before its account's."""
    for holder in (spec, account):
        value = holder.get("automountServiceAccountToken")
        if value is not None:
            return bool(value)
    return True


def _mount_token(spec: Object) -> None:
    volumes = spec.get("volumes") or []
    existing = [each["name"] for each in volumes if each["name"].startswith(_VOLUME_PREFIX)]
    volume = existing[0] if existing else _VOLUME_PREFIX + suffix()
    mounted = False
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        mounts = container.get("volumeMounts") or []
        if all(each.get("mountPath") != MOUNT_PATH for each in mounts):
            container["volumeMounts"] = [*mounts, _token_mount(volume)]
            mounted = True
    if mounted and not existing:
        spec["volumes"] = [*volumes, _token_volume(volume)]


def _token_mount(volume: str) -> Object:
    return {"name": volume, "readOnly": True, "mountPath": MOUNT_PATH}


def _token_volume(name: str) -> Object:
    namespace = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": EXTENDED_SECONDS, "path": "token"}},
        {"configMap": {"name": _ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace}]}},
    ]
    return {"name": name, "projected": {"sources": sources, "defaultMode": 0o644}}
