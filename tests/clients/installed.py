"""Released clients, each installed from its registry into a folder of its own: once, or once a week.

Only a tool that is missing or too old, or a registry that cannot be reached, skips a test. A registry that
answers, and with a no, is a failure: a version that is gone, packages that do not fit together.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest

PROGRAMS = Path(__file__).parent / "programs"
INSTALL_SECONDS = 400
# Their words for a no; a connection that was lost and found again may stand before it.
_SAID_NO = re.compile(
    r"from versions: (?!none)|ResolutionImpossible|\b(E404|ETARGET|ERESOLVE)\b"
    r"|Could not find artifact|unknown revision|410 Gone"
)
# The words of pip, npm, Maven and Go for a network that is not there.
_NOBODY = re.compile(
    r"NewConnectionError|ProxyError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError"
    r"|Network is unreachable|Unknown host|UnknownHostException|Connection refused|no such host|i/o timeout"
    r"|\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ENETUNREACH|EHOSTUNREACH|ETIMEDOUT)\b",
    re.IGNORECASE,
)
# The compilers' words for a program that is newer than they are.
_TOO_OLD = re.compile(
    r"requires go >= [\d.]+|package testing/synctest is not in std|release version \d+ not supported"
)
_SKIPPED: dict[Path, str] = {}


def tool(name: str) -> str:
    """Find a program of the machine; without it the test is skipped by its name."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on this machine")
    return found


def unreachable(said: str) -> bool:
    """Tell from what an installer said whether nobody answered, rather than somebody with a no."""
    return _NOBODY.search(said) is not None and _SAID_NO.search(said) is None


def too_old(said: str) -> str:
    """Find what a compiler of this machine said it is too old for, else give nothing."""
    found = _TOO_OLD.search(said)
    return found[0] if found else ""


def installed(
    name: str, files: Sequence[Path], *commands: list[str], newest: bool, made_with: str = ""
) -> Path:
    """Copy the files into a folder of the cache and run the commands in it, once for what is in them.

    Shapes:  `newest` where the files name no versions: the folder is then good for a week.
    """
    folder = _folder(name, files, [*commands, made_with], newest=newest)
    if (folder / ".installed").exists():
        return folder
    # A folder half made is made again.
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, folder)
    for command in commands:
        _run(command, folder)
    (folder / ".installed").touch()
    return folder


def python_with(*packages: str) -> list[str]:
    """Give the command of a Python that has exactly these packages and what they need."""
    commands = python_commands(*packages)
    newest = not any("==" in each for each in packages)
    return [str(installed("python", [], *commands, newest=newest) / "bin" / "python")]


def python_commands(*wanted: str) -> tuple[list[str], list[str]]:
    """Give what makes a Python of its own in a folder; `wanted` as pip takes it."""
    pip = ["bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    return [sys.executable, "-m", "venv", "."], [*pip, *wanted]


def _run(command: list[str], folder: Path) -> None:
    """Run one step; what ended in a skip is not tried again for every test that wants it."""
    name = folder.name.rpartition("-")[0]
    if folder in _SKIPPED:
        pytest.skip(_SKIPPED[folder])
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        _skip(folder, f"{name} was not installed within {INSTALL_SECONDS} seconds")
    if done.returncode == 0:
        return
    said = (done.stderr + done.stdout).strip()
    if found := too_old(said):
        _skip(folder, f"{Path(command[0]).name} is too old here: {found}")
    if unreachable(said):
        _skip(folder, f"no registry can be reached for {name}\n{said[-300:]}")
    pytest.fail(f"{name} cannot be installed: {said[-1000:]}")


def _skip(folder: Path, reason: str) -> NoReturn:
    _SKIPPED[folder] = reason
    pytest.skip(reason)


def _folder(name: str, files: Sequence[Path], commands: object, *, newest: bool) -> Path:
    """Name a folder by what is in it; the newest of this week is not the newest of the next."""
    week = tuple(datetime.now(UTC).isocalendar())[:2] if newest else None
    texts = [file.read_text() for file in files]
    key = json.dumps([texts, commands, sys.version_info[:2], week])
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    return Path(home) / "podpass" / "clients" / f"{name}-{digest}"
