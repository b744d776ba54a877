"""One instance with real exchanges, and one Chromium, for all tests of the console in a browser."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import programs
from tests.browser.pages import ConsolePages, Session
from tests.clients.installation import find_tool, run_installation
from tests.journey.instance import CLIENT, Instance, started

HOSTILE = "<img src=x onerror=document.title='pwned'>"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-screenshots", metavar="FOLDER", help="write the screenshots of the documentation"
    )


def _require_programs() -> None:
    if problem := programs.missing():
        pytest.skip(problem)


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Return an instance in which a pod read a secret, and another was refused."""
    _require_programs()
    with started(tmp_path_factory.mktemp("browser")) as running:
        running.account("untrusted", {"azure.workload.identity/client-id": CLIENT})
        phase, log = running.run_pod("reader", "web")
        assert phase == "Succeeded", log
        phase, _ = running.run_pod("refused", "untrusted")
        assert phase == "Failed"
        yield running


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Return a running Chromium."""
    _require_programs()
    from playwright.sync_api import sync_playwright

    # Its own sandbox needs a user namespace that root in a container often cannot create.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_tool(programs.PROGRAM), args=arguments
        )
        yield browser
        browser.close()


@pytest.fixture
def console(chromium: Any, instance: Instance) -> Iterator[ConsolePages]:
    """Open consoles in new browser sessions; each is checked for errors and foreign requests."""
    opened = ConsolePages(chromium, instance)
    yield opened
    opened.close()


@pytest.fixture
def page(console: ConsolePages) -> Session:
    """Return a signed-in console."""
    return console.open()


@pytest.fixture(scope="session")
def axe() -> str:
    """Return the script of the accessibility checks."""
    command = [find_tool("npm"), "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    manifest = Path(__file__).with_name("package.json")
    folder = run_installation("axe", [manifest], command, newest=False)
    return (folder / "node_modules/axe-core/axe.min.js").read_text("utf-8")
