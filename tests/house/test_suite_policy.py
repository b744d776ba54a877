"""`CI=true`: a skip that the allow-list does not name fails the run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import suite_policy

ROOT = Path(__file__).parents[2]
SKIPPING = {
    "in a test": "import pytest\ndef test_it():\n    pytest.skip('no such program')\n",
    "by a mark": "import pytest\n@pytest.mark.skipif(True, reason='no such program')\ndef test_it(): pass\n",
    "in a fixture": (
        "import pytest\n@pytest.fixture\ndef tool(): pytest.skip('no such program')\n"
        "def test_it(tool): pass\n"
    ),
    "as a module": "import pytest\npytest.skip('no such program', allow_module_level=True)\n",
}


def _run(folder: Path, body: str, ci: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text('pytest_plugins = ("tests.suite_policy",)\n')
    (folder / "test_it.py").write_text(body)
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            folder,
            folder,
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "", "CI": ci},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("body", SKIPPING.values(), ids=SKIPPING)
def test_skip_fails_in_ci_and_names_the_reason(tmp_path: Path, body: str) -> None:
    done = _run(tmp_path, body, "true")
    assert done.returncode not in (0, 5)
    assert "skipped in CI" in done.stdout
    assert "no such program" in done.stdout


@pytest.mark.parametrize("body", SKIPPING.values(), ids=SKIPPING)
def test_skip_passes_outside_ci(tmp_path: Path, body: str) -> None:
    assert _run(tmp_path, body, "").returncode in (0, 5)


def test_expected_failure_is_no_skip(tmp_path: Path) -> None:
    body = "import pytest\ndef test_it():\n    pytest.xfail('known')\n"
    assert _run(tmp_path, body, "true").returncode == 0


def test_listed_skip_is_allowed_for_its_reason_only() -> None:
    test = "tests/local/test_datadir.py::test_x"
    assert suite_policy.forbidden_skip(test, "permissions do not bind the superuser") is None
    assert suite_policy.forbidden_skip(test, "another reason")
    assert suite_policy.forbidden_skip(
        "tests/x.py::test_x", "permissions do not bind the superuser"
    )
