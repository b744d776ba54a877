"""Parse a YAML body into the values that JSON has, in time that grows with its length only.

YAML has more than JSON, and some of it is expensive: a few aliases expand to gigabytes, and a number in
base 60 or a map with many merge keys takes time that grows with the square of its length. So the values are
built here from the events of the library, without these forms. The library would also build all of its nodes
in one call, which blocks the other threads for half a second.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kubeling.apiserver.limits import MAX_DEPTH, MAX_MANAGED_VALUES, MAX_VALUES
from kubeling.apiserver.status import too_large
from kubeling.apiserver.strict_decoding import MAX_PROBLEMS

_TAG = "tag:yaml.org,2002:"
_STRING = f"{_TAG}str"
# The forms of YAML 1.1 that JSON can have: without base 60, infinities and dates.
_PATTERNS = {
    f"{_TAG}bool": re.compile(
        r"[Yy]es|YES|[Nn]o|NO|[Tt]rue|TRUE|[Ff]alse|FALSE|[Oo]n|ON|[Oo]ff|OFF"
    ),
    f"{_TAG}int": re.compile(r"[-+]?(?:0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+)"),
    f"{_TAG}float": re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?"),
    f"{_TAG}null": re.compile(r"~|null|Null|NULL|"),
}
_FIRST_CHARACTERS = frozenset("~nNyYtTfFoO+-.0123456789")
_TRUE = ("yes", "true", "on")
_MAX_EVENTS = 3 * (MAX_VALUES + MAX_MANAGED_VALUES)


def parse(data: bytes, duplicates: list[str] | None = None) -> Any:
    """Parse one document; append a message to `duplicates` for each key that a map repeats.

    Raises ValueError; StatusError 413 for more values than one request may have.
    """
    import yaml

    parser = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        return _build(yaml.parse(data, parser), [] if duplicates is None else duplicates)
    except yaml.YAMLError as exc:
        raise ValueError("invalid YAML") from exc


def _build(events: Iterable[Any], duplicates: list[str]) -> Any:
    """Build the value of the only document from its events."""
    builder = _Builder(duplicates)
    handlers = builder.handlers()
    for count, event in enumerate(events):
        builder.event = event
        handlers[type(event)](event)
        if count > _MAX_EVENTS or len(builder.open) > MAX_DEPTH:
            raise too_large(
                f"the object has more than {MAX_VALUES} values, or is nested too deeply"
            )
    return builder.root


class _Builder:
    """The value so far, and the lists and maps that are still open."""

    def __init__(self, duplicates: list[str]) -> None:
        self.root: Any = None
        self.event: Any = None
        self._duplicates = duplicates
        self.open: list[Any] = []
        self._keys: list[str | None] = []
        self._documents = 0

    def handlers(self) -> Mapping[type, Callable[[Any], None]]:
        """Return the handler of each type of event."""
        import yaml

        ignored: dict[type, Callable[[Any], None]] = dict.fromkeys(
            (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentEndEvent), lambda _event: None
        )
        return ignored | {
            yaml.AliasEvent: _refuse_alias,
            yaml.DocumentStartEvent: self._start_document,
            yaml.ScalarEvent: lambda event: self._add(_scalar(event)),
            yaml.MappingStartEvent: lambda event: self._open(event, {}, f"{_TAG}map"),
            yaml.SequenceStartEvent: lambda event: self._open(event, [], f"{_TAG}seq"),
            yaml.MappingEndEvent: self._close,
            yaml.SequenceEndEvent: self._close,
        }

    def _start_document(self, _event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            raise ValueError("found more than one YAML document")

    def _open(self, event: Any, value: Any, tag: str) -> None:
        if event.tag not in (None, "!", tag):
            raise ValueError(f"YAML tag {event.tag} is not supported")
        self._add(value)
        self.open.append(value)
        self._keys.append(None)

    def _close(self, _event: Any) -> None:
        self.open.pop()
        self._keys.pop()

    def _add(self, value: Any) -> None:
        if not self.open:
            self.root = value
        elif isinstance(self.open[-1], list):
            self.open[-1].append(value)
        elif (key := self._keys[-1]) is not None:
            if key in self.open[-1] and len(self._duplicates) < MAX_PROBLEMS:
                line = self.event.start_mark.line + 1
                self._duplicates.append(f'line {line}: key "{key}" already set in map')
            self.open[-1][key] = value
            self._keys[-1] = None
        elif isinstance(value, str):
            self._keys[-1] = value
        else:
            raise ValueError("a key of a YAML map is not a string")


def _refuse_alias(_event: Any) -> None:
    raise ValueError("YAML aliases are not supported")


def _scalar(event: Any) -> Any:
    text: str = event.value
    tag = event.tag
    if tag in (None, "!"):
        tag = _implicit_tag(text) if event.implicit[0] else _STRING
    if tag == _STRING:
        return text
    if tag not in _PATTERNS or not _PATTERNS[tag].fullmatch(text):
        raise ValueError(f"YAML tag {tag} is not supported, or does not fit its value")
    return _VALUES[tag](text)


def _implicit_tag(text: str) -> str:
    """Return the type of a plain scalar."""
    if text and text[0] not in _FIRST_CHARACTERS:
        return _STRING
    return next((tag for tag, form in _PATTERNS.items() if form.fullmatch(text)), _STRING)


def _integer(text: str) -> int:
    digits = text.replace("_", "").lstrip("+-")
    base = {"0b": 2, "0x": 16}.get(digits[:2], 8 if digits.startswith("0") else 10)
    value = int(digits.removeprefix("0b").removeprefix("0x") or "0", base)
    return -value if text.startswith("-") else value


_VALUES: Mapping[str, Callable[[str], Any]] = {
    f"{_TAG}bool": lambda text: text.lower() in _TRUE,
    f"{_TAG}int": _integer,
    f"{_TAG}float": lambda text: float(text.replace("_", "")),
    f"{_TAG}null": lambda _text: None,
}
