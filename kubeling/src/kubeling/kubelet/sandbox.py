"""Map the paths of a container's mounts: by bind mounts if the kernel permits them, else by rewriting paths.

Bind mounts are made by bubblewrap if it works, otherwise by `mount_namespace`, which has the same options.
Neither changes the host. Bubblewrap would create missing mount points in folders of the host. So the nearest
existing folder is covered first by an empty folder that shows the same entries.
"""

import asyncio
import itertools
import os
import re
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubeling.kubelet.security_context import DEFAULT_CAPABILITIES, ContainerSecurity, RunAs

BUBBLEWRAP, NAMESPACES, REWRITE = "bubblewrap", "namespaces", "rewrite"
_MOUNT_NAMESPACE = Path(__file__).with_name("mount_namespace.py")
_PROBE_SECONDS = 5.0
_OWN_FOLDERS = ("HOME", "TMPDIR")
_OF_LOADER = ("LD_", "GLIBC_")
# Folders of the kernel, which stay writable with a read-only root.
_SYSTEM_FOLDERS = ("/dev", "/proc", "/sys")
# The characters that may not precede a path, and those that may follow it.
_BEFORE, _AFTER = r"(?<![\w./~-])", r"(?=$|[/\s\"':;,)}\]|&<>])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder or file of the host, and its path in the container."""

    source: Path
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """A process to start: arguments, environment and working folder.

    `env` is the environment of the pod, with paths of the container; `default_env` has paths of the host and
    lower precedence; `monitored` is true if the program is a child of the started process. With a
    `hostname`, the process has its own host name where the sandbox can give it one.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    default_env: Mapping[str, str] = field(default_factory=dict)
    monitored: bool = False
    hostname: str = ""
    security: ContainerSecurity = field(default_factory=ContainerSecurity)


class Sandbox(ABC):
    """Maps the paths of a container to the host."""

    name: str
    has_users = False
    has_read_only_root = False

    def ignored(self, security: ContainerSecurity) -> list[str]:
        """Return the fields of a security context that `wrap` does not obey."""
        found = ["runAsUser"] if security.run_as and not self.has_users else []
        if security.read_only_root and not self.has_read_only_root:
            found.append("readOnlyRootFilesystem")
        return found

    @abstractmethod
    def wrap(self, spec: ProcessSpec, mounts: Sequence[Mount], workdir: str) -> ProcessSpec:
        """Return the process to start on the host.

        `workdir` is a path of the container, or empty for `spec.cwd`.
        """


async def choose_sandbox(
    path: str,
    hidden: Path | None = None,
    shown: Sequence[Path] = (),
    shared: Sequence[Mount] = (),
    *,
    kinds: Sequence[str] = (BUBBLEWRAP, NAMESPACES),
) -> Sandbox:
    """Return the first kind of sandbox that works here, else path rewriting.

    Many containers forbid namespaces, so neither kind works there. Pods cannot read the folder `hidden`,
    except its parts in `shown`; every container has the mounts `shared`, unless it has others there.
    """
    paths: dict[str, Any] = {"hidden": hidden, "shown": shown, "shared": shared}
    program = shutil.which("bwrap", path=path)
    if BUBBLEWRAP in kinds and program:
        works, has_users, has_capabilities = await asyncio.gather(
            _works([program]),
            _works([program, *_user_options(RunAs(1, 1))]),
            _works([program, *_capability_options(DEFAULT_CAPABILITIES)]),
        )
        if works:
            return Bubblewrap(
                program, **paths, has_users=has_users, has_capabilities=has_capabilities
            )
    own = KernelNamespaces(**paths)
    if NAMESPACES in kinds and sys.platform == "linux" and await _works(own.command):
        return own
    return PathRewriter()


async def _works(command: Sequence[str]) -> bool:
    try:
        trial = await asyncio.create_subprocess_exec(
            *(*command, "--dev-bind", "/", "/", "--tmpfs", "/tmp"),  # noqa: S108 inside the trial
            *("--unshare-uts", "--hostname", "trial", "--", "/bin/sh", "-c", ":"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return False
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            return await trial.wait() == 0
    except TimeoutError:
        trial.kill()
        await trial.wait()
        return False


class Bubblewrap(Sandbox):
    """Bind mounts in a separate mount namespace of the container.

    A folder can be hidden, because the keys of the instance and the tokens of other pods belong to the same
    user.
    """

    name = BUBBLEWRAP
    monitors = True  # its own process is the parent of the program
    has_read_only_root = True

    def __init__(
        self,
        *command: str,
        hidden: Path | None = None,
        shown: Sequence[Path] = (),
        shared: Sequence[Mount] = (),
        has_users: bool = True,
        has_capabilities: bool = True,
    ) -> None:
        self.command = command
        self.has_users, self._has_capabilities = has_users, has_capabilities
        self._hidden, self._shown, self._shared = hidden, shown, shared

    def wrap(self, spec: ProcessSpec, mounts: Sequence[Mount], workdir: str) -> ProcessSpec:
        folder = workdir or str(spec.cwd)
        mounts = [*mounts, *(each for each in self._shared if not _is_covered(each.target, mounts))]
        all_mounts = [*mounts, *_visible_files(spec, mounts, self._hidden, self._shown)]
        if not _is_covered(folder, all_mounts) and not Path(folder).is_dir():
            # A container runtime creates a missing working folder.
            all_mounts.append(Mount(source=spec.cwd, target=folder, read_only=False))
        options = [
            *_bind_options(
                all_mounts,
                self._hidden,
                read_only=spec.security.read_only_root and self.has_read_only_root,
            ),
            "--chdir",
            folder,
            "--die-with-parent",
            "--new-session",
            *self._security_options(spec.security),
            *(["--unshare-uts", "--hostname", spec.hostname] if spec.hostname else []),
        ]
        env = {**spec.default_env, **spec.env}
        # The loader would run code of the pod in the sandbox's own program, which sees the whole machine.
        for name in [name for name in env if name.startswith(_OF_LOADER)]:
            options += ["--setenv", name, env.pop(name)]
        return ProcessSpec(
            argv=[*self.command, *options, "--", *spec.argv],
            env=env,
            cwd=Path("/"),
            monitored=self.monitors,
        )

    def _security_options(self, security: ContainerSecurity) -> Iterator[str]:
        if security.run_as and self.has_users:
            yield from _user_options(security.run_as)
        elif security.capabilities is not None and self._has_capabilities:
            yield from _capability_options(security.capabilities)


def _user_options(user: RunAs) -> list[str]:
    """Return options for a user namespace, in which the kubelet's user has another number."""
    return ["--unshare-user", "--uid", str(user.user), "--gid", str(user.group)]


def _capability_options(names: Iterable[str]) -> list[str]:
    """Return options that leave only these capabilities to a process of root."""
    kept = itertools.chain.from_iterable(("--cap-add", f"CAP_{name}") for name in names)
    return ["--cap-drop", "ALL", *kept]


class KernelNamespaces(Bubblewrap):
    """Bind mounts in a separate mount namespace, made by a program of this package."""

    name = NAMESPACES
    monitors = False
    has_read_only_root = False

    def __init__(self, **paths: Any) -> None:
        # Without site packages and user settings, so that it starts in hundredths of a second.
        command = (sys.executable, "-I", "-S", str(_MOUNT_NAMESPACE))
        super().__init__(*command, **paths, has_users=False, has_capabilities=False)


def _visible_files(
    spec: ProcessSpec, mounts: Sequence[Mount], hidden: Path | None, shown: Sequence[Path]
) -> list[Mount]:
    """Return mounts for files of the host that the default variables name and other mounts would cover."""
    own = {str(spec.cwd), *(spec.default_env.get(name, "") for name in _OWN_FOLDERS)} - {""}
    named = own | {str(path) for path in shown}
    for name, value in spec.default_env.items():
        if name != "PATH":
            named.update(re.findall(r"/[^\s:;,\"']+", value))
    covers = [*mounts]
    if hidden is not None:
        covers.append(Mount(source=hidden, target=str(hidden), read_only=True))
    targets = {mount.target for mount in covers}
    return [
        Mount(
            source=Path(path),
            target=path,
            read_only=spec.security.read_only_root or path not in own,
        )
        for path in sorted(named - targets)
        if _is_covered(path, covers) and Path(path).exists()
    ]


def _bind_options(
    mounts: Sequence[Mount], hidden: Path | None = None, *, read_only: bool = False
) -> Iterator[str]:
    """Yield the options of bubblewrap: covers first, then mounts, each parent before its children.

    With `read_only` only mounts that are not read-only, and devices, can be written.
    """
    resolved = sorted(
        ((_resolve(mount.target), mount) for mount in mounts), key=lambda each: each[0]
    )
    bound: dict[Path, Mount] = {}
    covers: set[Path] = set()
    for target, mount in resolved:
        above = next((bound[parent] for parent in target.parents if parent in bound), None)
        if above is not None:
            _make_mount_point(above, target, mount)
        elif not target.exists() or target.is_dir() is not mount.source.is_dir():
            covers.add(next(parent for parent in target.parents if parent.is_dir()))
        bound[target] = mount
    # A covered root needs no bind: bubblewrap starts with an empty root.
    if Path("/") not in covers:
        yield from _bind_root(read_only=read_only)
    for folder in sorted(covers):
        yield from _cover(folder, read_only=read_only)
    # After the covers, because a cover shows the entries of its folder again.
    if hidden is not None:
        yield from ("--tmpfs", str(_resolve(str(hidden))))
    for target, mount in bound.items():
        yield from ("--ro-bind" if mount.read_only else "--bind", str(mount.source), str(target))
    # At the end, because bubblewrap creates mount points in the covers.
    for folder in sorted(covers) if read_only else ():
        yield from ("--remount-ro", str(folder))


def _bind_root(*, read_only: bool) -> Iterator[str]:
    if not read_only:
        yield from ("--dev-bind", "/", "/")
        return
    yield from ("--ro-bind", "/", "/")
    for folder in _SYSTEM_FOLDERS:
        yield from ("--dev-bind", folder, folder)


def _resolve(target: str) -> Path:
    """Resolve links in the existing part of a path: /var/run is /run on most hosts."""
    return Path(os.path.realpath(target))


def _cover(folder: Path, *, read_only: bool) -> Iterator[str]:
    """Yield options that cover a folder by an empty one with the same entries, which accepts new entries."""
    if folder != Path("/"):
        yield from ("--tmpfs", str(folder))
    for entry in sorted(os.scandir(folder), key=lambda each: each.name):
        if entry.is_symlink():
            yield from ("--symlink", os.readlink(entry.path), entry.path)  # noqa: PTH115 the link itself, not its target
        else:
            is_system = entry.path.startswith(_SYSTEM_FOLDERS)
            bind = "--ro-bind-try" if read_only and not is_system else "--dev-bind-try"
            yield from (bind, entry.path, entry.path)


def _make_mount_point(above: Mount, target: Path, mount: Mount) -> None:
    """Create a mount point in another volume; bubblewrap cannot do so if that volume is read-only."""
    mount_point = above.source / target.relative_to(_resolve(above.target))
    if mount_point.exists():
        return
    if mount.source.is_dir():
        mount_point.mkdir(parents=True, exist_ok=True)
    else:
        mount_point.parent.mkdir(parents=True, exist_ok=True)
        mount_point.touch()


def _is_covered(path: str, mounts: Sequence[Mount]) -> bool:
    return any(path == m.target or path.startswith(m.target.rstrip("/") + "/") for m in mounts)


class PathRewriter(Sandbox):
    """Replaces the paths of mounts in arguments and variables by paths of the host; needs no namespaces."""

    name = REWRITE

    def wrap(self, spec: ProcessSpec, mounts: Sequence[Mount], workdir: str) -> ProcessSpec:
        folder = Path(rewrite_paths(workdir, mounts)) if workdir else spec.cwd
        return ProcessSpec(
            argv=[rewrite_paths(word, mounts) for word in spec.argv],
            env={
                **spec.default_env,
                **{name: rewrite_paths(value, mounts) for name, value in spec.env.items()},
            },
            cwd=folder if folder.is_dir() else spec.cwd,
        )


def rewrite_paths(text: str, mounts: Sequence[Mount]) -> str:
    """Replace every mounted path in a text by the path of the host, the longest first.

    Only whole paths are replaced; `/data` is not replaced in `/database` or `https://host/data`.
    """
    targets = {mount.target.rstrip("/"): str(mount.source) for mount in mounts}
    targets.pop("", None)
    if not targets:
        return text
    names = "|".join(re.escape(name) for name in sorted(targets, key=len, reverse=True))
    return re.sub(f"{_BEFORE}({names}){_AFTER}", lambda found: targets[found[1]], text)
