"""Draws the Mermaid diagrams of the pages as SVG at build time, so that the site needs no script for them.

It knows the syntax that the pages use: a flow chart from left to right, and a sequence diagram.
"""

import re
import textwrap
from html import escape

_EDGE = re.compile(r"(\w+)(?:\[([^\]]+)\])? --> (\w+)(?:\[([^\]]+)\])?")
_PARTICIPANT = re.compile(r"participant (\w+) as (.+)")
_MESSAGE = re.compile(r"(\w+)(--?)>>(\w+): (.+)")
_BOX, _GAP, _HEIGHT, _LINE, _LETTERS = 140, 36, 76, 18, 17
_STEP = 180  # between the participants of a sequence


class UnknownSyntax(Exception):
    """A diagram uses syntax that is not drawn here."""


def draw(source: str) -> str:
    """Return a diagram as SVG. Raises UnknownSyntax."""
    kind, *lines = [line.strip() for line in source.strip().splitlines()]
    if kind == "flowchart LR":
        return _flow(lines)
    if kind == "sequenceDiagram":
        return _sequence(lines)
    raise UnknownSyntax(kind)


def _flow(lines: list[str]) -> str:
    labels: dict[str, str] = {}
    edges = []
    for line in lines:
        found = _EDGE.fullmatch(line)
        if found is None:
            raise UnknownSyntax(line)
        start, start_label, end, end_label = found.groups()
        for name, label in ((start, start_label), (end, end_label)):
            labels[name] = label or labels.get(name, name)
        edges.append((start, end))
    columns = _columns(list(labels), edges)
    places: dict[str, tuple[int, int]] = {}
    for name, column in columns.items():
        row = sum(1 for other in places if columns[other] == column)
        places[name] = (column * (_BOX + _GAP) + 2, row * (_HEIGHT + 16) + 2)
    parts = [_arrow(places[start], places[end]) for start, end in edges]
    parts += [_box(*places[name], _lines(labels[name])) for name in labels]
    width = (max(columns.values()) + 1) * (_BOX + _GAP) - _GAP + 4
    height = max(y for _, y in places.values()) + _HEIGHT + 2
    said = "; ".join(f"{_plain(labels[start])} to {_plain(labels[end])}" for start, end in edges)
    return _svg(width, height, said, parts)


def _columns(names: list[str], edges: list[tuple[str, str]]) -> dict[str, int]:
    """Return the column of each box: one to the left of the first box that it leads to."""
    after = {name: [end for start, end in edges if start == name] for name in names}

    def steps_to_end(name: str, seen: tuple[str, ...] = ()) -> int:
        if name in seen:
            raise UnknownSyntax(f"a cycle at {name}")
        return max((1 + steps_to_end(end, (*seen, name)) for end in after[name]), default=0)

    steps = {name: steps_to_end(name) for name in names}
    return {name: max(steps.values()) - count for name, count in steps.items()}


def _lines(label: str) -> list[str]:
    return [line for part in label.split("<br>") for line in textwrap.wrap(part, _LETTERS)]


def _box(x: int, y: int, lines: list[str], height: int = _HEIGHT) -> str:
    top = y + height // 2 + 5 - _LINE * (len(lines) - 1) // 2
    return (
        f'<rect class="box" x="{x}" y="{y}" width="{_BOX}" height="{height}" rx="6"/>'
        f"{_text(x + _BOX // 2, top, lines)}"
    )


def _text(x: int, y: int, lines: list[str]) -> str:
    return "".join(
        f'<text x="{x}" y="{y + number * _LINE}" font-size="13" text-anchor="middle">'
        f"{escape(line)}</text>"
        for number, line in enumerate(lines)
    )


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1, x2, y2 = start[0] + _BOX, start[1] + _HEIGHT // 2, end[0], end[1] + _HEIGHT // 2
    middle = (x1 + x2) // 2
    return (
        f'<path class="line" d="M{x1} {y1}H{middle}V{y2}H{x2 - 8}"/>'
        f'<path class="head" d="M{x2} {y2}l-9 -5v10z"/>'
    )


def _sequence(lines: list[str]) -> str:
    names: dict[str, str] = {}
    messages = []
    for line in lines:
        if found := _PARTICIPANT.fullmatch(line):
            names[found[1]] = found[2]
        elif found := _MESSAGE.fullmatch(line):
            messages.append((found[1], found[3], len(found[2]) == 2, found[4]))
        else:
            raise UnknownSyntax(line)
    middles = {name: _STEP // 2 + number * _STEP for number, name in enumerate(names)}
    height = 70 + 44 * len(messages)
    parts = [
        f'<path class="line" opacity="0.3" d="M{x} 42V{height}"/>{_box(x - _BOX // 2, 2, [names[name]], 40)}'
        for name, x in middles.items()
    ]
    for number, (start, end, is_answer, text) in enumerate(messages):
        x1, x2, y = middles[start], middles[end], 80 + 44 * number
        back = 9 if x2 > x1 else -9
        parts.append(
            f'<path class="line{" answer" if is_answer else ""}" d="M{x1} {y}H{x2 - back}"/>'
            f'<path class="head" d="M{x2} {y}l{-back} -5v10z"/>'
            + _text((x1 + x2) // 2, y - 7, [text])
        )
    said = "; ".join(f"{names[start]} to {names[end]}: {text}" for start, end, _, text in messages)
    return _svg(_STEP * len(names), height, said, parts)


def _svg(width: int, height: int, description: str, parts: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' role="img" aria-label="{escape(description, quote=True)}">{"".join(parts)}</svg>'
    )


def _plain(label: str) -> str:
    return label.replace("<br>", ", ")
