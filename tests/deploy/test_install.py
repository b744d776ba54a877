"""`scripts/install.py` shows the progress of pip, and its whole output if it fails."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.run_program import run_text

SCRIPT = Path(__file__).parents[2] / "scripts" / "install.py"


@pytest.fixture
def install() -> Any:
    spec = importlib.util.spec_from_file_location("install", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Collecting click>=8.2 (from podpass==0.1.0)\n", "3 packages found, collecting click"),
        (
            "  Downloading https://x/aiohttp-3.14.tar.gz (9 kB)\n",
            "3 packages found, downloading aiohttp-3.14.tar.gz",
        ),
        ("Installing collected packages: a, b, c\n", "installing 3 packages"),
        ("Requirement already satisfied: a\n", None),
    ],
)
def test_line_of_pip_is_parsed_to_progress(install: Any, line: str, shown: str | None) -> None:
    assert install.describe(line, 3) == shown


def test_one_package_is_counted_in_the_singular(install: Any) -> None:
    assert install.describe("Collecting click\n", 1) == "1 package found, collecting click"


def test_number_of_packages_is_printed_when_their_installation_begins(
    install: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also without a terminal and after less than ten seconds: pip is silent while it installs."""
    fake = [sys.executable, "-c", "print('Collecting a\\nInstalling collected packages: a, b')"]
    real = subprocess.Popen
    monkeypatch.setattr(install.subprocess, "Popen", lambda _, **options: real(fake, **options))
    assert install.main() == 0
    assert capfd.readouterr().out == "  installing 2 packages\n"


@pytest.mark.processes
def test_output_of_a_failed_pip_is_printed() -> None:
    done = run_text([sys.executable, str(SCRIPT), "--no-index", "no-such-package-of-podpass"])
    assert done.returncode == 1
    assert "No matching distribution found for no-such-package-of-podpass" in done.stderr
