"""`.ci/run` reruns up to three failed tests alone; every other failure ends the run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import wait_until_ended
from tests.run_program import run_text

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
# A fake make. The first suite ends as given, also the second time; `others` and `status_of` set how the
# others end.
MAKE = """#!/usr/bin/env bash
echo "make $*" >> made
cache=${PYTEST_ADDOPTS##*cache_dir=}
[ -z "$cache" ] || mkdir -p "$cache/v/run"
case "$*" in
    test-podpass) cp -r first/v "$cache/"; exit "$(cat first_status)";;
    *AGAIN=yes) cp second "$cache/v/run/ended"; exit "$(cat again)";;
    test-*) cp others "$cache/v/run/ended"; echo "ran $1"
        if [ -f "status_of/$1" ]; then
            until [ -s endless_pid ] || grep -q none endless; do sleep 0.05; done
            exit 2
        fi;;
esac
# A suite of a list in which one test fails.
[ "$1" != "$(cat unsteady)" ] || { cp -r first/v "$cache/"; exit 2; }
# A suite that ends only when `.ci/run` ends it.
[ "$1" != "$(cat endless)" ] || { echo $$ > endless_pid; exec sleep infinity; }
"""
ONE = ["tests/test_it.py::test_a[x[1]]"]
FAILED = "1 1 19500"


def _run(
    folder: Path,
    failed: list[str] | None,
    ended: str | None,
    *,
    again: int = 0,
    then: str = "0 0 1",
    broken: str = "",
    endless: str = "none",
    unsteady: str = "none",
    first: int = 2,
    others: str = "0 0 19000",
) -> tuple[int, str, list[str]]:
    """Return the exit code, the output, and the calls of make."""
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", folder / ".ci/run")
    make = folder / "make"
    make.write_text(MAKE)
    make.chmod(0o755)
    # The run would otherwise install these on a machine that lacks them.
    for program in ("bwrap", "zsh", "fish", "chromium", "postgres"):
        shutil.copy(make, folder / program)
    for name, said in (
        ("cache/lastfailed", None if failed is None else dict.fromkeys(failed, True)),
        ("run/ended", ended),
    ):
        path = folder / "first/v" / name
        path.parent.mkdir(parents=True)
        if said is not None:
            path.write_text(json.dumps(said, indent=2))
    (folder / "again").write_text(str(again))
    (folder / "second").write_text(json.dumps(then))
    (folder / "status_of").mkdir()
    (folder / "status_of" / broken).touch()
    (folder / "endless").write_text(endless)
    (folder / "unsteady").write_text(unsteady)
    (folder / "first_status").write_text(str(first))
    (folder / "others").write_text(json.dumps(others))
    done = run_text(
        [folder / ".ci/run"], env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    )
    made = (folder / "made").read_text().splitlines()
    # Two suites that install packages at the same time would break each other.
    assert made[:2] == ["make .venv/.all", "make test-kubeling"]
    return done.returncode, done.stdout, made[2:]


def test_test_that_passes_alone_is_named_and_the_run_continues(tmp_path: Path) -> None:
    code, said, made = _run(tmp_path, ONE, FAILED)
    assert code == 0
    assert said.splitlines()[-1].startswith("=== UNSTEADY")
    assert said.splitlines()[-1].endswith(ONE[0])
    assert made[:2] == ["make test-podpass", "make test-podpass AGAIN=yes"]
    assert {"make test-processes", "make test-kubernetes"} <= set(made[2:])
    assert any(call.startswith("make fuzz ") for call in made)


def test_failed_test_of_a_parallel_suite_is_rerun_after_all_suites(tmp_path: Path) -> None:
    """While other lists run, a slow machine would be the likely cause of a second failure, too."""
    code, said, made = _run(tmp_path, ONE, FAILED, first=0, unsteady="test-az")
    assert code == 0
    assert made[-1] == "make test-az AGAIN=yes"
    assert {"make test-selfhost", "make test-tutorial"} <= set(made)
    assert said.splitlines()[-1].endswith(ONE[0])


def test_rerun_that_fails_again_after_all_suites_ends_the_run(tmp_path: Path) -> None:
    code, said, made = _run(
        tmp_path, ONE, FAILED, first=0, unsteady="test-clients", again=2, then="1 1 0"
    )
    assert (code, "UNSTEADY" in said) == (2, False)
    assert made[-1] == "make test-clients AGAIN=yes"


def test_second_failure_ends_the_run(tmp_path: Path) -> None:
    code, said, made = _run(tmp_path, ONE, FAILED, again=2, then="1 1 0")
    assert (code, "UNSTEADY" in said) == (2, False)
    assert made == ["make test-podpass", "make test-podpass AGAIN=yes"]


@pytest.mark.parametrize(
    ("failed", "ended"),
    [
        ([f"tests/test_it.py::test_{n}" for n in range(4)], "1 4 19500"),
        (ONE, "2 1 19500"),
        (ONE, "3 1 19500"),
        (ONE, None),
        (ONE, "1 2 19500"),
        (["tests/test_it.py"], "1 1 19500"),
        (None, None),
        (None, FAILED),
    ],
    ids=[
        *("many", "interrupted", "broken", "killed", "an error in another test", "not imported"),
        *("no test", "no name"),
    ],
)
def test_other_failures_are_not_rerun(
    tmp_path: Path, failed: list[str] | None, ended: str | None
) -> None:
    code, _, made = _run(tmp_path, failed, ended)
    assert code != 0
    assert made == ["make test-podpass"]


def test_rerun_without_the_failed_test_ends_the_run(tmp_path: Path) -> None:
    """A test that is skipped or renamed in the rerun would let the suite pass."""
    code, _, made = _run(tmp_path, ONE, FAILED, then="0 0 0")
    assert code != 0
    assert made == ["make test-podpass", "make test-podpass AGAIN=yes"]


def test_unsteady_tests_are_named_in_a_failed_run(tmp_path: Path) -> None:
    code, said, made = _run(tmp_path, ONE, FAILED, broken="test-az")
    assert code != 0
    assert said.splitlines()[-1].startswith("=== UNSTEADY")
    assert "make test-az" in made


def test_run_fails_when_a_suite_passes_with_too_few_tests(tmp_path: Path) -> None:
    code, _, made = _run(tmp_path, None, "0 0 7", first=0)
    assert code != 0
    assert made == ["make test-podpass"]


def test_run_fails_when_a_later_suite_ran_no_test(tmp_path: Path) -> None:
    code, _, made = _run(tmp_path, None, "0 0 19000", first=0, others="0 0 0")
    assert code != 0
    assert not any(call.startswith(("make rules", "make fuzz")) for call in made)


def test_every_suite_runs_and_is_printed(tmp_path: Path) -> None:
    code, said, made = _run(tmp_path, None, "0 0 19500", first=0)
    assert code == 0
    suites = {call.split()[1] for call in made if call.startswith("make test-")}
    ran = {line.split()[1] for line in said.splitlines() if line.startswith("ran ")}
    assert suites - {"test-podpass"} == ran - {"test-kubeling"}
    assert {"test-az", "test-clients", "test-kubernetes", "test-selfhost"} <= suites


@pytest.mark.parametrize(
    ("broken", "endless", "never"),
    [
        ("test-kubernetes", "test-tutorial", "make test-selfhost"),
        ("test-tutorial", "test-clients", "make fuzz"),
        ("test-clients", "test-processes", "make rules"),
    ],
)
def test_failure_in_one_list_stops_the_others(
    tmp_path: Path, broken: str, endless: str, never: str
) -> None:
    """The third list may end before the failure. `never` comes later in one of the other two."""
    code, said, made = _run(tmp_path, None, "0 0 19500", first=0, broken=broken, endless=endless)
    assert code != 0
    assert f"ran {broken}" in said
    assert not any(call.startswith(never) for call in made)
    wait_until_ended(int((tmp_path / "endless_pid").read_text()))


def test_too_few_tests_are_not_run_again(tmp_path: Path) -> None:
    code, _, made = _run(tmp_path, ONE, "1 1 7")
    assert code != 0
    assert made == ["make test-podpass"]


@pytest.mark.timeout(600)  # it starts pytest, which a busy machine may let wait for minutes
@pytest.mark.parametrize(
    ("ends", "noted"), [("passes", "0 0 1"), ("fails", "1 1 0"), ("stops", "3 0 0")]
)
@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "in a worker"])
def test_end_of_a_suite_is_recorded(
    tmp_path: Path, ends: str, noted: str, workers: tuple[str, ...]
) -> None:
    bodies = {"passes": "pass", "fails": "assert 0", "stops": "import pytest; pytest.exit('x', 3)"}
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(f"def test_it():\n    {bodies[ends]}\n")
    _pytest(tmp_path, *(("-p", "xdist", *workers) if workers else ()))
    found = json.loads((tmp_path / ".pytest_cache/v/run/ended").read_text())
    assert found == noted or (ends == "stops" and found[0] not in "01")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("body", "code"), [("pass", 0), ("assert 0", 1)])
def test_run_without_cache_keeps_its_exit_code(tmp_path: Path, body: str, code: int) -> None:
    """`make rules` runs without cache and would count an error while recording as a failed test."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(f"def test_it():\n    {body}\n")
    assert _pytest(tmp_path, "-p", "no:cacheprovider") == code


def _pytest(folder: Path, *options: str) -> int:
    """Run pytest in a folder, with no plugin but those that are named; return its exit code."""
    options = ("-q", *options, "--rootdir", str(folder))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, folder],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTEST_ADDOPTS": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        cwd=folder,
        capture_output=True,
        check=False,
    )
    return done.returncode
