"""`CI=true`: a skip that the allow-list does not name fails the run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests import suite_policy
from tests.run_program import run_text

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
SKIPPING = {
    "in a test": "import pytest\ndef test_it():\n    pytest.skip('no such program')\n",
    "by a mark": "import pytest\n@pytest.mark.skipif(True, reason='no such program')\ndef test_it(): pass\n",
    "in a fixture": (
        "import pytest\n@pytest.fixture\ndef tool(): pytest.skip('no such program')\n"
        "def test_it(tool): pass\n"
    ),
}
MODULE = "import pytest\npytest.skip('no such program', allow_module_level=True)\n"


def _run(
    folder: Path, body: str, ci: str, test: str = "test_it.py", *options: str
) -> subprocess.CompletedProcess[str]:
    (folder / test).parent.mkdir(parents=True, exist_ok=True)
    (folder / "conftest.py").write_text('pytest_plugins = ("tests.suite_policy",)\n')
    (folder / test).write_text(body)
    return run_text(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            *options,
            "--rootdir",
            folder,
            folder,
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "", "CI": ci},
        cwd=folder,
    )


@pytest.fixture
def skipping(tmp_path: Path) -> Path:
    for number, body in enumerate(SKIPPING.values()):
        (tmp_path / f"test_{number}.py").write_text(body)
    return tmp_path


def test_skip_fails_in_ci_and_names_the_reason(skipping: Path) -> None:
    done = _run(skipping, "def test_it(): pass\n", "true")
    assert done.returncode == 1
    for number, where in enumerate(SKIPPING):
        [line] = [line for line in done.stdout.splitlines() if f" test_{number}.py" in line]
        assert line.startswith(("FAILED", "ERROR")), where
        assert "skipped in CI: no such program" in line, where


def test_module_that_is_skipped_fails_in_ci(tmp_path: Path) -> None:
    done = _run(tmp_path, MODULE, "true")
    assert done.returncode not in (0, 5)
    assert "skipped in CI: no such program" in done.stdout


def test_skip_passes_outside_ci(skipping: Path) -> None:
    assert _run(skipping, MODULE, "").returncode in (0, 5)


@pytest.mark.parametrize("mark", ["postgres", "kubernetes"])
def test_mark_in_a_folder_that_its_suite_does_not_collect_is_refused(
    tmp_path: Path, mark: str
) -> None:
    body = f"import pytest\n@pytest.mark.{mark}\ndef test_it(): pass\n"
    listed = {"postgres": "tests/database", "kubernetes": "tests/charts"}[mark]
    assert _run(tmp_path / "a", body, "", f"{listed}/test_it.py").returncode == 0
    done = _run(tmp_path / "b", body, "", "tests/other/test_it.py")
    assert done.returncode not in (0, 1, 5)
    assert f"`make test-{mark}` does not collect tests/other" in done.stdout + done.stderr


@pytest.mark.parametrize("mark", ["@pytest.mark.postgres", "pytestmark = pytest.mark.postgres"])
def test_mark_in_a_file_that_its_suite_does_not_collect_is_refused(
    tmp_path: Path, mark: str
) -> None:
    body = f"import pytest\n{mark}\ndef test_it(): pass\n"
    assert _run(tmp_path / "a", body, "", "tests/lab/services/vault/test_store.py").returncode == 0
    done = _run(tmp_path / "b", body, "", "tests/resource/test_other.py", "-m", "not postgres")
    assert done.returncode not in (0, 1, 5)
    assert "does not collect tests/resource" in done.stdout + done.stderr


def test_mark_that_the_search_of_the_makefile_does_not_find_is_refused(tmp_path: Path) -> None:
    found = "import pytest\n@pytest.mark.processes\ndef test_it(): pass\n"
    assert _run(tmp_path / "a", found, "", "tests/other/test_it.py").returncode == 0
    hidden = "import pytest\nmark = getattr(pytest.mark, 'processes')\n@mark\ndef test_it(): pass\n"
    done = _run(tmp_path / "b", hidden, "", "tests/other/test_it.py")
    assert done.returncode not in (0, 1, 5)
    assert "does not contain `mark.processes`" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "marks",
    [
        "pytest.mark.processes",
        "[pytest.mark.timeout(9), pytest.mark.processes]",
        "[\n    pytest.mark.processes,\n]",
    ],
)
def test_module_whose_tests_are_all_excluded_is_not_imported(tmp_path: Path, marks: str) -> None:
    module = f"import pytest\npytestmark = {marks}\nraise AssertionError('imported')\n"
    (tmp_path / "test_other.py").write_text(module)
    body = "def test_it(): pass\n"
    options = ("test_it.py", "-m", "not soak and not processes")
    assert _run(tmp_path, body, "", *options).returncode == 0
    assert "imported" in _run(tmp_path, body, "").stdout


def test_module_with_a_mark_of_one_parameter_is_collected(tmp_path: Path) -> None:
    body = (
        "import pytest\n"
        "BOTH = [1, pytest.param(2, marks=pytest.mark.processes)]\n"
        "pytestmark = pytest.mark.parametrize('n', BOTH + [pytest.param(3, marks=pytest.mark.processes)])\n"
        "def test_it(n): assert n == 1\n"
    )
    done = _run(tmp_path, body, "", "test_it.py", "-m", "not processes")
    assert done.returncode == 0
    assert "1 passed, 2 deselected" in done.stdout


def test_tests_of_a_marked_folder_have_its_mark(tmp_path: Path) -> None:
    body = "def test_it(request): assert request.node.get_closest_marker('node')\n"
    assert _run(tmp_path, body, "", "tests/node/test_it.py").returncode == 0
    assert _run(tmp_path, body, "", "tests/node/test_it.py", "-m", "not node").returncode == 5


def test_garbage_collection_is_on_during_tests_and_skips_the_collected_tests(
    tmp_path: Path,
) -> None:
    body = "import gc\ndef test_it(): assert gc.isenabled() and gc.get_freeze_count() > 10_000\n"
    assert _run(tmp_path, body, "").returncode == 0


def test_each_worker_imports_its_own_share_of_the_modules_first(tmp_path: Path) -> None:
    """Fails if all workers import, and compile, the modules in the same order."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ("tests.suite_policy",)\n')
    (tmp_path / "suite").mkdir()
    for name in ("test_a", "test_b"):
        (tmp_path / "suite" / f"{name}.py").write_text(
            "import os\n"
            "with open(os.environ['PYTEST_XDIST_WORKER'], 'a') as file: file.write(__name__ + ' ')\n"
            "def test_it(): pass\n"
        )
    options = ["-q", "-p", "no:cacheprovider", "--import-mode", "importlib", "-n", "2"]
    done = run_text(
        [sys.executable, "-m", "pytest", *options, "--rootdir", tmp_path, tmp_path / "suite"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "gw0").read_text().split() == ["suite.test_a", "suite.test_b"]
    assert (tmp_path / "gw1").read_text().split() == ["suite.test_b", "suite.test_a"]


def test_expected_failure_does_not_count_as_a_forbidden_skip(tmp_path: Path) -> None:
    body = "import pytest\ndef test_it():\n    pytest.xfail('known')\n"
    assert _run(tmp_path, body, "true").returncode == 0


def test_listed_skip_is_allowed_for_its_reason_only() -> None:
    test = "tests/lab/data/test_datadir.py::test_x"
    assert suite_policy.forbidden_skip(test, "permissions do not bind the superuser") is None
    assert suite_policy.forbidden_skip(test, "another reason")
    assert suite_policy.forbidden_skip(
        "tests/x.py::test_x", "permissions do not bind the superuser"
    )


@pytest.mark.parametrize(
    ("suite", "test", "group"),
    [
        ("kubernetes", "tests/control_plane/contract/test_lists.py::test_it[a/b]", "contract"),
        ("kubernetes", "tests/control_plane/storm/test_storm.py::test_it", "instance"),
        ("kubernetes", "tests/lab/names/test_real_api_server.py::test_it", "plane"),
        ("kubernetes", "tests/diagnose/doctor/test_healthy_cluster.py::test_it", "plane"),
        ("kubernetes", "tests/charts/test_rendered.py::test_it", None),
        ("processes", "tests/control_plane/storm/test_storm.py::test_it", None),
        ("processes", "tests/deploy/test_image_targets.py::test_it", "image"),
        ("not", "tests/journey/test_journey.py::test_it", "journey"),
        ("not", "tests/exchange/test_app.py::test_it", None),
    ],
)
def test_tests_that_share_a_control_plane_or_an_image_are_run_by_one_worker(
    suite: str, test: str, group: str | None
) -> None:
    assert suite_policy.shared_by(suite, test) == group


def test_keys_that_are_created_one_after_the_other_differ() -> None:
    keys = [rsa.generate_private_key(65537, 2048) for _ in range(3)]
    assert len({key.private_numbers().d for key in keys}) == 3
