"""Pages that are made from the program agree with it; pages written by hand name files that exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_generated_pages_agree_with_the_program() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/docs.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + "run `make docs`"


@pytest.mark.parametrize(
    "page", ["docs/journey.md", "docs/parity.md", "CONTRIBUTING.md", "README.md"]
)
def test_a_page_names_only_files_that_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    named = re.findall(r"`((?:src|tests|docs|examples|bench|scripts)/[\w./-]+?)(?:::[\w]+)?`", text)
    assert not [name for name in named if not (ROOT / name).exists()]


def test_every_test_named_in_the_parity_table_exists() -> None:
    text = (ROOT / "docs/parity.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert named
    missing = [f"{path}::{test}" for path, test in named if f"def {test}(" not in _read(path)]
    assert not missing


def _read(path: str) -> str:
    full = ROOT / path
    return full.read_text() if full.exists() else ""


def test_every_row_of_the_parity_table_says_where_it_stands() -> None:
    rows = [
        line
        for line in (ROOT / "docs/parity.md").read_text().splitlines()
        if line.startswith("| ") and not set(line) <= set("|- ")
    ]
    states = {row.split("|")[2].strip() for row in rows}
    assert states <= {"status", "yes", "not yet", "differs on purpose"}


def test_the_readme_names_commands_that_exist() -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "podpass.tools.cli", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for command in set(re.findall(r"^\s*podpass ([a-z]+)", _read("README.md"), re.MULTILINE)):
        assert re.search(rf"^\s+{command}\b", help_text, re.MULTILINE), command
