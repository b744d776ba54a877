"""Compute the JSON patch that gives a pod its identity.

Pure. The result is a patch (RFC 6902) for the received object: it adds members, and replaces members only
where podpass owns the name. It removes nothing and does not serialize the object again, so fields that this
version does not know stay unchanged. Paths contain only fixed names and indices, so no pointer needs
escaping.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from podpass import names
from podpass.account.model import (
    ENV,
    EnvModeUnavailable,
    MountPathTaken,
    PatchTooLarge,
    Pod,
    PodIdentityConfig,
    collect_names,
    list_objects,
    quote,
)
from podpass.admission import sidecar
from podpass.clouds import find_cloud
from podpass.settings import WebhookSettings
from podpass.settings.webhook import REFERENCE_PROXY_IMAGE

_SECRETS = frozenset({names.ENV_CLIENT_SECRET, names.ENV_CLIENT_CERTIFICATE})
_DEFAULT_MODE = 420  # the API server sets this default between two passes
# The limit of the characters that a patch adds to containers. etcd stores no object of this size. Without the
# limit, one review of a thousand containers whose ServiceAccount has a client ID of 200 KB would need a
# gigabyte of memory.
MAX_INJECTED_BYTES = 2 * 1024 * 1024
_MOUNT_CHARS = 128


class PatchOperation(TypedDict):
    """One operation of a JSON patch; `op` is add or replace."""

    op: str
    path: str
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerInjection:
    """The additions to every container: environment variables and volume mounts.

    `endpoints` are the variables of the mode `env`; `legacy_mount` is None without the path of
    azure-workload-identity before 1.6.0.
    """

    env: list[dict[str, Any]]
    endpoints: list[dict[str, Any]]
    mount: dict[str, Any]
    legacy_mount: dict[str, Any] | None

    @property
    def size(self) -> int:
        """Return the approximate number of characters that the patch adds to each container."""
        variables = [*self.env, *self.endpoints]
        return _MOUNT_CHARS * 2 + sum(
            len(entry["name"]) + len(entry.get("value", "")) for entry in variables
        )


@dataclass(frozen=True, slots=True)
class PodMutation:
    """The patch of a pod, and findings for warnings.

    `secrets` lists credentials that SDKs try before the token, as (container, variable); `conflicts` lists
    settings of a container that are kept instead of the webhook's, as (code of the warning, container,
    variable or path); `authorities` are the token services of containers that do not use the webhook's, as
    (container, value of the variable).
    """

    operations: list[PatchOperation]
    secrets: list[tuple[str, str]] = field(default_factory=list)
    conflicts: list[tuple[str, str, str]] = field(default_factory=list)
    authorities: list[tuple[str, str]] = field(default_factory=list)


def mutate(pod: Pod, config: PodIdentityConfig, settings: WebhookSettings) -> PodMutation:
    """Compute the patch of a pod; it is empty if the pod already has everything.

    Raises MalformedPod, EnvModeUnavailable, MountPathTaken, PatchTooLarge.
    """
    volume = choose_volume_name(pod, config)
    injection = _build_injection(pod, volume, config, settings)
    operations: list[PatchOperation] = []
    mutation = PodMutation(operations)
    budget = MAX_INJECTED_BYTES // injection.size
    for group in ("initContainers", "containers"):
        # Without native sidecars, init containers end before the sidecar starts.
        reaches_sidecar = group == "containers" or settings.native_sidecar
        for index, container in enumerate(list_objects(pod.spec, group)):
            if container.get("name", "") not in config.skip_containers:
                if (budget := budget - 1) < 0:
                    raise PatchTooLarge(
                        f"{pod} has too many containers for {injection.size} characters in each"
                    )
                # Checked in this loop, because a second loop would double the time.
                present_names = collect_names(container, "env")
                if not _SECRETS.isdisjoint(present_names):
                    mutation.secrets.extend(_find_secrets(container, present_names))
                if names.ENV_AUTHORITY_HOST in present_names and (
                    other := _find_other_authority(container, settings.authority_host)
                ):
                    name = container.get("name") or ""
                    mutation.conflicts.append(("authority_set", name, settings.authority_host))
                    mutation.authorities.append((name, other))
                where = f"/spec/{group}/{index}"
                missing = [each for each in injection.env if each["name"] not in present_names]
                if reaches_sidecar:
                    missing += _endpoints(container, injection, present_names, mutation)
                operations += _append(f"{where}/env", container.get("env"), missing)
                operations += _inject_mounts(pod, container, where, injection, mutation)
    if config.proxy_port is not None:
        operations += _inject_proxy(pod, config, config.proxy_port, injection, settings)
    operations += _inject_volume(pod, build_volume(volume, config, settings))
    return mutation


def _build_injection(
    pod: Pod, volume: str, config: PodIdentityConfig, settings: WebhookSettings
) -> ContainerInjection:
    mount = {"name": volume, "mountPath": names.MOUNT_PATH, "readOnly": True}
    endpoints: list[dict[str, Any]] = []
    if config.proxy_port is not None and config.proxy_mode == ENV:
        if settings.proxy_image == REFERENCE_PROXY_IMAGE:
            raise EnvModeUnavailable(
                f"{pod} requests the proxy mode env, which the image {settings.proxy_image} does not serve"
            )
        endpoints = sidecar.build_endpoint_variables(config.proxy_port, settings)
    return ContainerInjection(
        env=build_environment(config, settings),
        endpoints=endpoints,
        mount=mount,
        legacy_mount=mount | {"mountPath": names.LEGACY_MOUNT_PATH} if config.legacy_path else None,
    )


def choose_volume_name(pod: Pod, config: PodIdentityConfig) -> str:
    """Return the name of the token's volume: that of an earlier pass, or derived from the pod's name.

    Another webhook may set the pod's name between two passes. A second volume would need a second mount at
    the same path, which the API server refuses. So an existing projected volume with the reserved prefix is
    reused: of several, the one that is mounted at the token's path, or the first. The pod's name does not
    decide between them, because it may be new.
    """
    earlier = [
        str(volume.get("name"))
        for volume in list_objects(pod.spec, "volumes")
        if str(volume.get("name")).startswith(names.VOLUME_PREFIX) and "projected" in volume
    ]
    if len(earlier) > 1:
        # The volumes that containers mount at the token's path. Skipped containers do not count.
        mounted = {
            mount.get("name")
            for group in ("initContainers", "containers")
            for container in list_objects(pod.spec, group)
            if container.get("name", "") not in config.skip_containers
            for mount in list_objects(container, "volumeMounts")
            if mount.get("mountPath") == names.MOUNT_PATH
        }
        return next((name for name in earlier if name in mounted), earlier[0])
    digest = hashlib.sha256(pod.identity.encode("utf-8", "surrogatepass")).hexdigest()
    return earlier[0] if earlier else names.VOLUME_PREFIX + digest[:30]


def build_environment(config: PodIdentityConfig, settings: WebhookSettings) -> list[dict[str, Any]]:
    """Build the variables of every container in azure-workload-identity's order; omit empty ones."""
    values = {
        names.ENV_CLIENT_ID: config.client_id,
        names.ENV_TENANT_ID: config.tenant_id,
        names.ENV_TOKEN_FILE: f"{names.MOUNT_PATH}/{names.TOKEN_PATH}",
        names.ENV_AUTHORITY_HOST: settings.authority_host,
    }
    if config.custom_endpoint:
        # NOTE: azure-workload-identity sets CA_FILE even if no file is mounted, and together with CA_DATA.
        # Every SDK refuses the two together, so CA_FILE is set only where the volume contains the file.
        has_file = settings.ca_configmap or settings.ca_signer
        values |= {
            names.ENV_TOKEN_PROXY: settings.token_proxy,
            names.ENV_SNI_NAME: settings.sni_name,
            names.ENV_CA_FILE: f"{names.MOUNT_PATH}/{names.CA_PATH}" if has_file else "",
            names.ENV_CA_DATA: settings.ca_data,
        }
    return [{"name": name, "value": value} for name, value in values.items() if value]


def build_volume(name: str, config: PodIdentityConfig, settings: WebhookSettings) -> dict[str, Any]:
    """Build the projected volume: the token, and the CA certificate of a custom token endpoint."""
    custom = config.custom_endpoint
    token = {
        "path": names.TOKEN_PATH,
        "expirationSeconds": config.token_seconds,
        "audience": settings.custom_audience if custom else settings.audience,
    }
    sources: list[dict[str, Any]] = [{"serviceAccountToken": token}]
    if config.legacy_path:
        # A second source in the same volume: a mount with subPath would never show a renewed token.
        sources.append({"serviceAccountToken": token | {"path": names.LEGACY_TOKEN_FILE}})
    if custom and settings.ca_configmap:
        items = [{"key": "ca.crt", "path": names.CA_PATH}]
        source = {"name": settings.ca_configmap, "items": items, "optional": False}
        sources.append({"configMap": source})
    if custom and settings.ca_signer:
        bundle: dict[str, Any] = {"signerName": settings.ca_signer}
        if settings.ca_selector is not None:
            bundle["labelSelector"] = settings.ca_selector
        bundle |= {"path": names.CA_PATH, "optional": False}
        sources.append({"clusterTrustBundle": bundle})
    return {"name": name, "projected": {"sources": sources}}


def _find_secrets(
    container: Mapping[str, Any], present_names: set[str | None]
) -> list[tuple[str, str]]:
    return [
        (container.get("name") or "", name) for name in sorted(_SECRETS) if name in present_names
    ]


def _find_other_authority(container: Mapping[str, Any], own: str) -> str:
    """Return the token service that a container sets instead of the webhook's; empty if it is the same."""
    given = next(
        each.get("value")
        for each in container["env"]
        if each.get("name") == names.ENV_AUTHORITY_HOST
    )
    if not given or not isinstance(given, str) or given.rstrip("/") == own.rstrip("/"):
        return ""
    clouds = [find_cloud(each.rpartition("//")[2].rstrip("/").lower()) for each in (given, own)]
    is_same = given.startswith("https://") and clouds[0] is not None and clouds[0] is clouds[1]
    return "" if is_same else given


def _endpoints(
    container: Mapping[str, Any],
    injection: ContainerInjection,
    present_names: set[str | None],
    mutation: PodMutation,
) -> list[dict[str, Any]]:
    """Return the variables of the mode `env` for a container: all, or none if it has one of them."""
    name = container.get("name") or ""
    if not injection.endpoints or name in sidecar.CONTAINERS:
        return []
    if sidecar.ENDPOINT_VARIABLES.isdisjoint(present_names):
        return injection.endpoints
    for entry in container["env"]:
        if entry.get("name") in sidecar.ENDPOINT_VARIABLES and not sidecar.is_own(
            entry, injection.endpoints
        ):
            mutation.conflicts.append(("endpoint_set", name, entry["name"]))
            break
    return []


def _inject_mounts(
    pod: Pod,
    container: Mapping[str, Any],
    where: str,
    injection: ContainerInjection,
    mutation: PodMutation,
) -> list[PatchOperation]:
    where += "/volumeMounts"
    desired, legacy = injection.mount, injection.legacy_mount
    mounts = list_objects(container, "volumeMounts")
    found: list[PatchOperation] | None = None
    for place, mount in enumerate(mounts):
        if legacy is not None and mount.get("mountPath") == names.LEGACY_MOUNT_PATH:
            legacy = None
            if mount.get("name") != desired["name"]:
                what = "legacy_path_taken", container.get("name") or "", names.LEGACY_MOUNT_PATH
                mutation.conflicts.append(what)
        elif mount.get("name") == desired["name"]:
            if found is None:
                found = _replace(f"{where}/{place}", mount, desired)
        elif mount.get("mountPath") == names.MOUNT_PATH:
            raise MountPathTaken(
                f"{pod}: container {quote(container.get('name'))} mounts volume"
                f" {quote(mount.get('name'))} at {names.MOUNT_PATH}, the path of its token",
                hint=f"mount it at another path, or list the container in {names.SKIP_CONTAINERS}",
                container=container.get("name"),
                volume=mount.get("name"),
            )
    missing = [] if legacy is None else [legacy]
    if found is None:
        return _append(where, mounts, [desired, *missing])
    return found + _append(where, mounts, missing)


def _inject_proxy(
    pod: Pod,
    config: PodIdentityConfig,
    port: int,
    injection: ContainerInjection,
    settings: WebhookSettings,
) -> list[PatchOperation]:
    """Insert the migration sidecar first and its init container last, unless the pod has them.

    With native sidecars, both are init containers. Otherwise the sidecar is the first ordinary container. The
    mode `env` has no init container.
    """
    group, mode = "initContainers" if settings.native_sidecar else "containers", config.proxy_mode
    last: list[dict[str, Any]] = []
    if mode != ENV:
        last = _list_if_missing(pod, "initContainers", sidecar.build_init_container(port, settings))
    first = _list_if_missing(pod, group, sidecar.build_container(port, mode, settings))
    last = [_inject_own_container(container, config, injection) for container in last]
    first = [_inject_own_container(container, config, injection) for container in first]
    if settings.native_sidecar and not list_objects(pod.spec, group):
        return _append(f"/spec/{group}", (), first + last)
    added = _append("/spec/initContainers", list_objects(pod.spec, "initContainers"), last)
    return added + _prepend(f"/spec/{group}", list_objects(pod.spec, group), first)


def _list_if_missing(pod: Pod, group: str, container: dict[str, Any]) -> list[dict[str, Any]]:
    there = any(
        present.get("name") == container["name"] for present in list_objects(pod.spec, group)
    )
    return [] if there else [container]


def _inject_own_container(
    container: dict[str, Any], config: PodIdentityConfig, injection: ContainerInjection
) -> dict[str, Any]:
    """Add variables and mount to a container of the sidecar, unless the pod skips it by name."""
    if container["name"] in config.skip_containers:
        return container
    env = container.get("env", []) + injection.env
    mounts = [mount for mount in (injection.mount, injection.legacy_mount) if mount is not None]
    return container | {"env": env, "volumeMounts": mounts}


def _inject_volume(pod: Pod, desired: dict[str, Any]) -> list[PatchOperation]:
    volumes = list_objects(pod.spec, "volumes")
    for place, volume in enumerate(volumes):
        if volume.get("name") == desired["name"]:
            return _replace(f"/spec/volumes/{place}", _drop_default_mode(volume), desired)
    return _append("/spec/volumes", volumes, [desired])


def _drop_default_mode(volume: Mapping[str, Any]) -> Mapping[str, Any]:
    projected = volume.get("projected")
    if not isinstance(projected, dict) or projected.get("defaultMode") != _DEFAULT_MODE:
        return volume
    rest = {name: value for name, value in projected.items() if name != "defaultMode"}
    return {**volume, "projected": rest}


def _replace(
    path: str, present: Mapping[str, Any], desired: Mapping[str, Any]
) -> list[PatchOperation]:
    return [] if present == desired else [{"op": "replace", "path": path, "value": desired}]


def _append(path: str, present: Any, values: list[Any]) -> list[PatchOperation]:
    if not values:
        return []
    if not present:
        # Adding a member that is null or empty replaces it (RFC 6902, 4.1).
        return [{"op": "add", "path": path, "value": values}]
    return [{"op": "add", "path": f"{path}/-", "value": value} for value in values]


def _prepend(path: str, present: Any, values: list[Any]) -> list[PatchOperation]:
    if not present:
        return _append(path, present, values)
    return [{"op": "add", "path": f"{path}/0", "value": value} for value in values]
