"""A text that names an option of `podpass` names one that the command has, and says which command."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from podpass.cli.commands import cli

SOURCE = Path(__file__).parents[2] / "src/podpass"
# Their errors reach callers over HTTP, from `podpass up` as well as from `podpass authority`.
SERVED = ("exchange", "resource")
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_COMMAND = re.compile(r"\b(podpass|az|kubectl|helm|curl)((?: [a-z][a-z-]*)+)")
# The end of a command: that of the code span, of the clause, or the beginning of another command.
_END = re.compile(r"`|[;:,]? (?:or|and|then|shows|lists) |[;,()\n]|\b(?:az|kubectl|helm) ")


def _texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield every text of a module, with a word for each inserted value; docstrings are no output."""
    hidden = {
        id(each)
        for node in ast.walk(tree)
        for each in (
            node.values if isinstance(node, ast.JoinedStr) else [getattr(node, "value", None)]
        )
        if isinstance(node, ast.JoinedStr | ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            values = (each.value if isinstance(each, ast.Constant) else "X" for each in node.values)
            yield node.lineno, "".join(map(str, values))
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in hidden
        ):
            yield node.lineno, node.value


def _find_command(words: list[str]) -> click.Command | None:
    """Return the command that the first words name; None if they name none."""
    found: click.Command = cli
    for word in words:
        if not isinstance(found, click.Group):
            break
        child = found.get_command(click.Context(found), word)
        if child is None:
            break
        found = child
    return None if found is cli else found


def _options(command: click.Command) -> set[str]:
    return {"--help"} | {
        name for each in command.params for name in (*each.opts, *each.secondary_opts)
    }


def find_wrong_flags(text: str) -> Iterator[str]:
    """Yield each option next to `podpass COMMAND` that this command does not have."""
    for found in re.finditer(r"\bpodpass((?: [a-z][a-z-]*)+)", text):
        command = _find_command(found[1].split())
        if command is None:
            continue
        rest = _END.split(text[found.start(1) :], maxsplit=1)[0].partition(" -- ")[0]
        for flag in _FLAG.findall(rest):
            if flag not in _options(command):
                yield f"podpass{found[1]} has no {flag}"


def find_nameless_flags(text: str) -> Iterator[str]:
    """Yield each option that no command precedes, or that the last `podpass COMMAND` does not have."""
    for flag in _FLAG.finditer(text):
        commands = [*_COMMAND.finditer(text[: flag.start()])]
        if not commands:
            yield f"{flag[0]} of which command?"
        elif commands[-1][1] == "podpass":
            command = _find_command(commands[-1][2].split())
            if command is None or flag[0] not in _options(command):
                yield f"{flag[0]} is no option of podpass{commands[-1][2]}"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("run `podpass up --seed FILE`", []),
        ("run `podpass up --private-issuer HOST`", []),
        ("run `podpass up --cluster-issuer URL`", ["podpass up has no --cluster-issuer"]),
        ("`podpass token inspect --nonsense`", ["podpass token inspect has no --nonsense"]),
        ("podpass up, or kubectl get pods --all-namespaces", []),
    ],
)
def test_option_of_a_named_command_is_compared_with_the_command(
    text: str, wrong: list[str]
) -> None:
    assert [*find_wrong_flags(text)] == wrong


def test_texts_name_only_options_that_their_command_has() -> None:
    wrong = [
        f"{file.relative_to(SOURCE)}:{line}: {each}"
        for file in sorted(SOURCE.rglob("*.py"))
        for line, text in _texts(ast.parse(file.read_text()))
        for each in find_wrong_flags(text)
    ]
    assert wrong == []


def test_errors_that_services_return_name_the_command_of_each_option() -> None:
    wrong = [
        f"{file.relative_to(SOURCE)}:{line}: {each}"
        for stage in SERVED
        for file in sorted((SOURCE / stage).rglob("*.py"))
        for line, text in _texts(ast.parse(file.read_text()))
        for each in find_nameless_flags(text)
    ]
    assert wrong == []
