"""The decision: which few operations give a pod its identity.

Pure. What leaves is a JSON patch (RFC 6902) over the object exactly as it came: members are added, or
replaced where they are ours by name, never removed and never written back, so that whatever this version
does not know survives. Paths hold member names of ours and indices only, so no pointer needs escaping.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from podpass import names
from podpass.account.model import (
    MountPathTaken,
    PatchTooLarge,
    Pod,
    Wish,
    names_in,
    objects,
    quoted,
)
from podpass.admission import sidecar
from podpass.settings import WebhookSettings

_SECRETS = frozenset({names.ENV_CLIENT_SECRET, names.ENV_CLIENT_CERTIFICATE})
_DEFAULT_MODE = 420  # what the API server fills in between two passes
# Of what a patch puts into containers. An API server's database keeps no object of this size, and one review
# of a thousand containers whose account has a client id of 200 KB would else take a gigabyte to answer.
MAX_GRAFTED = 2 * 1024 * 1024
_MOUNT_CHARS = 128


class Operation(TypedDict):
    """One operation of a JSON patch; `op` is add or replace."""

    op: str
    path: str
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Graft:
    """What every container gets."""

    env: list[dict[str, str]]
    mount: dict[str, Any]

    @property
    def size(self) -> int:
        """Count about how many signs each container gets."""
        return _MOUNT_CHARS + sum(len(entry["name"]) + len(entry["value"]) for entry in self.env)


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a pod.

    Shapes:  `secrets` are what a container has that SDKs try before the token, as (container, variable).
    """

    operations: list[Operation]
    secrets: list[tuple[str, str]] = field(default_factory=list)


def mutate(pod: Pod, wish: Wish, settings: WebhookSettings) -> Change:
    """Compute the patch that gives a pod what it asked for; empty where it has it already.

    Errors:  MalformedPod, MountPathTaken, PatchTooLarge.
    """
    volume = volume_name(pod)
    mount = {"name": volume, "mountPath": names.MOUNT_PATH, "readOnly": True}
    graft = Graft(env=environment(wish, settings), mount=mount)
    operations: list[Operation] = []
    change = Change(operations)
    room = MAX_GRAFTED // graft.size
    for group in ("initContainers", "containers"):
        for index, container in enumerate(objects(pod.spec, group)):
            if container.get("name", "") not in wish.skip_containers:
                if (room := room - 1) < 0:
                    raise PatchTooLarge(
                        f"{pod} has too many containers for {graft.size} signs in each"
                    )
                # Looked at here, where names are at hand: another look at each costs every pod as much again.
                taken = names_in(container, "env")
                if not _SECRETS.isdisjoint(taken):
                    change.secrets.extend(_secrets(container, taken))
                operations += _equip(pod, container, f"/spec/{group}/{index}", graft, taken)
    if wish.proxy_port is not None:
        operations += _inject_proxy(pod, wish, wish.proxy_port, graft, settings)
    operations += _project(pod, projected_volume(volume, wish, settings))
    return change


def volume_name(pod: Pod) -> str:
    """Name the token's volume after the pod, or as an earlier pass did.

    Another webhook may name the pod between two passes. A second volume would then need a second mount at
    the same path, which the API server refuses; so a projected volume under our prefix is taken over.
    """
    digest = hashlib.sha256(pod.identity.encode("utf-8", "surrogatepass")).hexdigest()
    own = names.VOLUME_PREFIX + digest[:30]
    earlier = [
        str(volume.get("name"))
        for volume in objects(pod.spec, "volumes")
        if str(volume.get("name")).startswith(names.VOLUME_PREFIX) and "projected" in volume
    ]
    return own if own in earlier or not earlier else earlier[0]


def environment(wish: Wish, settings: WebhookSettings) -> list[dict[str, str]]:
    """List the variables of every container, in the reference's order; empty ones are left out."""
    values = {
        names.ENV_CLIENT_ID: wish.client_id,
        names.ENV_TENANT_ID: wish.tenant_id,
        names.ENV_TOKEN_FILE: f"{names.MOUNT_PATH}/{names.TOKEN_PATH}",
        names.ENV_AUTHORITY_HOST: settings.authority_host,
    }
    if wish.custom_endpoint:
        # NOTE: the reference names the CA file even where none is mounted, and beside CA_DATA; every SDK
        # refuses the two together, so the file is named only where the volume holds it.
        has_file = settings.ca_configmap or settings.ca_signer
        values |= {
            names.ENV_TOKEN_PROXY: settings.token_proxy,
            names.ENV_SNI_NAME: settings.sni_name,
            names.ENV_CA_FILE: f"{names.MOUNT_PATH}/{names.CA_PATH}" if has_file else "",
            names.ENV_CA_DATA: settings.ca_data,
        }
    return [{"name": name, "value": value} for name, value in values.items() if value]


def projected_volume(name: str, wish: Wish, settings: WebhookSettings) -> dict[str, Any]:
    """Describe the volume: the token, and the certificate authority of a custom endpoint."""
    custom = wish.custom_endpoint
    token = {
        "path": names.TOKEN_PATH,
        "expirationSeconds": wish.token_seconds,
        "audience": settings.custom_audience if custom else settings.audience,
    }
    sources: list[dict[str, Any]] = [{"serviceAccountToken": token}]
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


def _secrets(container: Mapping[str, Any], taken: set[str | None]) -> list[tuple[str, str]]:
    return [(container.get("name") or "", name) for name in sorted(_SECRETS) if name in taken]


def _equip(
    pod: Pod, container: Mapping[str, Any], where: str, graft: Graft, taken: set[str | None]
) -> list[Operation]:
    """Give one container of the user's the variables it lacks, and the mount."""
    missing = [entry for entry in graft.env if entry["name"] not in taken]
    added = _append(f"{where}/env", container.get("env"), missing)
    return added + _mount(pod, container, where, graft.mount)


def _mount(
    pod: Pod, container: Mapping[str, Any], where: str, desired: dict[str, Any]
) -> list[Operation]:
    where += "/volumeMounts"
    mounts = objects(container, "volumeMounts")
    found: list[Operation] | None = None
    for place, mount in enumerate(mounts):
        if mount.get("name") == desired["name"]:
            if found is None:
                found = _replace(f"{where}/{place}", mount, desired)
        elif mount.get("mountPath") == names.MOUNT_PATH:
            raise MountPathTaken(
                f"{pod}: container {quoted(container.get('name'))} mounts volume"
                f" {quoted(mount.get('name'))} at {names.MOUNT_PATH}, where its token goes",
                hint=f"mount it elsewhere, or list the container in {names.SKIP_CONTAINERS}",
                container=container.get("name"),
                volume=mount.get("name"),
            )
    return found if found is not None else _append(where, mounts, [desired])


def _inject_proxy(
    pod: Pod, wish: Wish, port: int, graft: Graft, settings: WebhookSettings
) -> list[Operation]:
    """Put the migration sidecar first and its init container last, unless they are there.

    Where sidecars are native, both are init containers; else the sidecar leads the ordinary ones.
    """
    group = "initContainers" if settings.native_sidecar else "containers"
    last = _unless_there(pod, "initContainers", sidecar.init_container(port, settings))
    first = _unless_there(pod, group, sidecar.container(port, settings))
    last = [_equipped(container, wish, graft) for container in last]
    first = [_equipped(container, wish, graft) for container in first]
    if settings.native_sidecar and not objects(pod.spec, group):
        return _append(f"/spec/{group}", (), first + last)
    added = _append("/spec/initContainers", objects(pod.spec, "initContainers"), last)
    return added + _prepend(f"/spec/{group}", objects(pod.spec, group), first)


def _unless_there(pod: Pod, group: str, container: dict[str, Any]) -> list[dict[str, Any]]:
    there = any(present.get("name") == container["name"] for present in objects(pod.spec, group))
    return [] if there else [container]


def _equipped(container: dict[str, Any], wish: Wish, graft: Graft) -> dict[str, Any]:
    """Give a container of ours what every container gets, unless the pod skips it by name."""
    if container["name"] in wish.skip_containers:
        return container
    env = container.get("env", []) + graft.env
    return container | {"env": env, "volumeMounts": [graft.mount]}


def _project(pod: Pod, desired: dict[str, Any]) -> list[Operation]:
    volumes = objects(pod.spec, "volumes")
    for place, volume in enumerate(volumes):
        if volume.get("name") == desired["name"]:
            return _replace(f"/spec/volumes/{place}", _without_default(volume), desired)
    return _append("/spec/volumes", volumes, [desired])


def _without_default(volume: Mapping[str, Any]) -> Mapping[str, Any]:
    projected = volume.get("projected")
    if not isinstance(projected, dict) or projected.get("defaultMode") != _DEFAULT_MODE:
        return volume
    rest = {name: value for name, value in projected.items() if name != "defaultMode"}
    return {**volume, "projected": rest}


def _replace(path: str, present: Mapping[str, Any], desired: Mapping[str, Any]) -> list[Operation]:
    return [] if present == desired else [{"op": "replace", "path": path, "value": desired}]


def _append(path: str, present: Any, values: list[Any]) -> list[Operation]:
    if not values:
        return []
    if not present:
        # Adding a member that is null or empty replaces it (RFC 6902, 4.1).
        return [{"op": "add", "path": path, "value": values}]
    return [{"op": "add", "path": f"{path}/-", "value": value} for value in values]


def _prepend(path: str, present: Any, values: list[Any]) -> list[Operation]:
    if not present:
        return _append(path, present, values)
    return [{"op": "add", "path": f"{path}/0", "value": value} for value in values]
