"""Render metrics in Prometheus text format 0.0.4, lazily.

Pure. prometheus-client would need three megabytes more memory, and block the event loop for fifty
milliseconds if a histogram has a few hundred series. These generators let the caller yield to the event loop
in between.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def render_counter(name: str, meaning: str, rows: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    """Yield the lines of a counter; `name` is without `_total`."""
    yield from _render_samples(f"{name}_total", "counter", meaning, rows)


def render_gauge(name: str, meaning: str, rows: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    """Yield the lines of a gauge."""
    yield from _render_samples(name, "gauge", meaning, rows)


def render_histogram(
    name: str,
    meaning: str,
    bounds: Sequence[float],
    rows: Iterable[tuple[Labels, Sequence[int], float]],
) -> Iterator[str]:
    """Yield the lines of a histogram.

    Each row has labels, the counts per bucket (not cumulative, the last one above all bounds), and the sum of
    the observed values.
    """
    yield _format_header(name, "histogram", meaning)
    marks = [*map(_format_number, bounds), "+Inf"]
    for labels, counts, total in rows:
        inner, cumulative = _format_labels(labels), list(accumulate(counts))
        comma = "," if inner else ""
        lines = [
            f'{name}_bucket{{{inner}{comma}le="{mark}"}} {count}\n'
            for mark, count in zip(marks, cumulative, strict=True)
        ]
        braces = f"{{{inner}}}" if inner else ""
        lines += [
            f"{name}_sum{braces} {_format_number(total)}\n",
            f"{name}_count{braces} {cumulative[-1]}\n",
        ]
        yield "".join(lines)


def _render_samples(
    name: str, kind: str, meaning: str, rows: Iterable[tuple[Labels, float]]
) -> Iterator[str]:
    yield _format_header(name, kind, meaning)
    for labels, value in rows:
        inner = _format_labels(labels)
        yield (
            f"{name}{{{inner}}} {_format_number(value)}\n"
            if inner
            else f"{name} {_format_number(value)}\n"
        )


def _format_header(name: str, kind: str, meaning: str) -> str:
    return f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n"


def _format_labels(labels: Labels) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())


def _format_number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
