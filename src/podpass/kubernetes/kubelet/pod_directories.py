"""Everything a container needs to start: its program, variables, mounts and folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from podpass.files import private_folder
from podpass.kubernetes.kubelet import environment, programs
from podpass.kubernetes.kubelet.context import Host
from podpass.kubernetes.kubelet.environment import ConfigError, expand
from podpass.kubernetes.kubelet.process import (
    CONTAINER_VARIABLE,
    RUNTIME_VARIABLE,
    CannotStart,
)
from podpass.kubernetes.kubelet.sandbox import Launch, Mount
from podpass.kubernetes.kubelet.volume_manager import fetch
from podpass.kubernetes.kubelet.volume_sources import CONTENT_KINDS

DEFAULT_MESSAGE_PATH = "/dev/termination-log"

_HOST_NAME_LENGTH = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A container ready to start, and to have further commands run beside it."""

    launch: Launch
    mounts: Sequence[Mount]
    workdir: str
    message_file: Path
    search: str = field(repr=False)

    def beside(self, command: Sequence[str], mark: str) -> "Prepared":
        """Prepare another command in the same surroundings, under a mark of its own.

        Errors:  CannotStart.
        """
        program = locate(command[0], self.search, self.mounts)
        beneath = {**self.launch.beneath, CONTAINER_VARIABLE: mark}
        launch = replace(self.launch, argv=[program, *command[1:]], beneath=beneath)
        return replace(self, launch=launch)


async def prepare(
    host: Host,
    pod: Mapping[str, Any],
    container: Mapping[str, Any],
    volumes: Mapping[str, Path],
    container_id: str,
) -> Prepared:
    """Gather what a container needs.

    Errors:  ConfigError, ImageUnavailable, CannotStart, KubeError.
    """
    folder = pod_folder(host, pod)
    wanted = environment.sources(container)
    found = await fetch(host.client, pod["metadata"]["namespace"], wanted)
    values = environment.variables(container, pod, found, host.node, host.services)
    image = None if container.get("command") else _image(host, container)
    argv = environment.command_line(container, values, image)
    message_file = _message_file(folder, container)
    mounts = _mounts(pod, container, volumes, values)
    target = container.get("terminationMessagePath") or DEFAULT_MESSAGE_PATH
    mounts.append(Mount(source=message_file, target=target, read_only=False))
    beneath = _beneath(host, pod, folder, container_id, mounts)
    search = values.get("PATH") or beneath["PATH"]
    argv[0] = locate(argv[0], search, mounts)
    launch = Launch(argv=argv, env=values, cwd=folder / "home", beneath=beneath)
    return Prepared(
        launch=launch,
        mounts=mounts,
        workdir=container.get("workingDir") or "",
        message_file=message_file,
        search=search,
    )


def pod_folder(host: Host, pod: Mapping[str, Any]) -> Path:
    return Path(host.folder, pod["metadata"]["uid"])


def _image(host: Host, container: Mapping[str, Any]) -> tuple[str, ...]:
    policy = str(container.get("imagePullPolicy") or "")
    return host.images.command_for(container.get("image") or "", policy)


def _message_file(folder: Path, container: Mapping[str, Any]) -> Path:
    """Make the empty file in which a container may say why it ended."""
    path = Path(folder, "messages", container["name"])
    private_folder(path.parent)
    path.write_bytes(b"")
    return path


def _mounts(
    pod: Mapping[str, Any],
    container: Mapping[str, Any],
    volumes: Mapping[str, Path],
    values: Mapping[str, str],
) -> list[Mount]:
    kinds = {volume["name"]: volume for volume in pod["spec"].get("volumes") or []}
    found: list[Mount] = []
    for wanted in container.get("volumeMounts") or []:
        name = wanted["name"]
        if name not in volumes:
            raise ConfigError(f'volume "{name}" is not mounted')
        made_from_objects = any(kind in kinds[name] for kind in CONTENT_KINDS)
        sub = wanted.get("subPath") or expand(wanted.get("subPathExpr") or "", values)
        found.append(
            Mount(
                source=_below(volumes[name], sub, create=not made_from_objects),
                target=wanted["mountPath"].rstrip("/") or "/",
                read_only=bool(wanted.get("readOnly")) or made_from_objects,
            )
        )
    return found


def _below(volume: Path, sub: str, *, create: bool) -> Path:
    """Find a place inside a volume; a link in it must not lead out."""
    if not sub:
        return volume
    place = (volume / sub).resolve()
    if not place.is_relative_to(volume.resolve()):
        raise ConfigError(f"subPath {sub!r} leads out of its volume")
    if create and not place.exists():
        place.mkdir(parents=True)
    if not place.exists():
        raise ConfigError(f"subPath {sub!r} does not exist in its volume")
    return place


def _beneath(
    host: Host, pod: Mapping[str, Any], folder: Path, container_id: str, mounts: Sequence[Mount]
) -> dict[str, str]:
    """Make the variables that yield to whatever the pod sets; of the host's own, none but these."""
    for name in ("home", "tmp"):
        private_folder(folder / name)
    name = pod["spec"].get("hostname") or pod["metadata"]["name"]
    values = {
        **host.environment,
        "PATH": programs.search_path(host.path),
        "HOME": str(folder / "home"),
        "HOSTNAME": name[:_HOST_NAME_LENGTH],
        RUNTIME_VARIABLE: host.mark,
        CONTAINER_VARIABLE: container_id,
    }
    if not any(mount.target == "/tmp" for mount in mounts):  # noqa: S108 a volume of the pod's
        values["TMPDIR"] = str(folder / "tmp")
    return values


def locate(program: str, search: str, mounts: Sequence[Mount]) -> str:
    """Find a program as the host names it, or in a volume as the container does.

    Errors:  CannotStart.
    """
    if _mounted(program, mounts):
        return program
    if found := programs.find(program, search):
        return found
    raise CannotStart(f'exec: "{program}": executable file not found in $PATH', program=program)


def _mounted(program: str, mounts: Sequence[Mount]) -> bool:
    for mount in mounts:
        rest = program.removeprefix(mount.target.rstrip("/") + "/")
        if rest != program and (mount.source / rest).exists():
            return True
    return False
