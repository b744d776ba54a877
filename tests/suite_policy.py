"""Rules for every test run: allowed skips in CI, folders of suites, same examples, groups of one worker."""

import ast
import contextlib
import functools
import gc
import importlib
import os
import re
import tomllib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

_IN_CI = os.environ.get("CI") == "true"
# pytest-xdist sets it in its workers; tables and sentences of the command line would be wrapped to it.
os.environ.pop("COLUMNS", None)
_ALLOWED = Path(__file__).with_name("allowed_skips.toml")
_MAKEFILE = Path(__file__).parents[1] / "Makefile"
# The Makefile's variable with the folders and files of a mark; the suite of the mark collects no others.
_FOLDERS = {"postgres": "STORES", "kubernetes": "CLUSTERS"}

# The tests of each of these groups share a control plane, an instance, a port or an image, so one worker of
# their suite runs all of them. The first prefix that matches counts. `not` is the suite of `make test`.
_ONE_WORKER = {
    "not": {"tests/journey/": "journey"},
    "kubernetes": {
        "tests/control_plane/contract/": "contract",
        "tests/control_plane/": "instance",
        "tests/charts/test_in_place.py": "plane",
        "tests/lab/": "plane",
        "tests/diagnose/": "plane",
        "tests/kubernetes_clients/": "port",
    },
    "processes": {"tests/deploy/test_image": "image"},
}

_EXAMPLES_FACTOR = int(os.environ.get("PODPASS_EXAMPLES", "1"))


def examples(number: int) -> int:
    """Return the number of examples of a property: `number`, and in `make soak` a multiple of it."""
    return number * _EXAMPLES_FACTOR


# The folders whose tests all have one mark, and their time limit in seconds.
_MARKED = {
    "tests/containers/": ("containers", 1500),
    "tests/kind/": ("kind", 2400),
    "tests/kubeling_peers/": ("kubeling_peers", 1800),
    "tests/kubernetes_clients/": ("kubernetes", 1800),
    "tests/node/": ("node", 1800),
    "tests/suites/": ("suites", 1800),
}
_MODULE_MARKS = re.compile(r"^pytestmark = (\[[^\n]*\]|\[.*?^\]|[^\n]*)", re.MULTILINE | re.DOTALL)
_EXCLUDING = re.compile(r"not \w+( and not \w+)*")

# Hypothesis judges answers, not how fast a busy machine is. In CI it draws the same examples in each run.
settings.register_profile(
    "shared",
    max_examples=examples(50),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=_IN_CI,
)
settings.load_profile("shared")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect without garbage collection, and exclude the collected tests from later collections.

    The tests are a million objects. Each full garbage collection would read all of them.
    """
    gc.disable()
    try:
        import_share(session.config)
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(50_000)
        gc.enable()


def import_share(config: pytest.Config) -> None:
    """Import first, in a worker of pytest-xdist, its share of the modules.

    Each worker collects all modules in the same order. Without compiled files, each of them would compile
    every module. With shares, most modules are compiled by one worker only.
    """
    worker: dict[str, Any] = getattr(config, "workerinput", {})
    folders = [Path(each) for each in config.args if Path(each).is_dir()]
    if not worker or any(config.rootpath not in each.absolute().parents for each in folders):
        return
    first, step = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
    files = sorted(each for folder in folders for each in folder.rglob("test_*.py"))
    for file in files[first::step]:
        if _is_excluded(file.absolute(), config):
            continue
        parts = file.absolute().relative_to(config.rootpath).with_suffix("").parts
        # The collection imports it again and reports the cause.
        with contextlib.suppress(Exception, pytest.skip.Exception, pytest.fail.Exception):
            importlib.import_module(".".join(parts))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Exclude the modules whose tests all have marks that this run excludes: importing them takes seconds."""
    return True if _is_excluded(collection_path, config) else None


def _is_excluded(path: Path, config: pytest.Config) -> bool:
    expression: str = config.getoption("markexpr")
    if not _EXCLUDING.fullmatch(expression) or not path.is_relative_to(config.rootpath):
        return False
    file = path.relative_to(config.rootpath)
    marks = {mark for folder, (mark, _) in _MARKED.items() if f"{file}/".startswith(folder)}
    if path.name.startswith("test_") and path.suffix == ".py":
        marks |= _module_marks(path)
    excluded = marks & set(re.findall(r"not (\w+)", expression))
    # A module that its own suite does not collect is imported, and then refused.
    return bool(excluded) and all(_collects(mark, file) for mark in excluded)


def _collects(mark: str, file: Path) -> bool:
    """Return whether the suite of a mark collects a file; the copies of `make rules` have no Makefile."""
    if mark not in _FOLDERS or not _MAKEFILE.exists():
        return True
    return not _listed(mark).isdisjoint([file, *file.parents])


@functools.cache
def _module_marks(path: Path) -> frozenset[str]:
    """Return the marks of all tests of a module, by its text."""
    found = _MODULE_MARKS.search(path.read_text())
    if found is None:
        return frozenset()
    try:
        value = ast.parse(found[1], mode="eval").body
    except SyntaxError:  # an expression of several lines, without marks of suites
        return frozenset()
    marks = value.elts if isinstance(value, ast.List) else [value]
    named = (mark.func if isinstance(mark, ast.Call) else mark for mark in marks)
    return frozenset(mark.attr for mark in named if isinstance(mark, ast.Attribute))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of a folder. Refuse a test that the Makefile does not list for its suite.

    Raises UsageError.
    """
    for item in items:
        for folder, (name, seconds) in _MARKED.items():
            if item.nodeid.startswith(folder):
                item.add_marker(name)
                item.add_marker(pytest.mark.timeout(seconds))
    for item in items:
        for mark in item.iter_markers():
            if mark.name == "processes" and not _names_processes(item.path):
                raise pytest.UsageError(
                    f"{item.nodeid} has the mark processes, but its file does not contain `mark.processes`,"
                    " by which `make test-processes` finds it"
                )
            file = Path(item.nodeid.split("::")[0])
            if not _collects(mark.name, file):
                raise pytest.UsageError(
                    f"{item.nodeid} has the mark {mark.name}, but `make test-{mark.name}` does not"
                    f" collect {file.parent}: add it to {_FOLDERS[mark.name]} in the Makefile"
                )


class _SharedScheduling(LoadFileScheduling):  # type: ignore[misc]
    """Gives whole files to workers, and all files whose tests share what is expensive to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        return shared_by(_suite(self.config), nodeid) or str(super()._split_scope(nodeid))


def _suite(config: pytest.Config) -> str:
    """Return the mark of the suite that runs."""
    return str(config.getoption("markexpr")).partition(" ")[0]


def shared_by(suite: str, nodeid: str) -> str | None:
    """Return the group whose tests one worker of a suite runs, or None for any worker."""
    groups = _ONE_WORKER[suite]
    return next((groups[each] for each in groups if nodeid.startswith(each)), None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Start each control plane and instance, and build each image, in one worker only."""
    by_file = config.getoption("dist") == "loadfile"
    return _SharedScheduling(config, log) if by_file and _suite(config) in _ONE_WORKER else None


@functools.cache
def _names_processes(path: Path) -> bool:
    return "mark.processes" in path.read_text()


@functools.cache
def _listed(mark: str) -> frozenset[Path]:
    found = re.search(rf"^{_FOLDERS[mark]} *= (.*)$", _MAKEFILE.read_text(), re.MULTILINE)
    assert found
    return frozenset(map(Path, found[1].split()))


@functools.cache
def _allowed() -> tuple[tuple[str, re.Pattern[str]], ...]:
    rows = tomllib.loads(_ALLOWED.read_text())["skip"]
    return tuple((row["tests"], re.compile(row["reason"])) for row in rows)


def forbidden_skip(nodeid: str, reason: str) -> str | None:
    """Return why a skip is an error in CI, or None if the allow-list has it."""
    for tests, pattern in _allowed():
        if nodeid.startswith(tests) and pattern.search(reason):
            return None
    return (
        f"skipped in CI: {reason}. Install what is missing in .ci/run, or add the test to"
        f" tests/{_ALLOWED.name} with the reason why it cannot run there."
    )


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not _IN_CI or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if refusal := forbidden_skip(report.nodeid, reason.removeprefix("Skipped: ")):
        report.outcome = "failed"
        report.longrepr = refusal


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip that is not allowed into a failure; drop what a passed test has printed.

    A worker would send each log line of each test three times, and the run prints it of failed tests only.
    """
    report = yield
    _refuse_skip(report)
    if report.passed and hasattr(item.config, "workerinput"):
        report.sections.clear()
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a module that is skipped as a whole into a failure, unless it is allowed."""
    report = yield
    _refuse_skip(report)
    return report
