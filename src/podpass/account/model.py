"""Data types of stage 1: the pod, its ServiceAccount, and the parsed configuration.

The input is JSON that an API server has accepted, perhaps of another version. Invalid structure is refused
here, so that later code need not check it again. Nothing is serialized back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from podpass.errors import Error

# How requests for the metadata address reach the migration sidecar: by redirection, or by variables.
IPTABLES, ENV = PROXY_MODES = ("iptables", "env")
_NAME = (str, type(None))
_ESCAPES = 40  # the maximum number of characters that escapes add to a value


class PodRefused(Error):
    """The pod cannot get its identity; the API server does not create it."""

    code = "pod_refused"
    status = 400


class MalformedPod(PodRefused):
    """The object is not a valid v1 Pod."""

    code = "malformed_pod"
    hint = "send a v1 Pod as the API server serializes it"


class NamespaceMismatch(PodRefused):
    """The pod names another namespace than the request, so its ServiceAccount is ambiguous."""

    code = "namespace_mismatch"
    hint = "omit metadata.namespace, or set it to the namespace the pod is created in"


class BadAnnotation(PodRefused):
    """The value of an annotation is invalid or out of range."""

    code = "bad_annotation"


class ProxyOnHostNetwork(PodRefused):
    """With the host network, the sidecar would serve every process of the node, not the pod alone."""

    code = "proxy_on_host_network"


class EnvModeUnavailable(PodRefused):
    """The webhook injects the sidecar of azure-workload-identity, which does not serve the mode env."""

    code = "env_mode_unavailable"
    hint = "set PROXY_IMAGE of the webhook (proxyImage of the chart) to an image of podpass"


class MountPathTaken(PodRefused):
    """A container mounts another volume at the path of the token."""

    code = "mount_path_taken"


class PatchTooLarge(PodRefused):
    """The patch for all containers is larger than an object that an API server can store."""

    code = "patch_too_large"
    hint = "give it fewer containers, or correct the annotations of its ServiceAccount"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """A ServiceAccount with its relevant annotations."""

    namespace: str
    name: str
    annotations: Mapping[str, str]

    def __str__(self) -> str:
        return f"ServiceAccount {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod as the API server sent it.

    `identity` is the name, or `<generateName> (prefix)` if it has no name yet; `account` is the
    ServiceAccount's name, `default` if the pod names none; `spec` is the raw object.
    """

    namespace: str
    identity: str
    account: str
    labels: Mapping[str, Any] = field(default_factory=dict)
    annotations: Mapping[str, Any]
    spec: Mapping[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return f"Pod {self.namespace}/{self.identity}"


def list_objects(holder: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    """Return a member that is a list of named objects; empty if the member is missing or null.

    Raises MalformedPod, naming the member.
    """
    found = holder.get(name)
    if found is None:
        return ()
    if not isinstance(found, list):
        raise MalformedPod(f"{name} is not a list", field=name)
    for entry in found:
        # None is allowed, no other type: a list as a name would break `collect_names`.
        if not isinstance(entry, dict) or not isinstance(entry.get("name", ""), _NAME):
            raise MalformedPod(f"{name} is not a list of named objects", field=name)
    return found


def collect_names(holder: Mapping[str, Any], name: str) -> set[str | None]:
    """Return the names in a list of named objects, with the checks of `list_objects`, in one loop, for speed.

    Raises MalformedPod, naming the member.
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


def parse_pod(raw: object, namespace: str) -> Pod:
    """Parse the relevant parts of a raw pod; `namespace` is that of the request.

    Raises MalformedPod, NamespaceMismatch.
    """
    if not isinstance(raw, dict):
        raise MalformedPod("the review has no object")
    kind, version = raw.get("kind"), raw.get("apiVersion")
    # A typed client may omit kind and version; an object of another kind is never patched.
    if kind not in (None, "", "Pod") or version not in (None, "", "v1"):
        raise MalformedPod(
            f"the object is not a v1 Pod: its kind is {quote(kind)}, its apiVersion {quote(version)}"
        )
    metadata, spec = _get_object(raw, "metadata"), _get_object(raw, "spec")
    pod = Pod(
        namespace=namespace,
        identity=_get_text(metadata, "name") or _get_text(metadata, "generateName") + " (prefix)",
        account=_get_text(spec, "serviceAccountName") or "default",
        labels=_get_object(metadata, "labels"),
        annotations=_get_object(metadata, "annotations"),
        spec=spec,
    )
    if raw.get("spec") is None:
        raise MalformedPod(f"{pod} has no spec", field="spec")
    named = _get_text(metadata, "namespace")
    if not pod.namespace:
        raise MalformedPod(f"the review of pod {pod.identity} has no namespace", field="namespace")
    # An API server never sends such a pod. Another client could request the identity of another namespace.
    if named not in ("", pod.namespace):
        raise NamespaceMismatch(
            f"{pod}: metadata.namespace = {quote(named)} is not the namespace it is created in",
            object=str(pod),
            value=named[:64],
        )
    return pod


def quote(value: object, max_chars: int = 64) -> str:
    """Format a user's value in quotes, on one line and of bounded length."""
    if isinstance(value, str):
        text = repr(value if len(value) <= max_chars else value[:max_chars] + "…")
        # An escaped character may need ten characters.
        limit = max_chars + _ESCAPES
        return text if len(text) <= limit else f"{text[:limit]}…{text[-1]}"
    if isinstance(value, list | dict):  # may be nested too deeply for repr()
        return "a list" if isinstance(value, list) else "an object"
    return repr(value)


def _get_object(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = holder.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedPod(f"{name} is not an object", field=name)
    return value


def _get_text(holder: Mapping[str, Any], name: str) -> str:
    value = holder.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedPod(f"{name} is not text", field=name)
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class PodIdentityConfig:
    """The validated configuration of a pod's identity, with all defaults.

    `proxy_mode` is `iptables` or `env`; with `legacy_path`, the token is also at its path before
    azure-workload-identity 1.6.0. Units: `token_seconds` is 3600 to 86400; `proxy_port` is 1 to 65535, or
    None for no sidecar.
    """

    client_id: str
    tenant_id: str
    token_seconds: int
    skip_containers: frozenset[str] = frozenset()
    proxy_port: int | None = None
    proxy_mode: str = IPTABLES
    custom_endpoint: bool = False
    legacy_path: bool = False
