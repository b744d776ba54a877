"""Release notes and the changelog's entry are made from CHANGELOG.md and the fragments."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import podpass
from tests.release.checkout import ROOT


@pytest.fixture
def notes(load: Callable[[str], Any]) -> Any:
    return load("notes")


def _write(root: Path, **fragments: str) -> None:
    for name, text in fragments.items():
        what, _, kind = name.partition("_")
        (root / "changelog.d" / f"{what}.{kind}.md").write_text(text)


def test_fragments_are_items_under_the_headings_of_their_kinds(notes: Any, small: Path) -> None:
    _write(
        small, b_fixed="One\nline.\n\nMore.\n", a_added="New.\n", z_security="Safe.\n", a_fixed="A."
    )
    assert notes.release_notes(small, "0.1.0") == (
        "# podpass 0.1.0\n\n### Added\n\n- A loop.\n\n- New.\n"
        "\n### Fixed\n\n- A.\n- One\n  line.\n\n  More.\n"
        "\n### Security\n\n- Safe.\n"
    )


def test_version_without_entry_has_its_fragments_only(notes: Any, small: Path) -> None:
    _write(small, a_changed="Other.")
    assert notes.release_notes(small, "0.2.0") == "# podpass 0.2.0\n\n### Changed\n\n- Other.\n"


def test_entry_is_written_once_and_the_fragments_are_deleted(notes: Any, small: Path) -> None:
    _write(small, a_added="New.")
    notes.write_entry(small, "0.1.0", "2026-12-24")
    first = "## 0.1.0 (2026-12-24)\n\n### Added\n\n- A loop.\n\n- New.\n"
    assert (small / "CHANGELOG.md").read_text() == f"# Changelog\n\n{first}"
    assert [path.name for path in (small / "changelog.d").iterdir()] == ["README.md"]
    assert notes.unfinished(small, "0.1.0") is None
    _write(small, b_fixed="Fixed.")
    notes.write_entry(small, "0.2.0", "2027-01-01")
    second = "## 0.2.0 (2027-01-01)\n\n### Fixed\n\n- Fixed.\n"
    assert (small / "CHANGELOG.md").read_text() == f"# Changelog\n\n{second}\n{first}"


@pytest.mark.parametrize(
    ("version", "date"),
    [("0.1.0", "unreleased"), ("0.2.0", "2026-12-01")],
    ids=["undated", "missing"],
)
def test_entry_without_date_is_unfinished(notes: Any, small: Path, version: str, date: str) -> None:
    file = small / "CHANGELOG.md"
    file.write_text(file.read_text().replace("2026-12-01", date))
    assert (
        notes.unfinished(small, version) == f"CHANGELOG.md has no entry with a date for {version}"
    )


@pytest.mark.parametrize(
    ("name", "text"), [("loop.news.md", "x"), ("Loop.fixed.md", "x"), ("loop.fixed.md", "\n")]
)
def test_fragment_without_kind_or_text_is_refused(
    notes: Any, small: Path, name: str, text: str
) -> None:
    (small / "changelog.d" / name).write_text(text)
    with pytest.raises(notes.InvalidFragment, match=f"changelog.d/{name}"):
        notes.fragments(small)


def test_notes_of_this_tree_have_every_fragment_once(notes: Any) -> None:
    text = " ".join(notes.release_notes(ROOT, podpass.__version__).split())
    for texts in notes.fragments(ROOT).values():
        for one in texts:
            assert text.count(" ".join(one.split())) == 1, one
