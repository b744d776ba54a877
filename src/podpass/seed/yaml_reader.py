"""Reads YAML node by node, so that all problems are reported together, each with its line."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn

import yaml

from podpass.directory.roles import RoleCatalogue
from podpass.errors import UsageError

MAX_CHARS = 1024 * 1024
_MAX_DEPTH = 20
_TEXT = "tag:yaml.org,2002:str"
_FLAG = "tag:yaml.org,2002:bool"
_NULL = "tag:yaml.org,2002:null"

# Keys at the top level of every Kubernetes manifest, and of no seed file.
_MANIFEST_KEYS = [re.compile(rf"^{key}:", re.MULTILINE) for key in ("apiVersion", "kind")]


class Reader:
    """Reads the nodes of one file and collects their problems; `roles` are those that the file may name."""

    def __init__(self, filename: str, roles: RoleCatalogue | None = None) -> None:
        self._filename = filename
        self.roles = roles or RoleCatalogue()
        self._problems: list[tuple[int, str]] = []

    def load(self, text: str) -> yaml.Node | None:
        """Parse a file of one document; None if it is empty.

        Raises UsageError for text that is not YAML, too long, too deeply nested, has aliases, or is a
        Kubernetes manifest.
        """
        if len(text) > MAX_CHARS:
            self._fail(1, f"longer than {MAX_CHARS} characters")
        if all(key.search(text) for key in _MANIFEST_KEYS):
            name = "the input" if self._filename == "-" else self._filename
            raise UsageError(
                f"{name} is a Kubernetes manifest, not a seed file",
                hint=f"apply it with kubectl: kubectl apply -f {self._filename}",
            )
        try:
            self._check_events(text)
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as exc:
            mark = exc.problem_mark
            self._fail(mark.line + 1 if mark else 1, f"not YAML: {exc.problem or exc.context}")
        except yaml.YAMLError:
            self._fail(1, "not YAML: it contains a character that is not allowed")

    def _check_events(self, text: str) -> None:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            # Aliases are refused, because a few lines with aliases can expand to a billion nodes.
            if isinstance(event, yaml.AliasEvent):
                self._fail(line, f"aliases (*{event.anchor}) are not supported: repeat the value")
            if depth > _MAX_DEPTH:
                self._fail(line, "nested too deeply")

    def _fail(self, line: int, text: str) -> NoReturn:
        self._problems = [(line, text)]
        self.finish()
        raise AssertionError

    def add_problem(self, line: int, text: str) -> None:
        """Add a problem, with its line."""
        self._problems.append((line, text))

    def finish(self) -> None:
        """Raise if there are problems.

        Raises UsageError with one line for each problem, in the order of the file.
        """
        if self._problems:
            lines = [f"{self._filename}:{line}: {text}" for line, text in sorted(self._problems)]
            source = "the input" if self._filename == "-" else self._filename
            raise UsageError(
                "\n".join(lines),
                hint=f"fix {source} and run the command again; nothing was changed",
                problems=lines,
            )

    def check_unique(self, what: str, named: Iterable[tuple[int, str]]) -> None:
        """Report duplicate names."""
        first: dict[str, int] = {}
        for line, name in named:
            if name and name in first:
                self.add_problem(line, f"{what} {name} is already in line {first[name]}")
            first.setdefault(name, line)

    def read_mapping(
        self, node: yaml.Node | None, where: str, known: Sequence[str], required: Sequence[str] = ()
    ) -> dict[str, yaml.Node]:
        """Read a mapping. Only the `known` keys are allowed, or any key if `known` is empty."""
        if node is None or _is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.add_problem(
                line_of(node), f"{where}: want a mapping (key: value), not {_kind(node)}"
            )
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self.read_text(key, f"{where}: key")
            if name in found:
                self.add_problem(line_of(key), f"{where}: duplicate key {name!r}")
            elif known and name is not None and name not in known:
                self.add_problem(line_of(key), _unknown(where, name, known))
            if name is not None:
                found[name] = value
        for name in required:
            if name not in found:
                self.add_problem(line_of(node), f"{where}: {name} is missing")
        return found

    def read_list(self, node: yaml.Node | None, where: str) -> Iterator[yaml.Node]:
        """Read a list. A missing or null node is an empty list."""
        if node is None or _is_null(node):
            return
        if not isinstance(node, yaml.SequenceNode):
            self.add_problem(line_of(node), f"{where}: want a list (- ...), not {_kind(node)}")
            return
        yield from node.value

    def read_text(self, node: yaml.Node | None, where: str) -> str | None:
        """Read text; None for a missing node. For any other node, add a problem and return None."""
        if node is None:
            return None
        if isinstance(node, yaml.ScalarNode) and node.tag == _TEXT:
            return str(node.value)
        # The value itself may be a secret, so it is not shown.
        fix = ": put it in quotes" if isinstance(node, yaml.ScalarNode) else ""
        self.add_problem(line_of(node), f"{where}: want text, not {_kind(node)}{fix}")
        return None

    def read_flag(self, node: yaml.Node, where: str) -> bool:
        """Read true or false. For any other node, add a problem and return False."""
        if isinstance(node, yaml.ScalarNode) and node.tag == _FLAG:
            return str(node.value).lower() == "true"
        self.add_problem(line_of(node), f"{where}: want true or false, not {_kind(node)}")
        return False


def line_of(node: yaml.Node) -> int:
    """Return the line where a node begins, counted from 1."""
    return int(node.start_mark.line) + 1


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    names = {"str": "text", "int": "a number", "float": "a number", "bool": "true or false"}
    name = str(node.tag).rpartition(":")[2]
    return names.get(name, "nothing" if name == "null" else f"a {name}")


def _unknown(where: str, name: str, known: Sequence[str]) -> str:
    similar = difflib.get_close_matches(name, known, n=1)
    suggestion = f"did you mean {similar[0]}?" if similar else f"want {', '.join(known)}"
    return f"{where}: unknown key {name!r}; {suggestion}"
