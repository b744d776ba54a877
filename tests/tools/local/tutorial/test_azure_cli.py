"""Which Azure CLI is meant, and where it is kept."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from podpass.errors import UsageError
from podpass.tools.local.tutorial.azure_cli import install, named

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("which", "folder", "requirements"),
    [
        ("newest", "newest-2026-01", ("azure-cli",)),
        ("oldest", "2.47.0", ("azure-cli==2.47.0", "azure-mgmt-rdbms==10.2.0b7")),
        ("2.74.0", "2.74.0", ("azure-cli==2.74.0",)),
    ],
)
def test_a_version_has_a_folder_and_its_requirements(
    which: str, folder: str, requirements: tuple[str, ...]
) -> None:
    assert named(which, NOW) == (folder, requirements)


@pytest.mark.parametrize("which", ["", "../..", "2.47", "latest", "2.47.0; x"])
def test_what_is_no_version_is_refused(which: str) -> None:
    with pytest.raises(UsageError):
        named(which, NOW)


def test_what_is_installed_is_not_installed_again(tmp_path: Path) -> None:
    place = tmp_path / "podpass" / "az" / "2.47.0"
    place.mkdir(parents=True)
    (place / ".complete").touch()
    said: list[str] = []
    python = install("oldest", {"XDG_CACHE_HOME": str(tmp_path)}, NOW, said.append)
    assert (python, said) == (place / "bin" / "python", [])
