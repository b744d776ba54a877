"""Released clients, each installed from its registry into a folder of its own: once, or once a week.

Only a missing tool or a registry that cannot be reached skips a test. A registry that answers, and with a
no, is a failure: a version that is gone, packages that do not fit together.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
# Their words for a no; a connection that was lost and found again may stand before it.
_SAID_NO = re.compile(r"from versions: (?!none)|ResolutionImpossible|\b(E404|ETARGET|ERESOLVE)\b")
# pip's and npm's words for a network that is not there.
_NOBODY = re.compile(
    r"NewConnectionError|ProxyError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError"
    r"|Network is unreachable"
    r"|\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ENETUNREACH|EHOSTUNREACH|ETIMEDOUT)\b"
)


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "podpass" / "clients"


def _folder(name: str, wanted: object, *, pinned: bool) -> Path:
    """Name a folder by what is in it; the newest of this week is not the newest of the next."""
    week = None if pinned else tuple(datetime.now(UTC).isocalendar())[:2]
    key = json.dumps([wanted, sys.version_info[:2], week])
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    return _cache() / f"{name}-{digest}"


def unreachable(said: str) -> bool:
    """Tell from what pip or npm said whether nobody answered, rather than somebody with a no."""
    return _NOBODY.search(said) is not None and _SAID_NO.search(said) is None


def _install(folder: Path, *commands: list[str]) -> None:
    """Run the commands once; a folder half made is made again."""
    if (folder / ".installed").exists():
        return
    for command in commands:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=600
        )
        if done.returncode != 0:
            said = (done.stderr + done.stdout).strip()
            if unreachable(said):
                pytest.skip(f"no registry can be reached for {folder.name}: {said[-300:]}")
            pytest.fail(f"{folder.name} cannot be installed: {said[-1000:]}")
    (folder / ".installed").touch()


def python_with(*packages: str) -> list[str]:
    """Give the command of a Python that has exactly these packages and what they need."""
    folder = _folder("python", packages, pinned=any("==" in each for each in packages))
    folder.mkdir(parents=True, exist_ok=True)
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    _install(folder, [sys.executable, "-m", "venv", "."], [*pip, *packages])
    return [python]


def node_with(**packages: str) -> list[str]:
    """Give the command of a Node whose programs find these packages; skip where there is no Node."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not on this machine")
    folder = _folder("node", packages, pinned="latest" not in packages.values())
    folder.mkdir(parents=True, exist_ok=True)
    overrides = {"@azure/core-rest-pipeline": "1.11.0"} if "3.2.0" in packages.values() else {}
    manifest = {
        "private": True,
        "dependencies": {name.replace("__", "/"): version for name, version in packages.items()},
        "overrides": overrides,
    }
    (folder / "package.json").write_text(json.dumps(manifest))
    _install(folder, [npm, "install", "--no-audit", "--no-fund", "--loglevel=error"])
    for program in PROGRAMS.glob("*.cjs"):
        shutil.copy(program, folder)
    return [node, str(folder)]
