"""Metrics as Prometheus reads them (text format 0.0.4): families of lines, made when they are asked for.

Pure. The library would take three megabytes more, and fifty milliseconds of the event loop where a histogram
has some hundred series; what writes these lines yields between families.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def counter(name: str, meaning: str, rows: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    """Write a counter; `name` without `_total`."""
    yield from _plain(f"{name}_total", "counter", meaning, rows)


def gauge(name: str, meaning: str, rows: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    """Write a gauge."""
    yield from _plain(name, "gauge", meaning, rows)


def histogram(
    name: str,
    meaning: str,
    bounds: Sequence[float],
    rows: Iterable[tuple[Labels, Sequence[int], float]],
) -> Iterator[str]:
    """Write a histogram.

    Shapes:  each row's counts are of the bounds in order and of what is above them, not yet added up, and
             the sum of what was observed.
    """
    yield _head(name, "histogram", meaning)
    marks = [*map(_number, bounds), "+Inf"]
    for labels, counts, total in rows:
        inner, so_far = _inner(labels), list(accumulate(counts))
        comma = "," if inner else ""
        lines = [
            f'{name}_bucket{{{inner}{comma}le="{mark}"}} {count}\n'
            for mark, count in zip(marks, so_far, strict=True)
        ]
        braces = f"{{{inner}}}" if inner else ""
        lines += [f"{name}_sum{braces} {_number(total)}\n", f"{name}_count{braces} {so_far[-1]}\n"]
        yield "".join(lines)


def _plain(
    name: str, kind: str, meaning: str, rows: Iterable[tuple[Labels, float]]
) -> Iterator[str]:
    yield _head(name, kind, meaning)
    for labels, value in rows:
        inner = _inner(labels)
        yield f"{name}{{{inner}}} {_number(value)}\n" if inner else f"{name} {_number(value)}\n"


def _head(name: str, kind: str, meaning: str) -> str:
    return f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n"


def _inner(labels: Labels) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
