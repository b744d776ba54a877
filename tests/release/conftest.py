"""The modules of `scripts/release`, and a small checkout."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.release.checkout import ROOT, git

VERSION = "0.1.0"
_FOLDER = ROOT / "scripts" / "release"


@pytest.fixture(scope="session")
def load() -> Iterator[Callable[[str], Any]]:
    """Return a function that imports a module of `scripts/release`; the modules are removed at the end."""
    before = set(sys.modules)
    sys.path.insert(0, str(_FOLDER))
    yield importlib.import_module
    sys.path.remove(str(_FOLDER))
    for name in sys.modules.keys() - before:
        if (_FOLDER / f"{name}.py").exists():
            del sys.modules[name]


@pytest.fixture
def small(tmp_path: Path, load: Callable[[str], Any]) -> Path:
    """Return a checkout with the files that contain the version, a changelog and no fragment."""
    folder = tmp_path / "checkout"
    for name in ("src/podpass/__init__.py", *load("source").COPIES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text((ROOT / name).read_text())
    load("source").write_version(folder, VERSION)
    (folder / "changelog.d").mkdir()
    (folder / "changelog.d" / "README.md").write_text("# Changelog fragments\n")
    (folder / "CHANGELOG.md").write_text(
        f"# Changelog\n\n## {VERSION} (2026-12-01)\n\n### Added\n\n- A loop.\n"
    )
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=release")
    return folder
