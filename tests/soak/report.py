"""What a soak found, as JSON for machines and as lines for people."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def write(path: Path, found: Mapping[str, Any]) -> None:
    """Write the whole report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n")


def table(found: Mapping[str, Any]) -> str:
    """Write it as lines: where in the report, and what stands there."""
    rows = [row for name, value in found.items() for row in _rows(name, value)]
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


def _rows(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and not _is_flat(value):
        for key, inner in value.items():
            yield from _rows(f"{name} / {key}", inner)
    elif isinstance(value, list):
        for place, inner in enumerate(value, 1):
            yield from _rows(f"{name} / {place}", inner)
    elif isinstance(value, Mapping):
        yield name, ", ".join(f"{key} {_figure(each)}" for key, each in value.items())
    else:
        yield name, _figure(value)


def _is_flat(value: Mapping[str, Any]) -> bool:
    """Tell whether a mapping fits on a line: no other in it."""
    return not any(isinstance(each, Mapping | list) for each in value.values())


def _figure(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) and value >= 10_000 else str(value)
