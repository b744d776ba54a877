"""What a command of podpass imports: its modules and the distributions of others, read from the sources.

Imports in functions count: they run later. A module that is named by a text at run time is not found; the
commands are such modules, so a target names its command.
"""

import ast
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

PACKAGE = "podpass"


def imported_modules(package: Path, entries: Iterable[str]) -> tuple[dict[str, Path], set[str]]:
    """Return the files of all modules of podpass that the entries import, and the names of other packages.

    `package` is the folder of podpass; a module's parent packages are imported, too.
    """
    found: dict[str, Path] = {}
    others: set[str] = set()
    waiting = [*entries]
    while waiting:
        name = waiting.pop()
        path = _module_file(package, name)
        if name in found or path is None:
            continue
        found[name] = path
        for imported in _imports(ast.parse(path.read_text())):
            top = imported.partition(".")[0]
            if top == PACKAGE:
                waiting += _with_parents(imported)
            else:
                others.add(top)
        waiting += _with_parents(name)
    return found, others


def distribution_names(modules: Iterable[str]) -> set[str]:
    """Return the distributions that contain top-level modules; those of the standard library are in none."""
    known = metadata.packages_distributions()
    return {each for name in modules for each in known.get(name, ())}


def _module_file(package: Path, name: str) -> Path | None:
    path = package.parent.joinpath(*name.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _imports(node: ast.AST) -> Iterator[str]:
    """Yield each imported module, and each imported name as if it were a module."""
    if isinstance(node, ast.Import):
        yield from (each.name for each in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{each.name}" for each in node.names)
    elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        for child in node.orelse:
            yield from _imports(child)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _imports(child)
