"""Prepare a container to start: its program, variables, mounts and folders."""

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kubeling.files import create_private_folder
from kubeling.kubelet import cluster_dns, environment, pod_hosts
from kubeling.kubelet.cluster_dns import RESOLV_CONF
from kubeling.kubelet.context import KubeletContext
from kubeling.kubelet.environment import ConfigError, expand
from kubeling.kubelet.images import ImageConfig
from kubeling.kubelet.node_network import SHARED_ADDRESS
from kubeling.kubelet.pod_network import changes_network, needs_own_network
from kubeling.kubelet.process import CONTAINER_VARIABLE, RUNTIME_VARIABLE, StartError
from kubeling.kubelet.sandbox import REWRITE, Mount, ProcessSpec
from kubeling.kubelet.security_context import RunAs, breaks_non_root_policy, read_security
from kubeling.kubelet.volume_manager import fetch_objects
from kubeling.kubelet.volume_sources import CONTENT_KINDS

_PYTHONS = ("python", "python3")


def search_path(path: str) -> str:
    """Return a search path with the folder of this Python before the given path."""
    return os.pathsep.join([str(Path(sys.executable).parent), path])


def find_program(program: str, search: str) -> str | None:
    """Return the path of a program on the host, or None.

    An absolute path that exists only in images, such as /usr/local/bin/python, is searched on the PATH by its
    base name; a relative path is returned unchanged.
    """
    if "/" in program and (not program.startswith("/") or os.access(program, os.X_OK)):
        return program
    name = Path(program).name
    if found := shutil.which(name, path=search):
        return found
    return sys.executable if name in _PYTHONS else None


DEFAULT_MESSAGE_PATH = "/dev/termination-log"

_NSSWITCH = Path("/etc/nsswitch.conf")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedContainer:
    """A container that is ready to start, or to run an exec command."""

    process: ProcessSpec
    mounts: Sequence[Mount]
    workdir: str
    message_file: Path
    search: str = field(repr=False)
    programs: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def with_command(self, command: Sequence[str], mark: str) -> "PreparedContainer":
        """Return the same settings with another command and another mark. Raises StartError."""
        command = [*self.programs.get(command[0], command[:1]), *command[1:]]
        program = locate_program(command[0], self.search, self.mounts, self.workdir)
        default_env = {**self.process.default_env, CONTAINER_VARIABLE: mark}
        process = replace(self.process, argv=[program, *command[1:]], default_env=default_env)
        return replace(self, process=process)


async def prepare(
    context: KubeletContext,
    pod: Mapping[str, Any],
    container: Mapping[str, Any],
    volumes: Mapping[str, Path],
    container_id: str,
) -> PreparedContainer:
    """Resolve everything that a container needs to start.

    Raises ConfigError, ImageUnavailable, StartError, ApiError.
    """
    folder = pod_folder(context, pod)
    references = environment.referenced_objects(container)
    found = await fetch_objects(context.client, pod["metadata"]["namespace"], references)
    services = await context.services.variables(pod)
    values = environment.build_variables(container, pod, found, context.node, services)
    if changes_network(container) and not pod["spec"].get("hostNetwork"):
        _check_network(context, container)
    image = ImageConfig() if container.get("command") else _resolve_image(context, container)
    argv = environment.build_command_line(container, values, image)
    message_file = _create_message_file(folder, container)
    mounts = _build_mounts(pod, container, volumes, values)
    target = container.get("terminationMessagePath") or DEFAULT_MESSAGE_PATH
    mounts.append(Mount(source=message_file, target=target, read_only=False))
    has_dns = context.own_networks and context.has_own_network(pod)
    own_name = not pod["spec"].get("hostNetwork") and context.sandbox.name != REWRITE
    if own_name and not any(mount.target == str(pod_hosts.HOSTS) for mount in mounts):
        mounts.append(_hosts_mount(context, pod))
    if has_dns and context.sandbox.name != REWRITE:
        mounts += _resolver_mounts(pod, folder, mounts)
    default_env = _default_variables(context, pod, folder, container_id, mounts)
    search = values.get("PATH") or default_env["PATH"]
    workdir = container.get("workingDir") or ""
    argv[0] = locate_program(argv[0], search, mounts, workdir)
    if breaks_non_root_policy(pod, container):
        name, owner = container["name"], pod["metadata"]["name"]
        raise ConfigError(
            f'container\'s runAsUser breaks non-root policy (pod: "{owner}", container: {name})'
        )
    own = RunAs(os.geteuid(), os.getegid())
    process = ProcessSpec(
        argv=argv,
        env=values,
        cwd=folder / "home",
        default_env=default_env,
        hostname=pod_hosts.host_name(pod) if own_name else "",
        security=read_security(pod, container, own),
    )
    return PreparedContainer(
        process=process,
        mounts=mounts,
        workdir=workdir,
        message_file=message_file,
        search=search,
        programs=image.programs,
    )


def _check_network(context: KubeletContext, container: Mapping[str, Any]) -> None:
    """Refuse a container that would otherwise change the network of the machine."""
    if context.node_network is None or not context.node_network.is_privileged:
        hint = f". {context.network.hint}" if context.network.hint else ""
        raise ConfigError(
            f"container {container['name']} is privileged or needs the capability NET_ADMIN, and this kubelet"
            f" cannot give its pod a network of its own: that needs root and the program nsenter{hint}"
        )


def pod_folder(context: KubeletContext, pod: Mapping[str, Any]) -> Path:
    return Path(context.folder, pod["metadata"]["uid"])


def write_hosts(context: KubeletContext, pod: Mapping[str, Any]) -> Path:
    """Write /etc/hosts of a pod; running containers see the change."""
    path = pod_folder(context, pod) / "etc" / "hosts"
    replaced = {}
    if context.network.shared and context.has_own_network(pod):
        replaced = {context.network.shared[0]: SHARED_ADDRESS}
    pod_hosts.write_hosts(path, pod, context.node.pod_address, context.hosts_file, replaced)
    return path


def _hosts_mount(context: KubeletContext, pod: Mapping[str, Any]) -> Mount:
    source = write_hosts(context, pod)
    return Mount(source=source, target=str(pod_hosts.HOSTS), read_only=False)


def _resolver_mounts(
    pod: Mapping[str, Any], folder: Path, mounts: Sequence[Mount]
) -> Iterator[Mount]:
    """Yield the files with which the programs of a pod use the DNS server of the cluster."""
    create_private_folder(folder / "etc")
    content = {RESOLV_CONF: cluster_dns.pod_resolv_conf(pod, cluster_dns.read_resolv_conf())}
    with contextlib.suppress(OSError):
        # The NSS module `resolve` uses the resolver of the machine, which does not know names of the cluster.
        found = _NSSWITCH.read_text("utf-8", "replace")
        if re.search(r"^hosts:.*\bresolve\b", found, re.MULTILINE):
            content[_NSSWITCH] = re.sub(r"(?m)^hosts:.*$", "hosts: files dns", found)
    taken = {mount.target for mount in mounts}
    for path, text in content.items():
        if str(path) not in taken:
            source = folder / "etc" / path.name
            source.write_text(text)
            yield Mount(source=source, target=str(path), read_only=True)


def _resolve_image(context: KubeletContext, container: Mapping[str, Any]) -> ImageConfig:
    policy = str(container.get("imagePullPolicy") or "")
    return context.images.resolve(container.get("image") or "", policy)


def _create_message_file(folder: Path, container: Mapping[str, Any]) -> Path:
    """Create the empty file for the termination message of a container."""
    path = Path(folder, "messages", container["name"])
    create_private_folder(path.parent)
    path.write_bytes(b"")
    return path


def _build_mounts(
    pod: Mapping[str, Any],
    container: Mapping[str, Any],
    volumes: Mapping[str, Path],
    values: Mapping[str, str],
) -> list[Mount]:
    specs = {volume["name"]: volume for volume in pod["spec"].get("volumes") or []}
    found: list[Mount] = []
    for entry in container.get("volumeMounts") or []:
        name = entry["name"]
        if name not in volumes:
            raise ConfigError(f'volume "{name}" is not mounted')
        has_objects = any(kind in specs[name] for kind in CONTENT_KINDS)
        sub = entry.get("subPath") or expand(entry.get("subPathExpr") or "", values)
        found.append(
            Mount(
                source=_resolve_sub_path(volumes[name], sub, create=not has_objects),
                target=entry["mountPath"].rstrip("/") or "/",
                read_only=bool(entry.get("readOnly")) or has_objects,
            )
        )
    return found


def _resolve_sub_path(volume: Path, sub: str, *, create: bool) -> Path:
    """Return a path inside a volume; a link must not point outside the volume."""
    if not sub:
        return volume
    path = (volume / sub).resolve()
    if not path.is_relative_to(volume.resolve()):
        raise ConfigError(f"subPath {sub!r} points outside its volume")
    if create and not path.exists():
        path.mkdir(parents=True)
    if not path.exists():
        raise ConfigError(f"subPath {sub!r} does not exist in its volume")
    return path


def _default_variables(
    context: KubeletContext,
    pod: Mapping[str, Any],
    folder: Path,
    container_id: str,
    mounts: Sequence[Mount],
) -> dict[str, str]:
    """Build the variables with lower precedence than those of the pod; no others come from the host."""
    for name in ("home", "tmp"):
        create_private_folder(folder / name)
    values = {
        **context.environment(_own_addresses(context, pod)),
        "PATH": search_path(context.path),
        "HOME": str(folder / "home"),
        "HOSTNAME": pod_hosts.host_name(pod),
        RUNTIME_VARIABLE: context.mark,
        CONTAINER_VARIABLE: container_id,
    }
    if not any(mount.target == "/tmp" for mount in mounts):  # noqa: S108 a volume of the pod
        values["TMPDIR"] = str(folder / "tmp")
    return values


def _own_addresses(context: KubeletContext, pod: Mapping[str, Any]) -> list[str]:
    """Return the addresses at which only containers of the pod answer."""
    address = context.node.pod_address
    return [address, *(context.network.addresses if needs_own_network(pod) else ())]


def locate_program(program: str, search: str, mounts: Sequence[Mount], workdir: str) -> str:
    """Return the path of a program: in a volume of the container, or on the host. Raises StartError."""
    if _is_in_volume(program, mounts):
        return program
    # Without a workingDir, `./program` is in the working folder of the image, which exists only there.
    path = program if workdir or "/" not in program else str(Path("/", program))
    if found := find_program(path, search):
        return found
    raise StartError(f'exec: "{program}": executable file not found in $PATH', program=program)


def _is_in_volume(program: str, mounts: Sequence[Mount]) -> bool:
    for mount in mounts:
        rest = program.removeprefix(mount.target.rstrip("/") + "/")
        if rest != program and (mount.source / rest).exists():
            return True
    return False
