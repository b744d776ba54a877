"""Rules for every test run: allowed skips in CI, folders of suites, same examples, less repeated work."""

import ast
import collections
import contextlib
import functools
import gc
import hashlib
import importlib
import os
import re
import sys
import tomllib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, settings
from sqlalchemy import Dialect
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.util import LRUCache
from xdist.scheduler import LoadFileScheduling

# jsonschema imports it, if it is installed, for a format that no test uses. Its grammar takes 1 s to build.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

_MEMORY = Path("/dev/shm")
_MEMORY_BYTES = 4 << 30


def _is_large(folder: Path) -> bool:
    """Return whether a folder has room for the files of a test run, and may hold programs."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize >= _MEMORY_BYTES and not found.f_flag & os.ST_NOEXEC


# Databases wait for the disk at each commit. pytest makes its temporary folders below this one.
if _is_large(_MEMORY):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))

_IN_CI = os.environ.get("CI") == "true"
# pytest-xdist sets it in its workers; tables and sentences of the command line would be wrapped to it.
os.environ.pop("COLUMNS", None)
_ALLOWED = Path(__file__).with_name("allowed_skips.toml")
_MAKEFILE = Path(__file__).parents[1] / "Makefile"
# The Makefile's variable with the folders and files of a mark; the suite of the mark collects no others.
_FOLDERS = {"postgres": "STORES", "kubernetes": "CLUSTERS"}

# The tests of each of these groups share a control plane, a port or an image, so one worker of their suite
# runs all of them. The first beginning that fits counts.
_ONE_WORKER = {
    "kubernetes": {
        "tests/control_plane/contract/": "contract",
        "tests/control_plane/": "instance",
        "tests/charts/test_in_place.py": "plane",
        "tests/cloud/": "plane",
        "tests/doctor/": "plane",
        "tests/kubernetes_clients/": "port",
    },
    "processes": {"tests/deploy/test_image": "image"},
}

_EXAMPLES_FACTOR = int(os.environ.get("PODPASS_EXAMPLES", "1"))


def examples(number: int) -> int:
    """Return how many examples a property gets that `make test` checks with this number of them.

    `make soak` sets PODPASS_EXAMPLES to a multiple.
    """
    return number * _EXAMPLES_FACTOR


# The folders whose tests all have one mark, and their time limit in seconds.
_MARKED = {
    "tests/containers/": ("containers", 1500),
    "tests/kind/": ("kind", 2400),
    "tests/kubernetes_clients/": ("kubernetes", 1800),
    "tests/node/": ("node", 1800),
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

# OpenSSL checks the numbers of a private key when it parses one, which takes 36 ms. Tests use good keys, and
# many tests parse the same few.
_parse = functools.lru_cache(maxsize=256)(serialization.load_pem_private_key)


def _parse_once(data: bytes, password: bytes | None = None, **options: Any) -> Any:
    return _parse(bytes(data), password, unsafe_skip_rsa_key_validation=True, **options)


serialization.load_pem_private_key = _parse_once  # type: ignore[assignment]

# Creating a key takes 60 ms. No test needs more different keys at the same time than these.
_MAX_KEYS = 40
_keys: collections.deque[rsa.RSAPrivateKey] = collections.deque()
_generate = rsa.generate_private_key


def _next_key(public_exponent: int, key_size: int, backend: Any = None) -> rsa.RSAPrivateKey:
    """Create a key, or return the one that was not used for the longest time."""
    if (public_exponent, key_size) != (65537, 2048):
        return _generate(public_exponent, key_size, backend)
    full = len(_keys) == _MAX_KEYS
    _keys.append(_keys.popleft() if full else _generate(public_exponent, key_size))
    return _keys[-1]


rsa.generate_private_key = _next_key

# A hash of a password takes 45 ms, and tests sign in the same few users often.
hashlib.scrypt = functools.lru_cache(maxsize=256)(hashlib.scrypt)  # type: ignore[assignment]


# SQLAlchemy compiles each statement once for each engine, and most tests create an engine. Dialects of one
# class compile a statement to the same text.
_compile_for_engine = ClauseElement._compile_w_cache
_dialects: dict[type[Dialect], Dialect] = {}
_compiled: LRUCache[Any, Any] = LRUCache(3000)


def _compile_once(
    statement: ClauseElement, dialect: Dialect, *, compiled_cache: Any, **options: Any
) -> Any:
    shared = _dialects.setdefault(type(dialect), dialect)
    cache = None if compiled_cache is None else _compiled
    return _compile_for_engine(statement, shared, compiled_cache=cache, **options)


ClauseElement._compile_w_cache = _compile_once  # type: ignore[method-assign, assignment]


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
        if pytest_ignore_collect(file.absolute(), config):
            continue
        parts = file.absolute().relative_to(config.rootpath).with_suffix("").parts
        # The collection imports it again and reports the cause.
        with contextlib.suppress(Exception, pytest.skip.Exception, pytest.fail.Exception):
            importlib.import_module(".".join(parts))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Exclude the modules whose tests all have marks that this run excludes: importing them takes seconds."""
    expression: str = config.getoption("markexpr")
    if not _EXCLUDING.fullmatch(expression) or not collection_path.is_relative_to(config.rootpath):
        return None
    name = f"{collection_path.relative_to(config.rootpath)}/"
    marks = {mark for folder, (mark, _) in _MARKED.items() if name.startswith(folder)}
    if collection_path.name.startswith("test_") and collection_path.suffix == ".py":
        marks |= _module_marks(collection_path)
    return True if marks & set(re.findall(r"not (\w+)", expression)) else None


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
    """Mark the tests of a folder. Refuse a test that its suite would not find by the Makefile's list.

    Errors:  UsageError.
    """
    for item in items:
        for folder, (name, seconds) in _MARKED.items():
            if item.nodeid.startswith(folder):
                item.add_marker(name)
                item.add_marker(pytest.mark.timeout(seconds))
    # The copies of `make rules` and `make mutation` have no Makefile.
    for item in items if _MAKEFILE.exists() else ():
        for mark in item.iter_markers():
            if mark.name == "processes" and not _names_processes(item.path):
                raise pytest.UsageError(
                    f"{item.nodeid} has the mark processes, but its file does not contain `mark.processes`,"
                    " by which `make test-processes` finds it"
                )
            file = Path(item.nodeid.split("::")[0])
            if mark.name in _FOLDERS and _listed(mark.name).isdisjoint([file, *file.parents]):
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
    """Start each control plane and build each image in one worker only."""
    return _SharedScheduling(config, log) if _suite(config) in _ONE_WORKER else None


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
