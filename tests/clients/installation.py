"""Installs released clients from their registries, each into its own folder: once, or once a week.

A test is skipped only if a tool is missing or too old or a registry is unreachable. An error response of a
registry is a failure: a removed version, packages that are incompatible.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest

from tests.run_program import run_text

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
INSTALL_SECONDS = 400
_PIP = ("-m", "pip", "install", "-q", "--disable-pip-version-check")
# Error responses of registries; retried connection errors may be printed before them.
_SAID_NO = re.compile(
    r"from versions: (?!none)|ResolutionImpossible|\b(E404|ETARGET|ERESOLVE)\b"
    r"|Could not find artifact|unknown revision|410 Gone"
)
# Messages of pip, npm, Maven and Go about an unreachable network.
_UNREACHABLE = re.compile(
    r"NewConnectionError|ProxyError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError"
    r"|Network is unreachable|Unknown host|UnknownHostException|Connection refused|no such host|i/o timeout"
    r"|\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ENETUNREACH|EHOSTUNREACH|ETIMEDOUT)\b",
    re.IGNORECASE,
)
# Messages of compilers that are too old for a program.
_TOO_OLD = re.compile(
    r"requires go >= [\d.]+|package testing/synctest is not in std|release version \d+ not supported"
)
_SKIPPED: dict[Path, str] = {}


def find_tool(name: str) -> str:
    """Return the path of a program; skip the test if it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on this machine")
    return found


def is_unreachable(said: str) -> bool:
    """Return whether an installer failed because a registry was unreachable."""
    return _UNREACHABLE.search(said) is not None and _SAID_NO.search(said) is None


def find_too_old(said: str) -> str:
    """Return the compiler's message that it is too old for a program, or an empty string."""
    found = _TOO_OLD.search(said)
    return found[0] if found else ""


def run_installation(
    name: str,
    files: Sequence[Path],
    *commands: list[str],
    newest: bool,
    made_with: str = "",
    not_hashed: Sequence[str] = (),
) -> Path:
    """Copy the files into a cache folder and run the commands in it, once for the same content.

    `newest` if the files pin no versions: the folder is then used for a week. `not_hashed` are words of the
    commands that the folder's hash ignores: paths of `files`, and packages that the caller reinstalls in each
    run.
    """
    named = [[word for word in command if word not in not_hashed] for command in commands]
    folder = installation_folder(name, files, [*named, [made_with]], newest=newest)
    if (folder / ".installed").exists():
        return folder
    with locked(folder):
        if (folder / ".installed").exists():
            return folder
        # An incomplete folder is created again.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for file in files:
            shutil.copy(file, folder)
        for command in commands:
            _run(command, folder)
        (folder / ".installed").touch()
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one worker at a time, of all checkouts, install into a folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def install_python(*packages: str) -> list[str]:
    """Return the command of a Python with exactly these packages and their dependencies."""
    commands = python_commands(*packages)
    newest = not any("==" in each for each in packages)
    return [str(run_installation("python", [], *commands, newest=newest) / "bin" / "python")]


@contextmanager
def podpass_environment(
    name: str, folder: Path, files: Sequence[Path], extra: str, *others: str
) -> Iterator[str]:
    """Build the wheels of podpass and kubeling; yield the Python of an environment with them and others.

    All checkouts use the environment for a week, one at a time: each installs its own wheels into it.

    `extra` of podpass, such as `[testcontainers]`, or an empty text.
    """
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder)]
    subprocess.run([*build, str(ROOT / "kubeling"), str(ROOT)], check=True, timeout=300)
    (kubeling,), (wheel,) = folder.glob("kubeling-*.whl"), folder.glob("podpass-*.whl")
    packages = [f"kubeling @ {kubeling.as_uri()}", f"podpass{extra} @ {wheel.as_uri()}"]
    create, install = python_commands(*packages, *others)
    installed = run_installation(
        name,
        [*files, ROOT / "pyproject.toml", ROOT / "kubeling" / "pyproject.toml"],
        create,
        install,
        newest=True,
        made_with=wheel.name,
        not_hashed=[*packages, *(each for each in others if each.startswith(str(ROOT)))],
    )
    python, complete = str(installed / "bin" / "python"), installed / ".installed"
    again = [python, *_PIP, "--no-deps", "--force-reinstall", str(kubeling), str(wheel)]
    with locked(installed):
        # pip cannot repair a package whose installation was killed: the environment is then created again.
        complete.unlink()
        subprocess.run(again, check=True, timeout=300)
        complete.touch()
        yield python


def python_commands(*wanted: str) -> tuple[list[str], list[str]]:
    """Return the commands that create a virtual environment in a folder; `wanted` are pip requirements."""
    return [sys.executable, "-m", "venv", "."], ["bin/python", *_PIP, *wanted]


def _run(command: list[str], folder: Path) -> None:
    """Run one step; a skip is stored, so that other tests do not repeat the step."""
    name = folder.name.rpartition("-")[0]
    if folder in _SKIPPED:
        pytest.skip(_SKIPPED[folder])
    try:
        done = run_text(command, cwd=folder, timeout=INSTALL_SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        _skip(folder, f"{name} was not installed within {INSTALL_SECONDS} seconds")
    if done.returncode == 0:
        return
    said = (done.stderr + done.stdout).strip()
    if found := find_too_old(said):
        _skip(folder, f"{Path(command[0]).name} is too old here: {found}")
    if is_unreachable(said):
        _skip(folder, f"no registry can be reached for {name}\n{said[-300:]}")
    pytest.fail(f"{name} cannot be installed: {said[-1000:]}")


def _skip(folder: Path, reason: str) -> NoReturn:
    _SKIPPED[folder] = reason
    pytest.skip(reason)


def installation_folder(
    name: str, files: Sequence[Path], commands: Sequence[Sequence[str]], *, newest: bool
) -> Path:
    """Return an installation's folder, named by a hash of its content, and of the week for newest versions.

    Each checkout has its own virtual environment; only the Python below it decides what is installed.
    """
    week = tuple(datetime.now(UTC).isocalendar())[:2] if newest else None
    texts = [file.read_text() for file in files]
    same = [["python" if word == sys.executable else word for word in each] for each in commands]
    key = json.dumps([texts, same, sys.base_prefix, sys.version_info[:2], week])
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    return Path(home) / "podpass" / "clients" / f"{name}-{digest}"
