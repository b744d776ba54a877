"""docs/develop/resources.md lists the well-known resources of the program."""

import re
from pathlib import Path

from podpass.directory.resources import BUILT_IN
from podpass.directory.well_known_resources import ACCOUNT_SUFFIXES

PAGE = Path(__file__).parents[2] / "docs/develop/resources.md"


def list_rows(columns: int) -> list[list[str]]:
    """Return the cells of the rows of tables with a number of columns, without the head."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text("utf-8").splitlines()
        if line.startswith("|") and not line.startswith("|---")
    ]
    return [row for row in rows if len(row) == columns and row[0] not in {"resource", "endpoint"}]


def find_literals(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", text))


def test_table_of_resources_agrees_with_the_program() -> None:
    listed = [(row[0], *find_literals(row[1]), find_literals(row[2])) for row in list_rows(4)]
    assert listed == [(one.display_name, one.app_id, one.uris) for one in BUILT_IN]


def test_each_resource_names_a_client_and_its_version() -> None:
    for row in list_rows(4):
        assert re.search(r"\d+\.\d+", row[3]) or "managed identities" in row[3], row[0]


def test_table_of_account_endpoints_agrees_with_the_program() -> None:
    names = {one.app_id: one.display_name for one in BUILT_IN}
    listed = {find_literals(row[0])[0]: row[1] for row in list_rows(2)}
    wanted = {f"https://ACCOUNT.{suffix}": names[id_] for suffix, id_ in ACCOUNT_SUFFIXES.items()}
    assert listed == wanted
