"""Install released versions of `az`, each once in its own virtual environment."""

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
from podpass.files import create_private_folder
from podpass.lab.cluster.samples.cache import cache_folder
from podpass.lab.cluster.samples.prepare import RegistryUnreachable, is_network_error

Echo = Callable[[str], None]

NEWEST = "newest"
# The minimum version in Microsoft's documentation. It supports Python 3.7 to 3.10. On 3.11 it installs, but
# its `keyvault secret` commands fail in `inspect`.
OLDEST = "2.47.0"
# The first version that supports Python 3.11.
OLDEST_HERE = "2.54.0"
_OLD_PYTHONS = ("python3.10", "python3.9", "python3.8")
# 2.47.0 needs this older release of a dependency; with a newer one, every command prints a warning.
_EXTRA_REQUIREMENTS = {OLDEST: ("azure-mgmt-rdbms==10.2.0b7",)}
_COMPLETE = ".complete"
_SECONDS = 1200


class AzureCliNotInstalled(Error):
    """pip could not install a version of the Azure CLI."""

    code = "azure_cli_not_installed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A version to install: its folder's name, pip's requirements, and the Python it runs on."""

    name: str
    requirements: Sequence[str]
    python: Path


def choose_release(which: str, now: datetime, old_python: Path | None) -> Release:
    """Return the release to install for `newest`, `oldest` or a version.

    `newest` is installed again every week; `old_python` is a Python that the oldest version supports, if one
    is installed. Raises UsageError.
    """
    here = Path(sys.executable)
    if which == NEWEST:
        year, week, _ = now.isocalendar()
        return Release(name=f"newest-{year}-{week:02}", requirements=("azure-cli",), python=here)
    if which == "oldest":
        which = OLDEST if old_python else OLDEST_HERE
    if not re.fullmatch(r"\d+\.\d+\.\d+", which):
        raise UsageError(
            f"{which!r} is not a version of az",
            hint="pass newest, oldest or a version such as 2.47.0 with --az",
        )
    if _numbers(which) < _numbers(OLDEST):
        raise UsageError(
            f"az {which} is too old for the tutorial", hint=f"pass {OLDEST} or newer with --az"
        )
    requirements = (f"azure-cli=={which}", *_EXTRA_REQUIREMENTS.get(which, ()))
    if which == OLDEST and old_python:
        name = f"{which}-{old_python.name}"
        return Release(name=name, requirements=requirements, python=old_python)
    return Release(name=which, requirements=requirements, python=here)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def find_old_python(environ: Mapping[str, str]) -> Path | None:
    """Find a Python that 2.47.0 supports: on the PATH, or in pyenv."""
    pyenv = Path(environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for name in _OLD_PYTHONS:
        found = shutil.which(name, path=environ.get("PATH"))
        version = name.removeprefix("python")
        candidates = [Path(found)] if found else []
        candidates += sorted(pyenv.glob(f"{version}.*/bin/{name}"))
        for candidate in candidates:
            if _is_working(candidate):
                return candidate
    return None


def _is_working(python: Path) -> bool:
    """Return whether the Python runs; a pyenv shim on the PATH may fail."""
    try:
        done = subprocess.run([python, "-c", "import venv, ssl"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def install(which: str, environ: Mapping[str, str], now: datetime, echo: Echo) -> Path:
    """Install the Azure CLI, if needed; return the Python of its environment.

    Raises UsageError, RegistryUnreachable, AzureCliNotInstalled.
    """
    old_python = find_old_python(environ) if which in ("oldest", OLDEST) else None
    release = choose_release(which, now, old_python)
    if which == "oldest" and old_python is None:
        echo(
            f"az {OLDEST} needs Python 3.10 or older, which is not installed; using az {OLDEST_HERE}"
        )
    root = cache_folder(environ).parent / "az"
    create_private_folder(root)
    with _install_lock(root / f".{release.name}.lock"):
        return _ensure_installed(release, root, which, environ, echo) / "bin" / "python"


@contextlib.contextmanager
def _install_lock(path: Path) -> Iterator[None]:
    """Hold a file lock, so that only one process installs a release at a time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _ensure_installed(
    release: Release, root: Path, which: str, environ: Mapping[str, str], echo: Echo
) -> Path:
    place = root / release.name
    if (place / _COMPLETE).exists():
        return place
    older = _older_releases(root) if which == NEWEST else []
    often = "once a week" if which == NEWEST else "once"
    echo(f"installing {release.requirements[0]} into {place} (some minutes and 1 GB, {often})")
    shutil.rmtree(place, ignore_errors=True)
    try:
        _install(release, place, environ)
    except Error as exc:
        if not older:
            raise
        echo(f"{exc.message}; using the installed {older[-1].name}")
        return older[-1]
    (place / _COMPLETE).touch()
    for folder in older:
        shutil.rmtree(folder, ignore_errors=True)
    return place


def version(python: Path) -> str:
    """Return the version of the Azure CLI in a Python environment."""
    ask = "import importlib.metadata; print(importlib.metadata.version('azure-cli'))"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "(unknown version)"


def _older_releases(root: Path) -> list[Path]:
    """Return the folders of `newest` of earlier weeks, the latest last."""
    return sorted(mark.parent for mark in root.glob(f"{NEWEST}-*/{_COMPLETE}"))


def _install(release: Release, place: Path, environ: Mapping[str, str]) -> None:
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-q"]
    venv = [str(release.python), "-m", "venv", str(place)]
    try:
        for command in (venv, [*pip, "--disable-pip-version-check", *release.requirements]):
            _run(command, release, environ)
    except Error:
        shutil.rmtree(place, ignore_errors=True)  # an incomplete installation is useless
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
            raise AzureCliNotInstalled(
                f"pip did not install {release.requirements[0]} within {_SECONDS // 60} minutes",
                hint="check the network, then run it again",
            ) from exc
        if done.returncode != 0:
            output.seek(0)
            raise _failure(release.requirements[0], output.read())


def _failure(requirement: str, said: str) -> Error:
    if is_network_error(said):
        return RegistryUnreachable(f"pip cannot reach a package index for {requirement}")
    lines = said.strip().splitlines() or ["nothing"]
    last = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])
    shown = "".join(char if char.isprintable() else " " for char in last)[:300]
    return AzureCliNotInstalled(
        f"pip cannot install {requirement}: {shown}", hint="pass another version with --az"
    )
