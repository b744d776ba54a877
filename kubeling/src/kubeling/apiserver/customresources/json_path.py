"""The JSONPath of kubectl, as printer columns use it: fields, indexes, wildcards and equality filters."""

import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

Step = Callable[[Any], Iterator[Any]]

_TOKEN = re.compile(
    r"""
    \.?\[\?\(\s*@(?P<left>[^=!<>]*?)\s*(?P<operator>==|!=)\s*(?P<right>[^()]*?)\s*\)\]
    | \.?\[\s*(?P<quote>['"])(?P<quoted>(?:\\.|(?!(?P=quote)).)*)(?P=quote)\s*\]
    | \.?\[\s*(?P<index>-?\d+|\*)\s*\]
    | \.(?P<wildcard>\*)
    | \.(?P<field>(?:\\.|[^.\[\]\\])+)
    """,
    re.VERBOSE,
)


def parse(path: str) -> tuple[Step, ...]:
    """Parse a path, such as `.status.conditions[?(@.type=="Ready")].status`. Raises ValueError."""
    steps, at = [], 0
    while at < len(path):
        found = _TOKEN.match(path, at)
        if found is None:
            raise ValueError(f"cannot read {path[at:][:40]!r}")
        steps.append(_step(found))
        at = found.end()
    return tuple(steps)


def find(steps: tuple[Step, ...], value: Any) -> Any:
    """Return the first value at a path; None if there is none."""
    values: Iterator[Any] = iter((value,))
    for step in steps:
        values = itertools.chain.from_iterable(map(step, values))
    return next(values, None)


def _step(found: re.Match[str]) -> Step:
    if found["operator"]:
        return _filter(parse(found["left"]), _literal(found["right"]), found["operator"] == "==")
    if found["index"] not in (None, "*"):
        return _item(int(found["index"]))
    if found["index"] or found["wildcard"]:
        return _children
    name = found["field"] if found["quoted"] is None else found["quoted"]
    return _field(re.sub(r"\\(.)", r"\1", name))


def _literal(text: str) -> Any:
    if text[:1] == "'":
        return text.strip("'")
    try:
        return json.loads(text)
    except ValueError as exc:
        raise ValueError(f"{text!r} is not a text or a number") from exc


def _field(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _item(at: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= at < len(value):
            yield value[at]

    return step


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, dict):
        yield from (value[name] for name in sorted(value))


def _filter(left: tuple[Step, ...], right: Any, is_equal: bool) -> Step:
    def step(value: Any) -> Iterator[Any]:
        for each in value if isinstance(value, list) else ():
            if (find(left, each) == right) is is_equal:
                yield each

    return step
