"""Released clients, each installed from its registry into a folder of its own, once."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "podpass" / "clients"


def _folder(name: str, wanted: object) -> Path:
    digest = hashlib.sha256(json.dumps([wanted, sys.version_info[:2]]).encode()).hexdigest()[:12]
    return _cache() / f"{name}-{digest}"


def _install(folder: Path, *commands: list[str]) -> None:
    """Run the commands once; a folder half made is made again."""
    if (folder / ".installed").exists():
        return
    for command in commands:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=600
        )
        if done.returncode != 0:
            pytest.skip(f"{folder.name} cannot be installed here: {done.stderr.strip()[-300:]}")
    (folder / ".installed").touch()


def python_with(*packages: str) -> list[str]:
    """Give the command of a Python that has exactly these packages and what they need."""
    folder = _folder("python", packages)
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
    folder = _folder("node", packages)
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
