"""The tables of clients, directly and through the migration sidecar: cells, reasons, and the pages."""

from pathlib import Path

import pytest

from tests.clients import matrix, sidecar_matrix
from tests.clients.catalogue import CLIENTS, MISSING
from tests.clients.matrix import MatrixRow
from tests.clients.sidecar_clients import MODES, SIDECAR_CLIENTS, YES, SidecarClient
from tests.clients.sidecar_matrix import SidecarRows
from tests.clients.sidecar_reasons import CellReason
from tests.clients.test_sidecar import Outcome, find_problems

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
NAMES = [each.name for each in SIDECAR_CLIENTS]


@pytest.mark.parametrize(
    ("without", "with_client_id", "is_direct", "text"),
    [
        (True, True, False, "yes"),
        (True, False, False, "without client ID"),
        (False, True, False, "with client ID"),
        (False, False, False, "no"),
        (True, True, True, "direct"),
        (False, False, True, "no"),
    ],
)
def test_cell_text_depends_on_which_requests_got_the_secret(
    without: bool, with_client_id: bool, is_direct: bool, text: str
) -> None:
    assert sidecar_matrix.cell(without, with_client_id, is_direct=is_direct) == text


@pytest.mark.parametrize(
    ("text", "reason", "has_problem"),
    [
        ("direct", CellReason("direct"), False),
        ("no", CellReason("direct"), True),
        ("no", CellReason("refused", "said"), False),
        ("no", CellReason("refused", "other"), True),
        ("direct", CellReason("refused", "said"), True),
        ("no", None, True),
        ("yes", None, False),
        ("yes", CellReason("refused", "said"), True),
    ],
)
def test_cell_that_contradicts_its_reason_is_a_problem(
    text: str, reason: CellReason | None, has_problem: bool
) -> None:
    assert bool(find_problems("env", Outcome(text, "1.0", "said"), reason)) == has_problem


def test_names_of_clients_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_written_rows_are_read_again_without_the_numbers_of_reasons() -> None:
    rows = SidecarRows()
    for client in SIDECAR_CLIENTS:
        rows.add(client, client.version or "99.0", ["yes"] * len(MODES))
    assert rows.is_complete
    page = f"{sidecar_matrix.BEGIN}\n\n{rows.format()}\n{sidecar_matrix.END}"
    for client in SIDECAR_CLIENTS:
        assert sidecar_matrix.documented_row(client, page) == ["yes"] * len(MODES)


def test_row_of_another_client_is_not_the_row_of_this_one() -> None:
    rows = SidecarRows()
    rows.add(SIDECAR_CLIENTS[0], "1.0", ["yes"] * len(MODES))
    page = f"{sidecar_matrix.BEGIN}\n{rows.format()}\n{sidecar_matrix.END}"
    assert not rows.is_complete
    assert sidecar_matrix.documented_row(SIDECAR_CLIENTS[1], page) == []
    shown = page.replace(SIDECAR_CLIENTS[0].credential, "AnotherCredential")
    assert sidecar_matrix.documented_row(SIDECAR_CLIENTS[0], shown) == []


@pytest.mark.parametrize("client", SIDECAR_CLIENTS, ids=NAMES)
def test_page_has_a_reason_for_every_cell_that_is_not_yes(client: SidecarClient) -> None:
    cells = sidecar_matrix.documented_row(client, PAGE)
    explained = [mode in client.reasons for mode in MODES]
    assert [cell != YES for cell in cells] == explained


def test_page_lists_the_reasons_of_the_clients() -> None:
    table = PAGE.partition(sidecar_matrix.BEGIN)[2].partition(sidecar_matrix.END)[0]
    for text, number in sidecar_matrix.reason_numbers().items():
        assert f"\n{number}. {text}\n" in table


def test_reason_has_one_number_for_all_its_cells() -> None:
    numbers = sidecar_matrix.reason_numbers()
    assert sorted(numbers.values()) == list(range(1, len(numbers) + 1))


def test_only_the_table_between_its_own_markers_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    matrix.write_table(page, "table", sidecar_matrix.BEGIN, sidecar_matrix.END)
    assert matrix.BEGIN in page.read_text()
    assert sidecar_matrix.documented_row(SIDECAR_CLIENTS[0], page.read_text()) == []


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
