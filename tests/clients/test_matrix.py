"""The table: what a row says of what was seen, and where it is written."""

from pathlib import Path

import pytest

from tests.clients import matrix
from tests.clients.catalogue import CLIENTS, MISSING
from tests.clients.matrix import Row


def row(secret: str = "yes", graph: str = "yes") -> Row:
    return Row("Go", "msal", "1.0.0", secret, graph)


def test_a_row_names_the_styles_that_passed_and_the_version_that_ran() -> None:
    seen = row()
    seen.take("pod", "string", "passed", "")
    seen.take("pod", "callback", "passed", "")
    seen.take("rotation", "", "passed", "")
    seen.versions.append("1.0.1")
    assert seen.cells() == (
        *("Go", "msal", "1.0.1", "string, callback"),
        *("yes", "yes", "yes", "passed"),
    )


def test_one_failure_makes_a_cell_and_the_result_a_failure() -> None:
    seen = row()
    seen.take("pod", "string", "passed", "")
    seen.take("pod", "callback", "failed", "what was said, which may be long")
    assert seen.cells()[3:] == (*("string", "failed", "failed", "not run", "failed: pod callback"),)


def test_what_cannot_be_had_says_why_once() -> None:
    seen = row()
    seen.take("pod", "string", "skipped", "go is not on this machine")
    seen.take("rotation", "", "skipped", "go is not on this machine")
    assert seen.cells()[3:] == (
        *("-", "skipped", "skipped", "skipped", "skipped: go is not on this machine"),
    )


def test_a_row_that_does_something_else_says_what_once_it_has_run() -> None:
    seen = row(secret="a blob", graph="asks for Storage only")
    assert seen.cells()[4:] == ("not run", "not run", "not run", "not run")
    seen.take("pod", "default", "passed", "")
    assert seen.cells()[4:6] == ("a blob", "asks for Storage only")


def test_every_client_has_a_row_and_so_has_what_is_missing() -> None:
    found = matrix.rows()
    assert set(found) > {client.name for client in CLIENTS}
    reasons = [each.cells()[-1] for each in found.values() if each.reasons]
    assert reasons == [reason for *_, reason in MISSING]


def test_the_table_replaces_the_one_on_the_page_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{matrix.BEGIN}\nold\n{matrix.END}\nafter\n")
    made = matrix.table([row()])
    matrix.write(page, made)
    matrix.write(page, made)
    assert page.read_text() == f"before\n{matrix.BEGIN}\n\n{made}\n{matrix.END}\nafter\n"
    assert made.count("\n") == 3


def test_a_page_without_a_place_for_the_table_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{matrix.BEGIN}\n")
    with pytest.raises(ValueError, match="no place"):
        matrix.write(page, "table")
    assert page.read_text() == f"before\n{matrix.BEGIN}\n"
