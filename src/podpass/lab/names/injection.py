"""Compute the JSON patch that makes the clients in a pod's containers trust the CA of the cloud.

Pure. Each container gets a read-only mount of the bundle, and a source of variables that precedes its own.
Kubernetes reads sources in order and then the list `env`, and the last value of a name counts: so no value of
the user is ever replaced, whether it comes from `env`, from `valueFrom` or from a ConfigMap that admission
cannot see. Paths contain only fixed names and indices, so no pointer needs escaping.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from podpass.account.model import (
    MountPathTaken,
    PatchTooLarge,
    Pod,
    PodRefused,
    collect_names,
    list_objects,
    quote,
)
from podpass.admission.mutate import PatchOperation
from podpass.lab.names.bundles import BUNDLE, CA, TRUST_STORE
from podpass.names import LOGIN_HOST, VAULT_SUFFIX

# No pod has as many containers; without the limit, a review of empty objects would have a patch of 400 MB.
MAX_CONTAINERS = 2000
MAX_WARNINGS = 10
JAVA_STORE = "truststore.jks"
_JAVA_OPTIONS = "JAVA_TOOL_OPTIONS"
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_NO_PROXY = ("NO_PROXY", "no_proxy")
_AZURE = (LOGIN_HOST, f".{VAULT_SUFFIX}")
NO_PROXY_FIX = f"add {','.join(_AZURE)} to NO_PROXY"
_MIRROR = "kubernetes.io/config.mirror"
_DEFAULT_MODE = 420  # the API server sets this default between two passes


class VolumeNameTaken(PodRefused):
    """The pod has another volume with the name of the bundle's."""

    code = "trust_volume_taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleNames:
    """The names of the bundle's objects, and where it is in containers.

    `bundle` and `environment` are ConfigMaps in the namespace of the pod; `bundle` is also the name of the
    volume.
    """

    bundle: str = "podpass-cloud-trust"
    environment: str = "podpass-cloud-trust-env"
    mount_path: str = "/etc/podpass/trust"


@dataclass(frozen=True, slots=True)
class PodInjection:
    """The patch of a pod, and warnings for its author."""

    operations: list[PatchOperation] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def build_variables(names: BundleNames) -> dict[str, str]:
    """Build the variables that the clients of each language read.

    The data of the ConfigMap `environment`.
    """
    folder = names.mount_path
    bundle = f"{folder}/{BUNDLE}"
    return {
        "SSL_CERT_FILE": bundle,  # OpenSSL, Go, .NET, Rust with native roots, Python's ssl
        "SSL_CERT_DIR": folder,
        "REQUESTS_CA_BUNDLE": bundle,  # Python's requests, and azure-core
        "CURL_CA_BUNDLE": bundle,
        "GIT_SSL_CAINFO": bundle,
        # Node and Deno add it to their own roots.
        "NODE_EXTRA_CA_CERTS": f"{folder}/{CA}",
        "DENO_CERT": f"{folder}/{CA}",
        _JAVA_OPTIONS: _java_options(folder),
    }


def _java_options(folder: str) -> str:
    return (
        f"-Djavax.net.ssl.trustStore={folder}/{TRUST_STORE} -Djavax.net.ssl.trustStoreType=PKCS12"
    )


def inject(pod: Pod, names: BundleNames, *, old: Mapping[str, Any] | None = None) -> PodInjection:
    """Compute the patch of a pod; it is empty if the pod already has everything.

    `old` is the spec before an update that adds ephemeral containers: then only these are changed, because
    the others cannot be. Raises MalformedPod, MountPathTaken, PatchTooLarge, VolumeNameTaken.
    """
    injection = PodInjection()
    if (
        _MIRROR in pod.annotations
    ):  # the kubelet runs it already, and the API server refuses a change
        return injection
    if _get(pod.spec, "os").get("name") == "windows":
        injection.warnings.append(f"{pod} runs Windows, which podpass cloud does not support")
        return injection
    volume = _inject_volume(pod, names)
    if old is not None and volume:
        if any(_list_containers(pod, old)):
            injection.warnings.append(
                f"{pod} is older than podpass cloud, so its debug container does not trust the CA"
            )
        return injection
    for number, (where, container) in enumerate(_list_containers(pod, old)):
        if number >= MAX_CONTAINERS:
            raise PatchTooLarge(f"{pod} has more than {MAX_CONTAINERS} containers")
        injection.operations.extend(_inject_mount(pod, where, container, names))
        injection.operations.extend(_inject_source(where, container, names))
        if len(injection.warnings) < MAX_WARNINGS:
            injection.warnings.extend(_find_conflicts(pod, container, names))
            injection.warnings.extend(_find_proxy(pod, container))
    injection.operations.extend(volume)
    return injection


def _list_containers(
    pod: Pod, old: Mapping[str, Any] | None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    present: set[str | None] = set()
    groups = ["initContainers", "containers", "ephemeralContainers"]
    if old is not None:
        present, groups = collect_names(old, groups[-1]), groups[-1:]
    for group in groups:
        for index, container in enumerate(list_objects(pod.spec, group)):
            if container.get("name") not in present:
                yield f"/spec/{group}/{index}", container


def _inject_mount(
    pod: Pod, where: str, container: Mapping[str, Any], names: BundleNames
) -> list[PatchOperation]:
    mounts = list_objects(container, "volumeMounts")
    for mount in mounts:
        if mount.get("mountPath") == names.mount_path:
            if mount.get("name") == names.bundle:
                return []
            raise MountPathTaken(
                f"{pod}: container {quote(container.get('name'))} mounts volume"
                f" {quote(mount.get('name'))} at {names.mount_path}, the path of the CA bundle",
                hint="mount it at another path",
            )
    desired = {"name": names.bundle, "mountPath": names.mount_path, "readOnly": True}
    return [_insert(f"{where}/volumeMounts", mounts, desired, "-")]


def _inject_source(
    where: str, container: Mapping[str, Any], names: BundleNames
) -> list[PatchOperation]:
    """Insert the variables before all other sources, so that each of these takes precedence."""
    sources = list_objects(container, "envFrom")
    if any(_get(source, "configMapRef").get("name") == names.environment for source in sources):
        return []
    desired = {"configMapRef": {"name": names.environment, "optional": False}}
    return [_insert(f"{where}/envFrom", sources, desired, "0")]


def _insert(path: str, present: Sequence[Any], value: Any, place: str) -> PatchOperation:
    # Adding a member that is null or empty replaces it (RFC 6902, 4.1).
    if not present:
        return {"op": "add", "path": path, "value": [value]}
    return {"op": "add", "path": f"{path}/{place}", "value": value}


def _inject_volume(pod: Pod, names: BundleNames) -> list[PatchOperation]:
    # The API server allows two paths of one key only in two sources.
    store = [{"key": TRUST_STORE, "path": JAVA_STORE}]
    sources = [
        {"configMap": {"name": names.bundle, "optional": False}},
        {"configMap": {"name": names.bundle, "items": store, "optional": False}},
    ]
    desired = {"name": names.bundle, "projected": {"sources": sources}}
    volumes = list_objects(pod.spec, "volumes")
    for volume in volumes:
        if volume.get("name") == names.bundle:
            projected = _get(volume, "projected")
            if projected.get("sources") == sources and set(volume) == set(desired):
                return []
            raise VolumeNameTaken(
                f"{pod} has another volume with the name {names.bundle}",
                hint="give that volume another name",
            )
    return [_insert("/spec/volumes", volumes, desired, "-")]


def _find_conflicts(pod: Pod, container: Mapping[str, Any], names: BundleNames) -> Iterator[str]:
    taken = collect_names(container, "env") & _VARIABLES.keys()
    if not taken:
        return
    who = f"{pod}: container {quote(container.get('name'))}"
    for name in sorted(str(each) for each in taken):
        if name == _JAVA_OPTIONS:
            yield (
                f"{who} sets {name}, which stays as it is, so Java does not trust podpass cloud;"
                f" {fix_own_value(name, names)}"
            )
        else:
            yield (
                f"{who} sets {name}, which stays as it is; its clients trust podpass cloud only if"
                f" that file or folder contains {names.mount_path}/{CA}"
            )


def fix_own_value(name: str, names: BundleNames) -> str:
    """Return what to change in a variable of the user that has the name of one of the bundle's."""
    if name == _JAVA_OPTIONS:
        return f"append {_java_options(names.mount_path).partition(' ')[0]}"
    return f"add {names.mount_path}/{CA} to that file or folder"


def _find_proxy(pod: Pod, container: Mapping[str, Any]) -> Iterator[str]:
    if proxy := find_bypassing_proxy(container):
        yield (
            f"{pod}: container {quote(container.get('name'))} sets {proxy}, and that proxy asks Azure"
            f" itself; {NO_PROXY_FIX}"
        )


def find_bypassing_proxy(container: Mapping[str, Any]) -> str | None:
    """Return the variable of a proxy that resolves Azure's names for the container, None without one.

    That proxy would reach Azure itself.

    Raises MalformedPod.
    """
    values = {each.get("name"): each.get("value") for each in list_objects(container, "env")}
    proxies = [name for name in _PROXIES if values.get(name)]
    if not proxies:
        return None
    excluded = [values[name] for name in _NO_PROXY if name in values]
    known = [value for value in excluded if isinstance(value, str)]
    # A value that comes from elsewhere is unknown.
    if known != excluded or _covers(",".join(known)):
        return None
    return proxies[0]


def _covers(no_proxy: str) -> bool:
    """Return whether a value of NO_PROXY excludes Azure's names that every workload needs."""
    entries = {entry.strip().lower() for entry in no_proxy.split(",")} - {""}
    suffixes = tuple("." + entry.removeprefix("*").lstrip(".") for entry in entries - {"*"})
    return "*" in entries or all(f".{name.lstrip('.')}".endswith(suffixes) for name in _AZURE)


_VARIABLES = build_variables(BundleNames())


def _get(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a member that is an object; empty if it is missing, or of another type."""
    value = holder.get(name)
    return value if isinstance(value, dict) else {}
