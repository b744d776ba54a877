"""Quantities of resources, such as `500m`, `64Mi` and `1e3`."""

import re
from decimal import Decimal
from typing import Any

_QUANTITY = re.compile(r"([+-]?[\d.]+)([eE][+-]?\d+|[numkMGTPE]i?|[KMGTPE]i)?")
_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{each: Decimal(1000) ** (at + 1) for at, each in enumerate("kMGTPE")},
    **{f"{each}i": Decimal(1024) ** (at + 1) for at, each in enumerate("KMGTPE")},
}
_DECIMAL = sorted((size, each) for each, size in _SUFFIXES.items() if not each.endswith("i"))
_BINARY = sorted((size, each) for each, size in _SUFFIXES.items() if each.endswith("i"))


def parse(text: Any) -> Decimal:
    """Return the value of a quantity; zero for a text that is not valid."""
    found = _QUANTITY.fullmatch(str(text))
    if found is None:
        return Decimal(0)
    number, scale = Decimal(found[1]), found[2] or ""
    return number * (_SUFFIXES[scale] if scale in _SUFFIXES else Decimal(f"1{scale}"))


def canonical(value: Decimal, like: Any = "") -> str:
    """Format a value with the largest suffix: `1500m`, `2k`; a binary one, `64Mi`, if `like` has one."""
    if str(like).endswith("i") and abs(value) >= 1024:
        suffixes = [("", Decimal(1)), *((each, size) for size, each in _BINARY)]
    else:
        suffixes = [(each, size) for size, each in _DECIMAL]
    for suffix, size in reversed(suffixes):
        if value and value % size == 0:
            return f"{int(value / size)}{suffix}"
    return "0"
