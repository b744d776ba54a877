"""The report of a soak, as JSON and as a table; its progress, the error that it reports, and quantiles."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def write_report(path: Path, found: Mapping[str, Any]) -> None:
    """Write the report as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n")


def format_report(found: Mapping[str, Any]) -> str:
    """Return the report as lines: the path in the report and the value."""
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
    """Return whether a mapping fits on one line: it contains no mapping and no list."""
    return not any(isinstance(each, Mapping | list) for each in value.values())


def _figure(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) and value >= 10_000 else str(value)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that the given share of the values does not exceed; 0 if there are no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def milliseconds(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p90, p99 and the maximum of times in seconds, as milliseconds."""
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: round(quantile(values, share) * 1000, 1) for name, share in shares.items()}


class Violation(Exception):
    """An invariant of the service was violated; the message names it."""


_BEGAN = time.monotonic()


def log_progress(text: str) -> None:
    """Print one line to stderr."""
    sys.stderr.write(f"soak {time.monotonic() - _BEGAN:7.1f} s  {text}\n")
    sys.stderr.flush()
