"""The import closure of each production command: what its process could load, in lines of podpass.

A closure follows every static import of a module, at its top and inside its functions, and the packages above
it. It does not follow imports by name (`importlib`) and those for type checkers. It begins with the command
line, the top of the command's module, and the imports inside the function of the command itself, because one
module can have several commands.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
BEGIN = ("podpass.cli", "podpass.cli.main", "podpass.cli.commands")
FORBIDDEN = ("kubeling", "podpass.lab", "podpass.pytest", "podpass.testcontainers")
# Module and function of each command, and the limit of its closure. Lower a limit when a closure shrinks.
COMMANDS = {
    "webhook": ("podpass.cli.webhook", "command", 12_650),
    "proxy": ("podpass.cli.proxy", "command", 7_010),
    "proxy-init": ("podpass.cli.proxy_init", "command", 3_850),
    "issuer serve": ("podpass.cli.issuer", "serve", 7_660),
    "issuer signer": ("podpass.cli.issuer", "signer", 7_860),
    "authority": ("podpass.cli.authority", "command", 41_200),
}
ALL_LINES = 52_500


def _find_file(module: str) -> Path | None:
    path = SOURCE / module.replace(".", "/")
    return next((p for p in (path / "__init__.py", path.with_suffix(".py")) if p.exists()), None)


@cache
def _parse(module: str) -> tuple[ast.Module, int]:
    """Return a module's tree and its number of lines."""
    path = _find_file(module)
    assert path is not None, module
    text = path.read_text()
    return ast.parse(text), text.count("\n")


def _list_names(node: ast.AST, *, inside_functions: bool) -> Iterator[str]:
    """Return the dotted names that the statements below a node import."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not inside_functions:
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        yield from _list_names(child, inside_functions=inside_functions)


def _list_modules(names: Iterator[str]) -> Iterator[str]:
    """Return the modules and packages that an import of these names executes."""
    for name in names:
        parts = name.split(".")
        if parts[0] == "kubeling":
            yield "kubeling"
        elif parts[0] == "podpass":
            every = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
            yield from (module for module in every if _find_file(module))


def _list_first_modules(module: str, function: str) -> Iterator[str]:
    tree, _ = _parse(module)
    yield from BEGIN
    yield from _list_modules(_list_names(tree, inside_functions=False))
    own = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function)
    yield from _list_modules(_list_names(own, inside_functions=True))


def _compute_closure(module: str, function: str) -> dict[str, str]:
    """Return each module of a closure with the module that imports it first."""
    closure = {module: "the command line"}
    reached = [(first, module) for first in _list_first_modules(module, function)]
    while reached:
        found, importer = reached.pop()
        if found in closure:
            continue
        closure[found] = importer
        if found != "kubeling":
            tree, _ = _parse(found)
            names = _list_names(tree, inside_functions=True)
            reached += [(each, found) for each in _list_modules(names)]
    return closure


def _count_lines(modules: set[str]) -> int:
    return sum(_parse(module)[1] for module in modules - {"kubeling"})


@pytest.mark.parametrize("name", COMMANDS)
def test_production_command_imports_no_lab_and_stays_within_its_limit(name: str) -> None:
    module, function, limit = COMMANDS[name]
    closure = _compute_closure(module, function)
    count = _count_lines(set(closure))
    print(f"podpass {name}: {len(closure)} modules, {count} lines, limit {limit}")
    wrong = [f"{m}, imported by {by}" for m, by in closure.items() if m.startswith(FORBIDDEN)]
    assert not wrong
    assert count <= limit


def test_all_production_commands_together_stay_within_their_limit() -> None:
    closures = [_compute_closure(module, function) for module, function, _ in COMMANDS.values()]
    modules = set().union(*closures)
    count = _count_lines(modules)
    print(f"all production commands: {len(modules)} modules, {count} lines, limit {ALL_LINES}")
    assert count <= ALL_LINES
