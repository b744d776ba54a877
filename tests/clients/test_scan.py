"""`podpass migrate scan` on the installed clients: releases that work need no migration step."""

from pathlib import Path

import pytest

from podpass.migration.scan import Result, scan_paths
from podpass.migration.scan.decision import GO, JAVA, NODE, PYTHON, SUPPORTED
from tests.clients.catalogue import CLIENTS, ClientPackage
from tests.clients.toolchains import OLDEST

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

ECOSYSTEMS = {"Python": PYTHON, "Node": NODE, "Java": JAVA, "Go": GO}
IDENTITY = [each for each in CLIENTS if "workload" in each.styles and each.language in ECOSYSTEMS]


def ignore_progress(*_: str) -> None:
    """Print nothing."""


def installation(client: ClientPackage) -> Path:
    """Return the folder of an installed client: the one below the cache of clients."""
    words = [part for word in client.command() for part in word.split(":")]
    for path in map(Path, words):
        for parent in (path, *path.parents):
            if parent.parent.name == "clients" and parent.parent.parent.name == "podpass":
                return parent
    raise AssertionError(f"{words} names no installed client")


@pytest.mark.parametrize("client", IDENTITY, ids=[each.name for each in IDENTITY])
def test_supported_client_release_needs_no_migration_step(client: ClientPackage) -> None:
    report = scan_paths(client.name, [installation(client)], ignore_progress)
    library = SUPPORTED[ECOSYSTEMS[client.language]].library
    found = [each for each in report.findings if each.library == library]
    assert found
    assert {each.result for each in found} == {Result.NONE}
    if client.age == OLDEST:
        assert {each.version for each in found} == {client.version}
    assert report.is_complete, report.notes
