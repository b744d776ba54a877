"""`.ci/run`: what failed beside others runs once more, alone, and nothing else that is wrong passes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# In the place of make: the first suite ends as told, the second time too; all others as they are told.
MAKE = """#!/usr/bin/env bash
echo "make $*" >> made
case "$*" in
    test) cp -r first .pytest_cache; exit 2;;
    "test AGAIN=yes") cp second .pytest_cache/v/podpass/ended; exit "$(cat again)";;
    test-az) exit "$(cat az)";;
esac
"""
ONE = ["tests/test_it.py::test_a[x[1]]"]
FAILED = "1 1 8000"


def _run(
    folder: Path,
    failed: list[str] | None,
    ended: str | None,
    *,
    again: int = 0,
    then: str = "0 0 1",
    az: int = 0,
) -> tuple[int, str, list[str]]:
    """Give the exit code, what was printed, and what was made."""
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", folder / ".ci/run")
    make = folder / "make"
    make.write_text(MAKE)
    make.chmod(0o755)
    for name, said in (
        ("cache/lastfailed", None if failed is None else dict.fromkeys(failed, True)),
        ("podpass/ended", ended),
    ):
        path = folder / "first/v" / name
        path.parent.mkdir(parents=True)
        if said is not None:
            path.write_text(json.dumps(said, indent=2))
    (folder / "again").write_text(str(again))
    (folder / "second").write_text(json.dumps(then))
    (folder / "az").write_text(str(az))
    done = subprocess.run(
        [folder / ".ci/run"],
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, (folder / "made").read_text().splitlines()


def test_what_passes_alone_is_named_and_the_run_goes_on(tmp_path: Path) -> None:
    code, said, made = _run(tmp_path, ONE, FAILED)
    assert code == 0
    assert said.splitlines()[-1].startswith("=== UNSTEADY")
    assert said.splitlines()[-1].endswith(ONE[0])
    assert made[:3] == ["make test", "make test AGAIN=yes", "make test-postgres"]
    assert made[-1].startswith("make fuzz ")


def test_what_fails_again_ends_the_run(tmp_path: Path) -> None:
    code, said, made = _run(tmp_path, ONE, FAILED, again=2, then="1 1 0")
    assert (code, "UNSTEADY" in said) == (2, False)
    assert made == ["make test", "make test AGAIN=yes"]


@pytest.mark.parametrize(
    ("failed", "ended"),
    [
        ([f"tests/test_it.py::test_{n}" for n in range(4)], "1 4 8000"),
        (ONE, "2 1 8000"),
        (ONE, "3 1 8000"),
        (ONE, None),
        (ONE, "1 2 8000"),
        (["tests/test_it.py"], "1 1 8000"),
        (None, None),
        (None, FAILED),
    ],
    ids=[
        *("many", "interrupted", "broken", "killed", "a crash beside it", "not imported"),
        *("no test", "no name"),
    ],
)
def test_nothing_else_runs_again(
    tmp_path: Path, failed: list[str] | None, ended: str | None
) -> None:
    code, _, made = _run(tmp_path, failed, ended)
    assert code != 0
    assert made == ["make test"]


def test_what_does_not_run_again_has_not_passed(tmp_path: Path) -> None:
    """A test that is skipped the second time, or has another name, leaves a suite that ends well."""
    code, _, made = _run(tmp_path, ONE, FAILED, then="0 0 0")
    assert code != 0
    assert made == ["make test", "make test AGAIN=yes"]


def test_the_unsteady_are_named_in_a_red_run_too(tmp_path: Path) -> None:
    code, said, made = _run(tmp_path, ONE, FAILED, az=2)
    assert code != 0
    assert said.splitlines()[-1].startswith("=== UNSTEADY")
    assert made[-1] == "make test-az"


@pytest.mark.parametrize(
    ("ends", "noted"), [("passes", "0 0 1"), ("fails", "1 1 0"), ("stops", "3 0 0")]
)
@pytest.mark.parametrize("beside", [(), ("-n", "1")], ids=["alone", "in a worker"])
def test_how_a_suite_ended_is_noted(
    tmp_path: Path, ends: str, noted: str, beside: tuple[str, ...]
) -> None:
    bodies = {"passes": "pass", "fails": "assert 0", "stops": "import pytest; pytest.exit('x', 3)"}
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(f"def test_it():\n    {bodies[ends]}\n")
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *beside, "--rootdir", tmp_path, tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    found = json.loads((tmp_path / ".pytest_cache/v/podpass/ended").read_text())
    assert found == noted or (ends == "stops" and found[0] not in "01")


@pytest.mark.parametrize(("body", "code"), [("pass", 0), ("assert 0", 1)])
def test_a_run_that_keeps_nothing_ends_as_its_tests_did(
    tmp_path: Path, body: str, code: int
) -> None:
    """Fails when the note is written nevertheless: to `make rules` the error is a test that noticed."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(f"def test_it():\n    {body}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == code
