"""A pod's volumes on this machine: made before its containers start, kept current while they run."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from podpass.clock import Clock
from podpass.files import private_folder
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.kubelet import atomic_writer, volume_sources
from podpass.kubernetes.kubelet.downward_api import NodeFacts
from podpass.kubernetes.kubelet.environment import SECRET, Found, Source
from podpass.kubernetes.kubelet.token_manager import PodTokens
from podpass.kubernetes.kubelet.volume_sources import Material, VolumeError

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


async def fetch(client: KubeClient, namespace: str, wanted: Iterable[Source]) -> Found:
    """Read ConfigMaps and Secrets; None stands for one that does not exist.

    Errors:  KubeError for anything but 404.
    """
    found: dict[Source, Mapping[str, Any] | None] = {}
    for kind, name in sorted(wanted):
        path = f"/api/v1/namespaces/{namespace}/{_PLURALS.get(kind, 'configmaps')}/{name}"
        try:
            found[kind, name] = await client.get(path)
        except KubeError as exc:
            if exc.status != 404:
                raise
            found[kind, name] = None
    return found


class Volumes:
    """The volumes of one pod, each a folder (or, for hostPath, what is there)."""

    def __init__(
        self,
        client: KubeClient,
        pod: Mapping[str, Any],
        folder: Path,
        node: NodeFacts,
        clock: Clock,
    ) -> None:
        self._client, self._folder, self._node = client, folder, node
        self._tokens = PodTokens(client, pod, clock)
        self._clock = clock
        self.paths: dict[str, Path] = {}

    @property
    def renew_at(self) -> float | None:
        """When a token has to be renewed (epoch seconds)."""
        return self._tokens.renew_at

    async def set_up(self, pod: Mapping[str, Any]) -> None:
        """Make every volume.

        Errors:  VolumeError, with the volume's name in it.
        """
        private_folder(self._folder)
        for volume in pod["spec"].get("volumes") or []:
            try:
                self.paths[volume["name"]] = await self._make(volume, pod)
            except (VolumeError, KubeError, OSError, atomic_writer.UnsafePath) as exc:
                raise VolumeError(
                    f'MountVolume.SetUp failed for volume "{volume["name"]}" : {_words(exc)}',
                    volume=volume["name"],
                ) from exc

    async def refresh(self, pod: Mapping[str, Any]) -> None:
        """Bring volumes made from objects up to date; one that fails keeps its files.

        Errors:  none; failures are logged.
        """
        for volume in pod["spec"].get("volumes") or []:
            if volume["name"] in self.paths and volume_sources.parts(volume):
                try:
                    await self._make(volume, pod)
                except (VolumeError, KubeError, OSError, atomic_writer.UnsafePath) as exc:
                    facts = {"volume": volume["name"], "pod": pod["metadata"]["name"]}
                    _log.warning("volume_not_refreshed", extra={**facts, "cause": _words(exc)})

    async def _make(self, volume: Mapping[str, Any], pod: Mapping[str, Any]) -> Path:
        folder = Path(self._folder, volume["name"])
        if "hostPath" in volume:
            return _host_path(volume["hostPath"])
        if "emptyDir" in volume:
            folder.mkdir(exist_ok=True)
            folder.chmod(_EMPTY_DIR_MODE)
            return folder
        if not volume_sources.parts(volume) and "projected" not in volume:
            kinds = ", ".join(sorted(volume.keys() - {"name"})) or "nothing"
            raise VolumeError(f"volumes of kind {kinds} are not supported")
        atomic_writer.write(
            folder, volume_sources.render(volume, await self._material(volume, pod))
        )
        return folder

    async def _material(self, volume: Mapping[str, Any], pod: Mapping[str, Any]) -> Material:
        namespace = pod["metadata"]["namespace"]
        return Material(
            pod=pod,
            found=await fetch(self._client, namespace, volume_sources.sources(volume)),
            tokens={
                wanted: (await self._tokens.get(wanted)).reveal().encode()
                for wanted in volume_sources.wanted_tokens(volume)
            },
            node=self._node,
        )


def _host_path(source: Mapping[str, Any]) -> Path:
    path, kind = Path(source["path"]), str(source.get("type") or "")
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        path.touch(exist_ok=True)
    elif kind and not _HOST_KINDS[kind](path):
        raise VolumeError(f"hostPath type check failed: {path} is not a {kind}")
    return path


def _words(exc: Exception) -> str:
    if isinstance(exc, OSError):
        return exc.strerror or type(exc).__name__
    return str(exc)
