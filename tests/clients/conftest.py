"""One instance for all clients, and the matrix of their results."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients import matrix, sidecar_matrix
from tests.clients.storage import run_azurite
from tests.journey.instance import Instance, started

ERRORS = Path(__file__).parents[1] / "vectors" / "sdk_errors.json"
ROWS = pytest.StashKey[dict[str, matrix.MatrixRow]]()
SIDECAR_ROWS = pytest.StashKey[sidecar_matrix.SidecarRows]()


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with started(tmp_path_factory.mktemp("clients")) as running:
        yield running


@pytest.fixture(scope="session")
def storage(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return host and port of a blob service for the instance's pods."""
    with run_azurite(instance, tmp_path_factory.mktemp("blobs"), {}) as host:
        yield host


@pytest.fixture(scope="module")
def recorded() -> Iterator[list[dict[str, object]]]:
    """Collect the errors that SDKs printed, and write them if the run records."""
    found: list[dict[str, object]] = []
    yield found
    if os.environ.get("PODPASS_RECORD_ERRORS") and found:
        ran = {(each["client"], each["kind"]) for each in found}
        known = json.loads(ERRORS.read_text())["errors"]
        found = [*(each for each in known if (each["client"], each["kind"]) not in ran), *found]
        source = "recorded by tests/clients/test_error_sentences.py from released SDKs in pods"
        text = json.dumps({"source": source, "errors": found}, indent=1, ensure_ascii=False)
        ERRORS.write_text(text + "\n")


@pytest.fixture
def sidecar_rows(request: pytest.FixtureRequest) -> sidecar_matrix.SidecarRows:
    """Return the rows of the clients of the migration sidecar."""
    return request.config.stash[SIDECAR_ROWS]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-matrix", metavar="PAGE", help="replace the table of this page")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "shows(what): fills a cell of the client's row of the matrix"
    )
    config.stash[ROWS] = matrix.sorted_rows()
    config.stash[SIDECAR_ROWS] = sidecar_matrix.SidecarRows()


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
    if any(row.tried for row in found):
        made = matrix.format_table(found)
        is_complete = all(row.tried or row.reasons for row in found) and exitstatus == 0
        _show(
            terminalreporter, config, "client matrix", made, is_complete, matrix.BEGIN, matrix.END
        )
    rows = config.stash[SIDECAR_ROWS]
    if rows.found:
        is_complete = rows.is_complete and exitstatus == 0
        begin, end = sidecar_matrix.BEGIN, sidecar_matrix.END
        title = "clients through the migration sidecar"
        _show(terminalreporter, config, title, rows.format(), is_complete, begin, end)


def _show(
    reporter: Any,
    config: pytest.Config,
    title: str,
    made: str,
    is_complete: bool,
    begin: str,
    end: str,
) -> None:
    """Print a table, and write it to the page if the run was complete and nothing failed."""
    reporter.section(title)
    reporter.write(made)
    page = config.getoption("--write-matrix", default=None)
    if page and is_complete:
        matrix.write_table(Path(page), made, begin, end)
    elif page:
        reporter.line(f"{page} is not changed: it shows only complete runs without a failure")
