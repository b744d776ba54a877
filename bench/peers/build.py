"""Builds a peer from its folder here: a go.mod that pins it, and nothing of it in this tree.

In: the name of a program. Out: the path of its binary, made anew when its folder's files have changed.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers import controlplane
from bench.peers.model import Program

_HERE = Path(__file__).parent
_BUILD_SECONDS = 5400


class CannotBuild(Exception):
    """A peer cannot be had on this machine; its text says why."""


_AZWI = "github.com/Azure/azure-workload-identity/cmd/"
_HELM = "helm.sh/helm/v3/"
PROGRAMS = {
    "azwi-webhook": Program(folder="reference", package=_AZWI + "webhook"),
    "helm": Program(
        folder="helm",
        package=_HELM + "cmd/helm",
        # Without them it would take itself for the client of a Kubernetes of years ago.
        ldflags="-s -w"
        f" -X {_HELM}internal/version.version=v3.22.0"
        f" -X {_HELM}pkg/chartutil.k8sVersionMajor=1 -X {_HELM}pkg/chartutil.k8sVersionMinor=37"
        f" -X {_HELM}pkg/lint/rules.k8sVersionMajor=1 -X {_HELM}pkg/lint/rules.k8sVersionMinor=37",
    ),
    **{
        f"{name}-{version}": program
        for version in controlplane.VERSIONS
        for name, program in controlplane.programs(version).items()
    },
}


def built(name: str) -> Path:
    """Give the binary of a program, built if it is not there yet: minutes the first time.

    Errors:  CannotBuild.
    """
    program = PROGRAMS[name]
    source = _HERE / program.folder
    place = cache() / f"{name}-{_digest(program, source)}"
    binary = place / name
    with _alone(place):
        if not binary.exists():
            _build(program, source, place, binary)
    return binary


def cache() -> Path:
    """Name the folder that outlives checkouts."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "podpass" / "peers"


def _digest(program: Program, source: Path) -> str:
    text = hashlib.sha256(repr(program).encode())
    for path in sorted(source.rglob("*")):
        if path.is_file():
            text.update(str(path.relative_to(source)).encode() + b"\0" + path.read_bytes())
    return text.hexdigest()[:12]


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Keep others from building the same program at the same time."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(program: Program, source: Path, place: Path, binary: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise CannotBuild("there is no `go` to build it with")
    print(f"building {binary.name} in {place}, once", file=sys.stderr)
    copy = place / "src"
    shutil.copytree(source, copy, dirs_exist_ok=True)
    part = place / "part"  # a build that is killed leaves nothing that looks whole
    command = [go, "build", "-mod=mod", "-ldflags", program.ldflags, "-o", str(part)]
    try:
        done = subprocess.run(
            [*command, program.package],
            cwd=copy,
            capture_output=True,
            text=True,
            check=False,
            timeout=_BUILD_SECONDS,
        )
    except subprocess.TimeoutExpired as exc:
        raise CannotBuild(f"it is not built after {_BUILD_SECONDS} seconds") from exc
    if done.returncode != 0:
        raise CannotBuild(f"it does not build: {done.stderr.strip()[-600:]}")
    part.rename(binary)
