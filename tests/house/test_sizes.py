"""Modules have a docstring; parameter lists and conftest files stay short."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFTEST_LINES = 200
PARAMETERS = 8

SOURCES = sorted((ROOT / "src").rglob("*.py"))
CONFTESTS = sorted((ROOT / "tests").rglob("conftest.py"))


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the parameters without `self` and `cls`."""
    args = function.args
    named = [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    return named[1:] if named[:1] in (["self"], ["cls"]) else named


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_has_a_docstring_and_short_parameter_lists(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "a module begins with its docstring"
    for function in _functions(tree):
        count = len(_parameters(function))
        assert count <= PARAMETERS, f"{function.name} takes {count} parameters"


@pytest.mark.parametrize("path", CONFTESTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_conftest_is_within_size_limit(path: Path) -> None:
    assert path.read_text().count("\n") <= CONFTEST_LINES
