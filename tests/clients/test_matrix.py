"""The client matrix: the cells of a row, and where the table is written."""

from pathlib import Path

import pytest

from tests.clients import matrix
from tests.clients.catalogue import CLIENTS, MISSING
from tests.clients.matrix import MatrixRow


def row(secret: str = "yes", graph: str = "yes") -> MatrixRow:
    return MatrixRow("Go", "msal", "1.0.0", secret, graph)


def test_a_row_names_the_styles_that_passed_and_the_version_that_ran() -> None:
    seen = row()
    seen.record("pod", "string", "passed", "")
    seen.record("pod", "callback", "passed", "")
    seen.record("rotation", "", "passed", "")
    seen.versions.append("1.0.1")
    assert seen.cells() == (
        *("Go", "msal", "1.0.1", "string, callback"),
        *("yes", "yes", "yes", "passed"),
    )


def test_one_failure_marks_its_cell_and_the_result_as_failed() -> None:
    seen = row()
    seen.record("pod", "string", "passed", "")
    seen.record("pod", "callback", "failed", "what was said, which may be long")
    assert seen.cells()[3:] == (*("string", "failed", "failed", "not run", "failed: pod callback"),)


def test_unavailable_client_has_its_reason_once() -> None:
    seen = row()
    seen.record("pod", "string", "skipped", "go is not on this machine")
    seen.record("rotation", "", "skipped", "go is not on this machine")
    assert seen.cells()[3:] == (
        *("-", "skipped", "skipped", "skipped", "skipped: go is not on this machine"),
    )


def test_row_of_a_client_without_secret_shows_its_operation_after_it_ran() -> None:
    seen = row(secret="a blob", graph="asks for Storage only")
    assert seen.cells()[4:] == ("not run", "not run", "not run", "not run")
    seen.record("pod", "default", "passed", "")
    assert seen.cells()[4:6] == ("a blob", "asks for Storage only")


def test_every_client_and_every_missing_client_has_a_row() -> None:
    found = matrix.sorted_rows()
    assert set(found) > {client.name for client in CLIENTS}
    reasons = [each.cells()[-1] for each in found.values() if each.reasons]
    assert reasons == [reason for *_, reason in MISSING]


def test_only_the_table_of_the_page_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{matrix.BEGIN}\nold\n{matrix.END}\nafter\n")
    made = matrix.format_table([row()])
    matrix.write_table(page, made)
    matrix.write_table(page, made)
    assert page.read_text() == f"before\n{matrix.BEGIN}\n\n{made}\n{matrix.END}\nafter\n"
    assert made.count("\n") == 3


def test_page_without_table_markers_is_not_changed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{matrix.BEGIN}\n")
    with pytest.raises(ValueError, match="no place"):
        matrix.write_table(page, "table")
    assert page.read_text() == f"before\n{matrix.BEGIN}\n"
