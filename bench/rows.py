"""Rows of the table: what, value, peer, ratio; and whether a row misses its target."""

import sys
from collections.abc import Iterable

Row = dict[str, str]


def row(
    name: str,
    value: str,
    peer: str,
    ratio: float | None,
    *,
    least: float | None = None,
    most: float | None = None,
) -> Row:
    """Return a row.

    `least` and `most` are the bounds of the ratio; a row without them has no target.
    """
    made = {"name": name, "value": value, "peer": peer, "ratio": ""}
    if ratio is None:
        return made
    made["ratio"] = f"{ratio:.2f}"
    if least is not None and ratio < least:
        made["missed"] = f"MISSED: at least {least:.2f}"
    if most is not None and ratio > most:
        made["missed"] = f"MISSED: at most {most:.2f}"
    return made


def print_rows(rows: Iterable[Row]) -> int:
    """Print rows as they are measured and return how many miss their target."""
    missed = 0
    for each in rows:
        mark = each.get("missed", "")
        print(
            f"{each['name']:72} {each['value']:>22} {each['peer']:>34} {each['ratio']:>6}  {mark}"
        )
        sys.stdout.flush()
        missed += bool(mark)
    return missed
