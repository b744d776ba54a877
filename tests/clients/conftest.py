"""One instance for all clients, and the matrix of their results."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients import matrix
from tests.clients.storage import run_azurite
from tests.journey.instance import Instance, started

ROWS = pytest.StashKey[dict[str, matrix.MatrixRow]]()


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with started(tmp_path_factory.mktemp("clients")) as running:
        yield running


@pytest.fixture(scope="session")
def storage(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return host and port of a blob service for the instance's pods."""
    with run_azurite(instance, tmp_path_factory.mktemp("blobs"), {}) as host:
        yield host


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-matrix", metavar="PAGE", help="replace the table of this page")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "shows(what): fills a cell of the client's row of the matrix"
    )
    config.stash[ROWS] = matrix.sorted_rows()


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Record the outcome of a test in the row of its client."""
    mark = item.get_closest_marker("shows")
    if mark is None or call.when == "teardown" or (call.when == "setup" and call.excinfo is None):
        return
    params = getattr(item, "callspec").params  # noqa: B009 only parametrized tests have it
    outcome, reason = "passed", ""
    if call.excinfo is not None:
        outcome = "skipped" if call.excinfo.errisinstance(pytest.skip.Exception) else "failed"
        reason = str(call.excinfo.value).partition("\n")[0].replace("|", "/")
    row = item.config.stash[ROWS][params["client"].name]
    row.record(mark.args[0], params.get("style", ""), outcome, reason)
    row.versions.extend(str(value) for name, value in item.user_properties if name == "version")


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    found = config.stash[ROWS].values()
    if not any(row.tried for row in found):
        return
    made = matrix.format_table(found)
    terminalreporter.section("client matrix")
    terminalreporter.write(made)
    page = config.getoption("--write-matrix", default=None)
    if page and exitstatus == 0 and all(row.tried or row.reasons for row in found):
        matrix.write_table(Path(page), made)
    elif page:
        terminalreporter.line(
            f"{page} is not changed: it shows only complete runs without a failure"
        )
