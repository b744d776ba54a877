"""The list of attacks names existing tests for each group, and each rule of trust is found in its file."""

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LIST = tomllib.loads((ROOT / "tests/vectors/attacks.toml").read_text())
RULES = tomllib.loads((ROOT / "tests/vectors/rules.toml").read_text())["rule"]
# Parts that are not there yet: nothing can be attacked, and the group says so.


@cache
def names_in(path: str) -> frozenset[str]:
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(
        node.name for node in ast.parse(file.read_text()).body if isinstance(node, functions)
    )


def named(entry: dict[str, Any]) -> Iterator[str]:
    for item in entry.get("item", [entry] if "tests" in entry else []):
        yield from item["tests"]


def test_all_32_groups_are_listed_in_order() -> None:
    assert [group["number"] for group in LIST["group"]] == list(range(1, 33))


@pytest.mark.parametrize(
    "entry",
    [*LIST["group"], *LIST["advisory"]],
    ids=lambda entry: str(entry.get("number", entry.get("what"))),
)
def test_group_names_existing_tests(entry: dict[str, Any]) -> None:
    tests = list(named(entry))
    assert tests
    missing = [
        test for test in tests if test.partition("::")[2] not in names_in(test.partition("::")[0])
    ]
    assert not missing


def test_every_group_has_a_rule() -> None:
    deleted = {number for rule in RULES for number in rule["groups"]}
    assert deleted == set(range(1, 33))


def _exists(test: str) -> bool:
    path, _, function = test.partition("::")
    return (ROOT / path).exists() and (not function or function in names_in(path))


def test_every_rule_is_found_in_its_file() -> None:
    lost = [
        rule["what"]
        for rule in RULES
        if (ROOT / rule["file"]).read_text().count(rule["cut"]) != 1
        or not all(_exists(test) for test in rule["tests"])
    ]
    assert not lost


def test_every_attack_file_is_listed() -> None:
    files = {
        str(path.relative_to(ROOT)) for path in (ROOT / "tests/exchange/attacks").glob("test_*.py")
    }
    listed = {
        test.partition("::")[0]
        for entry in (*LIST["group"], *LIST["advisory"])
        for test in named(entry)
    }
    assert files <= listed
