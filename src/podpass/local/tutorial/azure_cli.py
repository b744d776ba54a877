"""Released versions of `az`, each installed once into an environment of its own."""

import contextlib
import fcntl
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from podpass.errors import Error, UsageError
from podpass.files import private_folder
from podpass.local.samples.cache import cache_folder
from podpass.local.samples.prepare import RegistryUnreachable, unreachable

Say = Callable[[str], None]

NEWEST = "newest"
# The documentation's minimum. It was made for Python 3.7 to 3.10: on 3.11 it installs, and its commands for
# secrets end in its own use of `inspect`.
OLDEST = "2.47.0"
# The first that was made for Python 3.11.
OLDEST_HERE = "2.54.0"
_OLD_PYTHONS = ("python3.10", "python3.9", "python3.8")
# A later release of what 2.47.0 takes for one command group has no place for it: every command would say so.
_BESIDE = {OLDEST: ("azure-mgmt-rdbms==10.2.0b7",)}
_COMPLETE = ".complete"
_SECONDS = 1200


class NotInstalled(Error):
    """pip could not install a version of the Azure CLI."""

    code = "azure_cli_not_installed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A version to install: its folder's name, pip's requirements, and the Python it runs on."""

    name: str
    requirements: Sequence[str]
    python: Path


def choose(which: str, now: datetime, old_python: Path | None) -> Release:
    """Choose what to install for `newest`, `oldest` or a version.

    Shapes:  the newest of this week is not the newest of the next; `old_python` is one that the oldest
             runs on, if there is one.
    Errors:  UsageError.
    """
    here = Path(sys.executable)
    if which == NEWEST:
        year, week, _ = now.isocalendar()
        return Release(name=f"newest-{year}-{week:02}", requirements=("azure-cli",), python=here)
    if which == "oldest":
        which = OLDEST if old_python else OLDEST_HERE
    if not re.fullmatch(r"\d+\.\d+\.\d+", which):
        raise UsageError(f"{which!r} is no version of az", hint="newest, oldest, or as in 2.47.0")
    if _numbers(which) < _numbers(OLDEST):
        raise UsageError(
            f"az {which} is older than the tutorial needs", hint=f"take {OLDEST} or newer"
        )
    requirements = (f"azure-cli=={which}", *_BESIDE.get(which, ()))
    if which == OLDEST and old_python:
        name = f"{which}-{old_python.name}"
        return Release(name=name, requirements=requirements, python=old_python)
    return Release(name=which, requirements=requirements, python=here)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def find_old_python(environ: Mapping[str, str]) -> Path | None:
    """Look for a Python that 2.47.0 was made for: on the PATH, and among pyenv's."""
    pyenv = Path(environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for name in _OLD_PYTHONS:
        found = shutil.which(name, path=environ.get("PATH"))
        version = name.removeprefix("python")
        candidates = [Path(found)] if found else []
        candidates += sorted(pyenv.glob(f"{version}.*/bin/{name}"))
        for candidate in candidates:
            if _runs(candidate):
                return candidate
    return None


def _runs(python: Path) -> bool:
    """Try it: a shim on the PATH may stand for a Python that is not chosen."""
    try:
        done = subprocess.run([python, "-c", "import venv, ssl"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def install(which: str, environ: Mapping[str, str], now: datetime, say: Say) -> Path:
    """Install the Azure CLI unless it is there; give the Python that has it.

    Errors:  UsageError, RegistryUnreachable, NotInstalled.
    """
    old_python = find_old_python(environ) if which in ("oldest", OLDEST) else None
    release = choose(which, now, old_python)
    if which == "oldest" and old_python is None:
        say(f"az {OLDEST} needs Python 3.10 or older, and none is here: {OLDEST_HERE} instead")
    root = cache_folder(environ).parent / "az"
    private_folder(root)
    with _alone(root / f".{release.name}.lock"):
        return _ready(release, root, which, environ, say) / "bin" / "python"


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let nobody else install the same at the same time; who comes second finds it done."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _ready(release: Release, root: Path, which: str, environ: Mapping[str, str], say: Say) -> Path:
    place = root / release.name
    if (place / _COMPLETE).exists():
        return place
    older = _older(root) if which == NEWEST else []
    often = "once a week" if which == NEWEST else "once"
    say(f"installing {release.requirements[0]} into {place} (some minutes and 1 GB, {often})")
    shutil.rmtree(place, ignore_errors=True)
    try:
        _install(release, place, environ)
    except Error as exc:
        if not older:
            raise
        say(f"{exc.message}; going on with the newest that is here, {older[-1].name}")
        return older[-1]
    (place / _COMPLETE).touch()
    for folder in older:
        shutil.rmtree(folder, ignore_errors=True)
    return place


def version(python: Path) -> str:
    """Tell which release of the Azure CLI a Python has."""
    ask = "import importlib.metadata; print(importlib.metadata.version('azure-cli'))"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "of a version that it does not tell"


def _older(root: Path) -> list[Path]:
    """List what was the newest in earlier weeks, the latest last."""
    return sorted(mark.parent for mark in root.glob(f"{NEWEST}-*/{_COMPLETE}"))


def _install(release: Release, place: Path, environ: Mapping[str, str]) -> None:
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-q"]
    venv = [str(release.python), "-m", "venv", str(place)]
    try:
        for command in (venv, [*pip, "--disable-pip-version-check", *release.requirements]):
            _run(command, release, environ)
    except Error:
        shutil.rmtree(place, ignore_errors=True)  # half of 1 GB is of no use to anyone
        raise


def _run(command: Sequence[str], release: Release, environ: Mapping[str, str]) -> None:
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        try:
            done = subprocess.run(
                command,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired as exc:
            raise NotInstalled(
                f"pip did not finish with {release.requirements[0]} in {_SECONDS // 60} minutes",
                hint="look at the network, then run it again",
            ) from exc
        if done.returncode != 0:
            output.seek(0)
            raise _failure(release.requirements[0], output.read())


def _failure(requirement: str, said: str) -> Error:
    if unreachable(said):
        return RegistryUnreachable(f"pip reached no package index for {requirement}")
    lines = said.strip().splitlines() or ["nothing"]
    last = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])
    shown = "".join(sign if sign.isprintable() else " " for sign in last)[:300]
    return NotInstalled(
        f"pip cannot install {requirement}: {shown}", hint="name another version with --az"
    )
