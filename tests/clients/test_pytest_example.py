"""The example project of the pytest plugin, as its reader runs it: podpass from its wheel."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.installation import locked, run_installation

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "pytest"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return a Python in whose environment the example's requirements and the wheel are installed."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(build, check=True, timeout=300)
    (wheel,) = folder.glob("podpass-*.whl")
    pip = ["bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    packages = [f"podpass @ {wheel.as_uri()}", f"{EXAMPLE}[tests]"]
    installed = run_installation(
        "pytest-example",
        [EXAMPLE / "pyproject.toml", EXAMPLE / "greeter.py", ROOT / "pyproject.toml"],
        [sys.executable, "-m", "venv", "."],
        [*pip, *packages],
        newest=True,
        made_with=wheel.name,
        not_hashed=packages,
    )
    # All checkouts use the environment for a week; podpass itself changes more often.
    command = [str(installed / "bin" / "python"), "-m", "pip", "install", "-q", "--no-deps"]
    with locked(installed):
        subprocess.run([*command, "--force-reinstall", str(wheel)], check=True, timeout=300)
        yield command[0]


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one", "two"])
def test_tests_of_the_example_pass(python: str, tmp_path: Path, workers: list[str]) -> None:
    project = tmp_path / "project"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [python, "-m", "pytest", "-p", "no:cacheprovider", *workers],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 passed" in done.stdout
