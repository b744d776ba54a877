"""The shapes of stage 1: a pod that asks, the account it runs as, and what both together wish for.

What enters is JSON that an API server has accepted, though perhaps not this version's; a shape that does not
fit is refused here, so that no later line has to look twice. Nothing is written back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from podpass.errors import Error

_NAME = (str, type(None))
_ESCAPES = 40  # more signs that a value may take by what had to be escaped


class PodRefused(Error):
    """This pod cannot be given its identity as it asks; nothing of it is created."""

    code = "pod_refused"
    status = 400


class MalformedPod(PodRefused):
    """The object is not a Pod of Kubernetes' v1."""

    code = "malformed_pod"
    hint = "send a v1 Pod as the API server serialises it"


class NamespaceMismatch(PodRefused):
    """The pod names another namespace than the request that creates it: which one's account would it be?"""

    code = "namespace_mismatch"
    hint = "leave metadata.namespace out, or set it to the namespace the pod is created in"


class BadAnnotation(PodRefused):
    """An annotation holds a value that means nothing, or one outside its range."""

    code = "bad_annotation"


class ProxyOnHostNetwork(PodRefused):
    """The sidecar would redirect the node's traffic, not the pod's."""

    code = "proxy_on_host_network"


class MountPathTaken(PodRefused):
    """A container mounts something else where the token has to go."""

    code = "mount_path_taken"


class PatchTooLarge(PodRefused):
    """What the pod asks for, in each of its containers, is more than an API server could keep."""

    code = "patch_too_large"
    hint = "give it fewer containers, or correct the annotations of its ServiceAccount"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A ServiceAccount as far as this stage knows it."""

    namespace: str
    name: str
    annotations: Mapping[str, str]

    def __str__(self) -> str:
        return f"ServiceAccount {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod as the API server sent it.

    Shapes:  `identity` is the name, or `<generateName> (prefix)` while there is none; `account` is the
             ServiceAccount's name, `default` where the pod names none; `spec` is the raw object.
    """

    namespace: str
    identity: str
    account: str
    labels: Mapping[str, Any] = field(default_factory=dict)
    annotations: Mapping[str, Any]
    spec: Mapping[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return f"Pod {self.namespace}/{self.identity}"


def objects(holder: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    """Give a member that is a list of named objects; a missing or null one is empty.

    Errors:  MalformedPod, naming the member.
    """
    found = holder.get(name)
    if found is None:
        return ()
    if not isinstance(found, list):
        raise MalformedPod(f"{name} is not a list", field=name)
    for entry in found:
        # None, but no other empty value: a list as a name would break whoever collects names.
        if not isinstance(entry, dict) or not isinstance(entry.get("name", ""), _NAME):
            raise MalformedPod(f"{name} is not a list of named objects", field=name)
    return found


def names_in(holder: Mapping[str, Any], name: str) -> set[str | None]:
    """Collect the names in a list of named objects, in one go with the checks of `objects`.

    Errors:  MalformedPod, naming the member.
    """
    found = holder.get(name)
    if found is None:
        return set()
    if not isinstance(found, list):
        raise MalformedPod(f"{name} is not a list", field=name)
    collected = set()
    for entry in found:
        if not isinstance(entry, dict) or not isinstance(its := entry.get("name", ""), _NAME):
            raise MalformedPod(f"{name} is not a list of named objects", field=name)
        collected.add(its)
    return collected


def read_pod(raw: object, namespace: str) -> Pod:
    """Read what this stage needs of a raw pod; `namespace` is the request's.

    Errors:  MalformedPod, NamespaceMismatch.
    """
    if not isinstance(raw, dict):
        raise MalformedPod("the review carries no object")
    kind, version = raw.get("kind"), raw.get("apiVersion")
    # A typed client may leave out kind and version; another kind is never patched as if it were a pod.
    if kind not in (None, "", "Pod") or version not in (None, "", "v1"):
        raise MalformedPod(
            f"the object is not a v1 Pod: its kind is {quoted(kind)}, its apiVersion {quoted(version)}"
        )
    metadata, spec = _object(raw, "metadata"), _object(raw, "spec")
    pod = Pod(
        namespace=namespace,
        identity=_text(metadata, "name") or _text(metadata, "generateName") + " (prefix)",
        account=_text(spec, "serviceAccountName") or "default",
        labels=_object(metadata, "labels"),
        annotations=_object(metadata, "annotations"),
        spec=spec,
    )
    if raw.get("spec") is None:
        raise MalformedPod(f"{pod} has no spec", field="spec")
    _check_namespace(pod, _text(metadata, "namespace"))
    return pod


def _check_namespace(pod: Pod, named: str) -> None:
    if not pod.namespace:
        raise MalformedPod(
            f"the review of pod {pod.identity} names no namespace", field="namespace"
        )
    # An API server lets no such pod come this far. Whoever sends one wants another namespace's identity.
    if named not in ("", pod.namespace):
        raise NamespaceMismatch(
            f"{pod}: metadata.namespace = {quoted(named)} is not the namespace it is created in",
            object=str(pod),
            value=named[:64],
        )


def quoted(value: object, most: int = 64) -> str:
    """Write a value of the user's so that it shows where it ends, on one line and of bounded length."""
    if isinstance(value, str):
        text = repr(value if len(value) <= most else value[:most] + "…")
        # One sign may be written as ten.
        return text if len(text) <= most + _ESCAPES else f"{text[: most + _ESCAPES]}…{text[-1]}"
    if isinstance(value, list | dict):  # may be deeper than can be written
        return "a list" if isinstance(value, list) else "an object"
    return repr(value)


def _object(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = holder.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedPod(f"{name} is not an object", field=name)
    return value


def _text(holder: Mapping[str, Any], name: str) -> str:
    value = holder.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedPod(f"{name} is not text", field=name)
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a pod and its account ask for, checked and complete.

    Units:   `token_seconds` is 3600 to 86400; `proxy_port` is 1 to 65535, or None for no sidecar.
    """

    client_id: str
    tenant_id: str
    token_seconds: int
    skip_containers: frozenset[str] = frozenset()
    proxy_port: int | None = None
    custom_endpoint: bool = False
