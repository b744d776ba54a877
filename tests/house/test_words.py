"""What the tree may not contain, and what each module has: a docstring, short parameter lists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run_program import run_text

ROOT = Path(__file__).parents[2]
VAGUE = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
# Spelt in pieces, so that this file does not contain what it looks for.
HOSTS = re.compile(
    r"\b("
    + "|".join(
        name.replace("_", r"\.")
        for name in (
            "pypi_" + "org",
            "pythonhosted_" + "org",
            "registry_npmjs_" + "org",
            "proxy_golang_" + "org",
            "repo_maven_apache_" + "org",
        )
    )
    + r")\b"
)
PATHS = re.compile(r"(^|[\s\"'=:(])/(" + "work|farm" + r"|root)/")


def _tracked() -> list[Path]:
    names = run_text(["git", "ls-files"], cwd=ROOT, check=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def test_no_folder_or_file_has_a_vague_name() -> None:
    parts = {path: path.relative_to(ROOT).with_suffix("").parts for path in _tracked()}
    assert not [path for path, names in parts.items() if VAGUE.intersection(names)]


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    found = []
    for path in _tracked():
        if path.suffix in {".json", ".lock", ".sum"}:
            continue
        text = path.read_text(errors="replace")
        if HOSTS.search(text) or PATHS.search(text):
            found.append(str(path.relative_to(ROOT)))
    assert not found


# ------------------------------------------------------------------------------------------- language

# Words and idioms that this field does not use, each with what to write instead.
# A pattern sees each part of an identifier: `_tell` and `TOLD` are found as well as "told".
DROPPED = {
    "anybody|everybody|(?<![\"'])nobody|somebody|who(?:so)?ever": "the caller, the replica, a user",
    "anew": "again",
    "as it were": "nothing",
    "at night": "the condition",
    "beside": "in the background, next to",
    "(?:comes?|came) about": "cause",
    "cure[sd]?": "fix, resolution",
    "for ever": "without limit",
    "g(?:ive|ives|iven|ave|iving) up": "stop, release, time out",
    "go(?:es)? on": "continue",
    "haste|quarrels?": "the limit or the conflict",
    "hears?|heard": "receive, connected",
    "heed(?:s|ed|ing)?": "watch, handle",
    "himself|hers|she": "they, their",
    "in the middle": "median, halfway",
    "let(?:s|ting)? go of": "release",
    "meanwhile": "while ...",
    "mend(?:s|ed|ing)?": "fix, repair",
    "not to be had": "unavailable",
    "stray(?:s|ed)?": "orphan",
    "strangers?": "an unknown caller",
    "_?tell(?=\\()|telling|told": "log, report, return",
    "under way": "in progress, in flight",
    "wish(?:es|ed)?": "request, configuration",
    "99 of 100": "p99",
}
# The condition on the character before comes first and once: most characters are inside a word.
_DROPPED = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(DROPPED)})(?![A-Za-z])", re.IGNORECASE)
# Where a dropped word is somebody else's: the beginning of a path, and the word.
FOREIGN = {
    ("docs/decisions/0013", "*"): "records which words are ours",
    ("docs/glossary.md", "*"): "explains words",
    ("tests/house/test_words.py", "*"): "lists them",
    ("tests/vectors/", ".json"): "recorded answers of other programs",
}
_PROSE = {".md", ".py", ".sh", ".toml", ".tpl", ".yaml", ".yml", ""}


def _is_foreign(name: str) -> bool:
    return any(
        name.startswith(start) and what in ("*", Path(name).suffix) for start, what in FOREIGN
    )


def test_no_text_and_no_name_uses_a_dropped_word() -> None:
    found = []
    for path in _tracked():
        name = str(path.relative_to(ROOT))
        if path.suffix not in _PROSE or "fuzz/corpus" in name or _is_foreign(name):
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            found += [f"{name}:{number}: {hit[0]}" for hit in _DROPPED.finditer(line)]
    assert not found, "\n".join(found[:100])


# Two classes of one name, and why the name is right for both.
SHARED_NAMES: dict[str, str] = {}


def test_a_class_name_means_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    shared = {name: paths for name, paths in places.items() if len(paths) > 1}
    assert not {name: paths for name, paths in shared.items() if name not in SHARED_NAMES}
    assert not SHARED_NAMES.keys() - shared.keys(), "listed, and no longer shared"


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
