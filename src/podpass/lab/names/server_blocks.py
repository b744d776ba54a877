"""Read the structure of a Corefile: its server blocks, their zones and plugins. Pure.

Only the structure counts here, so what the plugins mean is not read. Text that CoreDNS would read in another
way than this module is refused.

Source:  github.com/coredns/caddy, caddyfile/lexer.go and parse.go, for the syntax.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from podpass.errors import Error

# A ConfigMap stores no longer text.
MAX_CHARS = 1024 * 1024
_KEY = re.compile(r"(?:(?P<transport>[A-Za-z]+)://)?(?P<zone>.*?)(?P<port>:[0-9]{1,5})?", re.DOTALL)
_ENVIRONMENT = re.compile(r"\{[$%]")


class CorefileError(Error):
    """The configuration of CoreDNS cannot be changed."""

    code = "corefile"
    status = 409


class CorefileNotUnderstood(CorefileError):
    """The Corefile has a structure that podpass does not know, so it must not change it."""

    code = "corefile_not_understood"
    hint = "use `--dns pods`, which does not change the DNS of the cluster"


@dataclass(frozen=True, slots=True)
class Token:
    """A word of the Corefile, and whether it is the first of its line."""

    text: str
    line: int
    is_first: bool


@dataclass(frozen=True, slots=True)
class Key:
    """A zone that a server block serves.

    `zone` is in lower case without a trailing dot, empty for all names; `port` is `:53`, or empty for the
    default.
    """

    transport: str
    zone: str
    port: str


@dataclass(frozen=True, slots=True)
class ServerBlock:
    """A server block: its keys, and the names of its plugins."""

    line: int
    keys: tuple[Key, ...]
    plugins: frozenset[str]


@dataclass(slots=True)
class Corefile:
    """The structure of a Corefile; `imports` are patterns of files outside server blocks."""

    blocks: list[ServerBlock] = field(default_factory=list)
    imports: list[str] = field(default_factory=list)


def parse(text: str) -> Corefile:
    """Parse a Corefile. Raises CorefileNotUnderstood, naming the line."""
    if len(text) > MAX_CHARS:
        raise CorefileNotUnderstood("the Corefile is too long")
    found = Corefile()
    tokens = _TokenReader(text)
    while (token := tokens.peek()) is not None:
        if token.text == "import" and token.is_first:
            found.imports.append(_read_import(tokens))
            continue
        keys = _read_keys(tokens)
        plugins = _read_body(tokens)
        if not (len(keys) == 1 and keys[0].startswith("(") and keys[0].endswith(")")):
            parsed = tuple(_parse_key(key, token.line) for key in keys)
            found.blocks.append(ServerBlock(token.line, parsed, plugins))
    return found


class _TokenReader:
    """The tokens of a text, with one token of look-ahead."""

    def __init__(self, text: str) -> None:
        self._rest = _split(text)
        self._next = next(self._rest, None)
        self.line = 1

    def peek(self) -> Token | None:
        return self._next

    def take(self, wanted: str) -> Token:
        """Return the next token; at the end of the text, refuse it because `wanted` is missing."""
        token = self._next
        if token is None:
            raise CorefileNotUnderstood(f"the Corefile ends after line {self.line}, want {wanted}")
        self.line = token.line
        self._next = next(self._rest, None)
        return token


def _read_import(tokens: _TokenReader) -> str:
    line = tokens.take("import").line
    pattern = tokens.take("the file of an import")
    following = tokens.peek()
    if pattern.is_first or (following is not None and not following.is_first):
        raise CorefileNotUnderstood(f"line {line} of the Corefile imports not exactly one file")
    return pattern.text


def _read_keys(tokens: _TokenReader) -> list[str]:
    """Read the keys of a server block and its opening brace."""
    keys: list[str] = []
    expects_another = True
    while (token := tokens.take("the opening brace of a server block")).text != "{":
        if token.is_first and not expects_another:
            raise CorefileNotUnderstood(f"line {token.line} of the Corefile: want an opening brace")
        if token.text == "," or (token.is_first and token.text == "import"):
            raise CorefileNotUnderstood(f"line {token.line} of the Corefile: want a zone")
        expects_another = token.text.endswith(",")
        keys += [token.text.removesuffix(",")] if token.text else []
    if not keys or expects_another:
        raise CorefileNotUnderstood(f"line {tokens.line} of the Corefile: a block has no zone")
    return keys


def _read_body(tokens: _TokenReader) -> frozenset[str]:
    """Read a server block up to its closing brace; return the names of its plugins."""
    plugins = set()
    depth, is_name = 1, True
    while depth:
        token = tokens.take("a closing brace")
        if depth == 1 and (is_name or token.is_first) and token.text != "}":
            plugins.add(token.text)
        is_name = False
        depth += (token.text == "{") - (token.text == "}")
    return frozenset(plugins)


def _parse_key(text: str, line: int) -> Key:
    if _ENVIRONMENT.search(text):
        raise CorefileNotUnderstood(
            f"line {line} of the Corefile: a zone is a variable of the environment"
        )
    found = _KEY.fullmatch(text)
    assert found is not None
    transport = (found["transport"] or "dns").lower()
    return Key(transport, found["zone"].lower().removesuffix("."), found["port"] or "")


def _split(text: str) -> Iterator[Token]:
    """Split a text into tokens: words and quoted strings, without comments."""
    position, line, last_line = 0, 1, 0
    while True:
        skipped = _SKIPPED.match(text, position)
        assert skipped is not None
        line += skipped[0].count("\n")
        if skipped.end() == len(text):
            return
        token = _TOKEN.match(text, skipped.end())
        if token is None:
            raise CorefileNotUnderstood(
                f"line {line} of the Corefile: a string without end, or a control character"
            )
        position = token.end()
        if text.startswith("#", position):
            # CoreDNS drops the rest of this word only, not of the line.
            raise CorefileNotUnderstood(f"line {line} of the Corefile: `#` within a word")
        value = token["word"] or token["string"].replace('\\"', '"')
        yield Token(value, line, line != last_line)
        line += value.count("\n")
        last_line = line


_SKIPPED = re.compile(r"(?:[ \t\n]|\r\n|#[^\n]*)*")
_TOKEN = re.compile(
    r'"(?P<string>(?:[^"\\]|\\.)*)"|(?P<word>(?:[^\s"#\x00-\x1f\x7f\ufeff])[^\s#\x00-\x1f\x7f]*)',
    re.DOTALL,
)
