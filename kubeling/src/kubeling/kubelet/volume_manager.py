"""Set up the volumes of a pod before its containers start, and refresh them while they run."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kubeling.api import Api, ApiError
from kubeling.clock import Clock
from kubeling.files import create_private_folder
from kubeling.kubelet import atomic_writer, volume_sources
from kubeling.kubelet.downward_api import NodeInfo
from kubeling.kubelet.environment import SECRET, FetchedObjects, ObjectReference
from kubeling.kubelet.token_manager import TokenManager
from kubeling.kubelet.volume_sources import VolumeError, VolumeInputs

_log = logging.getLogger(__name__)

_PLURALS = {SECRET: "secrets"}
_EMPTY_DIR_MODE = 0o777
_HOST_KINDS = {
    "Directory": Path.is_dir,
    "File": Path.is_file,
    "Socket": Path.is_socket,
    "CharDevice": Path.is_char_device,
    "BlockDevice": Path.is_block_device,
}


async def fetch_objects(
    client: Api, namespace: str, references: Iterable[ObjectReference]
) -> FetchedObjects:
    """Read ConfigMaps and Secrets; return None for an object that does not exist.

    Raises ApiError: a status other than 404.
    """
    found: dict[ObjectReference, Mapping[str, Any] | None] = {}
    for kind, name in sorted(references):
        path = f"/api/v1/namespaces/{namespace}/{_PLURALS.get(kind, 'configmaps')}/{name}"
        try:
            found[kind, name] = await client.get(path)
        except ApiError as exc:
            if exc.status != 404:
                raise
            found[kind, name] = None
    return found


class VolumeManager:
    """The volumes of one pod: each is a folder, or a path of the host for hostPath."""

    def __init__(
        self,
        client: Api,
        pod: Mapping[str, Any],
        folder: Path,
        claims: Path,
        node: NodeInfo,
        clock: Clock,
    ) -> None:
        self._client, self._folder, self._node = client, folder, node
        self._claims = claims
        self._tokens = TokenManager(client, pod, clock)
        self._clock = clock
        self.paths: dict[str, Path] = {}

    @property
    def renew_at(self) -> float | None:
        """Return the time at which the first token must be renewed, in epoch seconds."""
        return self._tokens.renew_at

    async def set_up(self, pod: Mapping[str, Any]) -> None:
        """Set up every volume. Raises VolumeError, naming the volume."""
        create_private_folder(self._folder)
        for volume in pod["spec"].get("volumes") or []:
            try:
                self.paths[volume["name"]] = await self._set_up_volume(volume, pod)
            except (VolumeError, ApiError, OSError, atomic_writer.UnsafePath) as exc:
                raise VolumeError(
                    f'MountVolume.SetUp failed for volume "{volume["name"]}" : {_message(exc)}',
                    volume=volume["name"],
                ) from exc

    async def refresh(self, pod: Mapping[str, Any]) -> None:
        """Update the volumes that depend on objects; a volume that fails keeps its files.

        Failures are logged.
        """
        for volume in pod["spec"].get("volumes") or []:
            if volume["name"] in self.paths and volume_sources.sources_by_kind(volume):
                try:
                    await self._set_up_volume(volume, pod)
                except (VolumeError, ApiError, OSError, atomic_writer.UnsafePath) as exc:
                    facts = {"volume": volume["name"], "pod": pod["metadata"]["name"]}
                    _log.warning("volume_refresh_failed", extra={**facts, "cause": _message(exc)})

    async def _set_up_volume(self, volume: Mapping[str, Any], pod: Mapping[str, Any]) -> Path:
        folder = Path(self._folder, volume["name"])
        if "hostPath" in volume:
            return _prepare_host_path(volume["hostPath"], folder)
        if "emptyDir" in volume:
            folder.mkdir(exist_ok=True)
            folder.chmod(_EMPTY_DIR_MODE)
            return folder
        if "persistentVolumeClaim" in volume:
            return await self._set_up_claim(volume["persistentVolumeClaim"]["claimName"], pod)
        if not volume_sources.sources_by_kind(volume) and "projected" not in volume:
            kinds = ", ".join(sorted(volume.keys() - {"name"})) or "nothing"
            raise VolumeError(f"volumes of kind {kinds} are not supported")
        atomic_writer.write(
            folder, volume_sources.render_files(volume, await self._fetch_inputs(volume, pod))
        )
        return folder

    async def _set_up_claim(self, name: str, pod: Mapping[str, Any]) -> Path:
        """Create the folder of a PersistentVolumeClaim; it remains when the pod is deleted."""
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/persistentvolumeclaims/{name}"
        try:
            claim = await self._client.get(path)
        except ApiError as exc:
            if exc.status != 404:
                raise
            raise VolumeError(f'persistentvolumeclaim "{name}" not found') from exc
        create_private_folder(self._claims)
        folder = Path(self._claims, claim["metadata"]["uid"])
        folder.mkdir(exist_ok=True)
        folder.chmod(_EMPTY_DIR_MODE)
        return folder

    async def _fetch_inputs(
        self, volume: Mapping[str, Any], pod: Mapping[str, Any]
    ) -> VolumeInputs:
        namespace = pod["metadata"]["namespace"]
        return VolumeInputs(
            pod=pod,
            found=await fetch_objects(
                self._client, namespace, volume_sources.referenced_objects(volume)
            ),
            tokens={
                projection: (await self._tokens.get(projection)).reveal().encode()
                for projection in volume_sources.token_projections(volume)
            },
            node=self._node,
        )


def _prepare_host_path(source: Mapping[str, Any], folder: Path) -> Path:
    path, kind = Path(source["path"]), str(source.get("type") or "")
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        path.touch(exist_ok=True)
    elif kind and not _HOST_KINDS[kind](path):
        raise VolumeError(f"hostPath type check failed: {path} is not a {kind}")
    elif not path.exists():
        # containerd creates a missing path on the host; here the pod gets an empty folder of its own.
        folder.mkdir(exist_ok=True)
        return folder
    return path


def _message(exc: Exception) -> str:
    if isinstance(exc, OSError):
        return exc.strerror or type(exc).__name__
    return str(exc)
