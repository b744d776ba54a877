"""The example project of the pytest plugin, as its reader runs it: podpass from its wheel."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.installation import podpass_environment
from tests.run_program import run_text

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "pytest"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield a Python in whose environment the example's requirements and the wheel are installed."""
    folder = tmp_path_factory.mktemp("wheel")
    files = [EXAMPLE / name for name in ("pyproject.toml", "greeter.py", "service.py")]
    with podpass_environment("pytest-example", folder, files, "", f"{EXAMPLE}[tests]") as found:
        yield found


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one", "two"])
def test_tests_of_the_example_pass(python: str, tmp_path: Path, workers: list[str]) -> None:
    project = tmp_path / "project"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("__pycache__"))
    done = run_text(
        [python, "-m", "pytest", "-p", "no:cacheprovider", *workers], cwd=project, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "17 passed" in done.stdout
