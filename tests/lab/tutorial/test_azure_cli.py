"""Choice and installation of the Azure CLI."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from podpass.errors import UsageError
from podpass.lab.tutorial.azure_cli import (
    AzureCliNotInstalled,
    choose_release,
    find_old_python,
    install,
)

pytestmark = pytest.mark.processes

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HERE = Path(sys.executable)
OLD = Path("/opt/bin/python3.10")
PINNED = "azure-mgmt-rdbms==10.2.0b7"


@pytest.mark.parametrize(
    ("which", "old", "name", "requirements", "python"),
    [
        ("newest", None, "newest-2026-01", ["azure-cli"], HERE),
        ("oldest", OLD, "2.47.0-python3.10", ["azure-cli==2.47.0", PINNED], OLD),
        ("oldest", None, "2.54.0", ["azure-cli==2.54.0"], HERE),
        ("2.47.0", None, "2.47.0", ["azure-cli==2.47.0", PINNED], HERE),
        ("2.74.0", OLD, "2.74.0", ["azure-cli==2.74.0"], HERE),
    ],
)
def test_release_has_folder_requirements_and_python(
    which: str, old: Path | None, name: str, requirements: list[str], python: Path
) -> None:
    release = choose_release(which, NOW, old)
    assert (release.name, list(release.requirements), release.python) == (
        name,
        requirements,
        python,
    )


@pytest.mark.parametrize("which", ["", "../..", "2.47", "latest", "2.47.0; x"])
def test_invalid_az_version_is_refused(which: str) -> None:
    with pytest.raises(UsageError):
        choose_release(which, NOW, None)


@pytest.mark.parametrize("which", ["2.46.9", "2.10.0", "1.99.99"])
def test_too_old_az_version_is_refused_before_the_installation(which: str) -> None:
    with pytest.raises(UsageError, match=which) as caught:
        choose_release(which, NOW, None)
    assert "2.47.0" in caught.value.hint


@pytest.fixture
def no_index(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which pip fails immediately without a package index."""
    return {"XDG_CACHE_HOME": str(tmp_path), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}


def test_newest_az_of_an_earlier_week_is_used_without_a_package_index(
    tmp_path: Path, no_index: dict[str, str]
) -> None:
    root = tmp_path / "podpass" / "az"
    for week in ("2025-51", "2025-52"):
        (root / f"newest-{week}").mkdir(parents=True)
        (root / f"newest-{week}" / ".complete").touch()
    said: list[str] = []
    python = install("newest", no_index, NOW, said.append)
    assert python == root / "newest-2025-52" / "bin" / "python"
    assert "newest-2025-52" in said[-1]
    assert not (root / "newest-2026-01").exists()


def test_failed_installation_leaves_no_files(tmp_path: Path, no_index: dict[str, str]) -> None:
    with pytest.raises(AzureCliNotInstalled, match="ERROR") as caught:
        install("99.0.0", no_index, NOW, print)
    assert "--az" in caught.value.hint
    left = [entry.name for entry in (tmp_path / "podpass" / "az").iterdir()]
    assert left == [".99.0.0.lock"]


def test_python_shim_that_does_not_run_is_skipped(tmp_path: Path) -> None:
    """A pyenv shim exists for every installed version, but runs only the selected ones."""
    shims = tmp_path / "shims"
    real = tmp_path / "pyenv" / "versions" / "3.9.18" / "bin"
    for folder, name, code in ((shims, "python3.10", 127), (real, "python3.9", 0)):
        folder.mkdir(parents=True)
        (folder / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (folder / name).chmod(0o755)
    environ = {"PATH": str(shims), "PYENV_ROOT": str(tmp_path / "pyenv")}
    assert find_old_python(environ) == real / "python3.9"
    assert find_old_python({**environ, "PYENV_ROOT": str(tmp_path / "none")}) is None


def test_installed_az_is_not_installed_again(tmp_path: Path) -> None:
    place = tmp_path / "podpass" / "az" / "2.74.0"
    place.mkdir(parents=True)
    (place / ".complete").touch()
    said: list[str] = []
    python = install("2.74.0", {"XDG_CACHE_HOME": str(tmp_path)}, NOW, said.append)
    assert (python, said) == (place / "bin" / "python", [])
