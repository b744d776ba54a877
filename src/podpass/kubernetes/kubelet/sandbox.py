"""How a container sees the paths it asked for: by bind mounts where bubblewrap works, else rewritten.

Neither way changes the host. Bubblewrap would make missing mount points in the host's own folders, so the
nearest folder that exists is covered first by an empty one that shows the same entries.
"""

import asyncio
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

BUBBLEWRAP, REWRITE = "bubblewrap", "rewrite"
_PROBE_SECONDS = 5.0
_OWN_FOLDERS = ("HOME", "TMPDIR")
# What may not stand right before a path for it to begin there, and what may follow its last letter.
_BEFORE, _AFTER = r"(?<![\w./~-])", r"(?=$|[/\s\"':;,)}\]|&<>])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder or file of the host, and where the container wants to see it."""

    source: Path
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What to start: arguments, environment and folder.

    Shapes:  `env` is what the pod asks for, paths as it sees them; `beneath` is what we add, with paths
             of the host, and yields to it; `monitored` if the program is a child of what is started.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    beneath: Mapping[str, str] = field(default_factory=dict)
    monitored: bool = False


class Sandbox(Protocol):
    """A way to make a container's paths real."""

    name: str

    def wrap(self, launch: Launch, mounts: Sequence[Mount], workdir: str) -> Launch:
        """Turn what the container wants to run into what the host can run.

        Shapes:  `workdir` as the container names it, empty for `launch.cwd`.
        """


async def choose(path: str, hidden: Path | None = None, shown: Sequence[Path] = ()) -> Sandbox:
    """Take bubblewrap if it is installed and works here (containers often forbid namespaces).

    Shapes:  `hidden` is a folder that no pod may look into, `shown` what of it all may read.
    """
    program = shutil.which("bwrap", path=path)
    if program and await _works(program):
        return Bubblewrap(program, hidden=hidden, shown=shown)
    return Rewrite()


async def _works(program: str) -> bool:
    try:
        trial = await asyncio.create_subprocess_exec(
            *(program, "--dev-bind", "/", "/", "--tmpfs", "/tmp", "--", "true"),  # noqa: S108 inside the trial
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return False
    try:
        return await asyncio.wait_for(trial.wait(), _PROBE_SECONDS) == 0
    except TimeoutError:
        trial.kill()
        await trial.wait()
        return False


class Bubblewrap:
    """Bind mounts in a mount namespace of the container's own.

    A folder can be hidden: the instance's keys and the other pods' tokens are files of the same user.
    """

    name = BUBBLEWRAP

    def __init__(
        self, program: str, *, hidden: Path | None = None, shown: Sequence[Path] = ()
    ) -> None:
        self._program = program
        self._hidden = hidden
        self._shown = shown

    def wrap(self, launch: Launch, mounts: Sequence[Mount], workdir: str) -> Launch:
        folder = workdir or str(launch.cwd)
        wanted = [*mounts, *_kept(launch, mounts, self._hidden, self._shown)]
        if not _covered(folder, wanted) and not Path(folder).is_dir():
            # A container runtime makes a working folder that is missing; this one is the pod's.
            wanted.append(Mount(source=launch.cwd, target=folder, read_only=False))
        options = [
            *_binds(wanted, self._hidden),
            "--chdir",
            folder,
            "--die-with-parent",
            "--new-session",
        ]
        return Launch(
            argv=[self._program, *options, "--", *launch.argv],
            env={**launch.beneath, **launch.env},
            cwd=Path("/"),
            monitored=True,
        )


def _kept(
    launch: Launch, mounts: Sequence[Mount], hidden: Path | None, shown: Sequence[Path]
) -> list[Mount]:
    """Keep the host's files that our own variables name in sight, though a mount would cover them."""
    own = {str(launch.cwd), *(launch.beneath.get(name, "") for name in _OWN_FOLDERS)} - {""}
    named = own | {str(path) for path in shown}
    for name, value in launch.beneath.items():
        if name != "PATH":
            named.update(re.findall(r"/[^\s:;,\"']+", value))
    covers = [*mounts]
    if hidden is not None:
        covers.append(Mount(source=hidden, target=str(hidden), read_only=True))
    targets = {mount.target for mount in covers}
    return [
        Mount(source=Path(path), target=path, read_only=path not in own)
        for path in sorted(named - targets)
        if _covered(path, covers) and Path(path).exists()
    ]


def _binds(mounts: Sequence[Mount], hidden: Path | None = None) -> Iterator[str]:
    """Write bubblewrap's options: covers first, then mounts, parents before what lies below them."""
    resolved = sorted(((_real(mount.target), mount) for mount in mounts), key=lambda each: each[0])
    bound: dict[Path, Mount] = {}
    covers: set[Path] = set()
    for target, mount in resolved:
        above = next((bound[parent] for parent in target.parents if parent in bound), None)
        if above is not None:
            _make_mount_point(above, target, mount)
        elif not _same_kind(target, mount.source):
            covers.add(_existing_parent(target))
        bound[target] = mount
    # The root is covered by leaving it out: bubblewrap starts from an empty one.
    if Path("/") not in covers:
        yield from ("--dev-bind", "/", "/")
    for folder in sorted(covers):
        yield from _cover(folder)
    # After the covers, which show the entries of what they cover again.
    if hidden is not None:
        yield from ("--tmpfs", str(_real(str(hidden))))
    for target, mount in bound.items():
        yield from ("--ro-bind" if mount.read_only else "--bind", str(mount.source), str(target))


def _real(target: str) -> Path:
    """Follow links in the part of a path that exists: /var/run is /run on most hosts."""
    return Path(os.path.realpath(target))


def _same_kind(target: Path, source: Path) -> bool:
    return target.is_dir() if source.is_dir() else target.exists() and not target.is_dir()


def _existing_parent(target: Path) -> Path:
    return next(parent for parent in target.parents if parent.is_dir())


def _cover(folder: Path) -> Iterator[str]:
    """Cover a folder by an empty one with the same entries, in which new ones can be made."""
    if folder != Path("/"):
        yield from ("--tmpfs", str(folder))
    for entry in sorted(os.scandir(folder), key=lambda each: each.name):
        if entry.is_symlink():
            yield from ("--symlink", os.readlink(entry.path), entry.path)  # noqa: PTH115 as it stands, not resolved
        else:
            yield from ("--dev-bind-try", entry.path, entry.path)


def _make_mount_point(above: Mount, target: Path, mount: Mount) -> None:
    """Make a mount point inside another volume, where bubblewrap could not if that is read-only."""
    place = above.source / target.relative_to(_real(above.target))
    if place.exists():
        return
    if mount.source.is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()


def _covered(path: str, mounts: Sequence[Mount]) -> bool:
    return any(path == m.target or path.startswith(m.target.rstrip("/") + "/") for m in mounts)


class Rewrite:
    """No namespaces: values and arguments that name a mounted path name the host's instead."""

    name = REWRITE

    def wrap(self, launch: Launch, mounts: Sequence[Mount], workdir: str) -> Launch:
        folder = Path(rewrite(workdir, mounts)) if workdir else launch.cwd
        return Launch(
            argv=[rewrite(word, mounts) for word in launch.argv],
            env={
                **launch.beneath,
                **{name: rewrite(value, mounts) for name, value in launch.env.items()},
            },
            cwd=folder if folder.is_dir() else launch.cwd,
        )


def rewrite(text: str, mounts: Sequence[Mount]) -> str:
    """Replace every mounted path in a text by the host's, the longest first.

    Shapes:  only whole paths count; `/data` is not found in `/database` or `https://host/data`.
    """
    targets = {mount.target.rstrip("/"): str(mount.source) for mount in mounts}
    targets.pop("", None)
    if not targets:
        return text
    names = "|".join(re.escape(name) for name in sorted(targets, key=len, reverse=True))
    return re.sub(f"{_BEFORE}({names}){_AFTER}", lambda found: targets[found[1]], text)
