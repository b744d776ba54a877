"""Quantities of resources, such as `500m`, `64Mi` and `1e3`."""

import re
from decimal import MAX_EMAX, MIN_EMIN, ROUND_UP, Context, Decimal
from typing import Any

# Two adjacent repetitions of digits would make the time for a long invalid number grow with its square.
PATTERN = re.compile(
    r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?", re.ASCII
)
# Values are bounded as in Kubernetes. Without traps, an exponent of any length is zero or infinity.
_MAX, _LEAST = Decimal(2**63 - 1), Decimal("1e-9")
_CONTEXT = Context(prec=64, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
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
    """Return the value of a quantity, rounded up to 1e-9, and at most 2**63 - 1; zero for an invalid text."""
    found = PATTERN.fullmatch(str(text))
    if found is None:
        return Decimal(0)
    number, scale = found[1], found[2] or ""
    if scale in _SUFFIXES:
        value = _CONTEXT.multiply(_CONTEXT.create_decimal(number), _SUFFIXES[scale])
    else:
        value = _CONTEXT.create_decimal(number + scale)
    return max(-_MAX, min(_MAX, value)).quantize(_LEAST, ROUND_UP, _CONTEXT).normalize(_CONTEXT)


def canonical(value: Decimal, like: Any = "") -> str:
    """Format a value with the largest suffix: `1500m`, `2k`; a binary one, `64Mi`, if `like` has one."""
    if str(like).endswith("i") and abs(value) >= 1024:
        suffixes = [("", Decimal(1)), *((each, size) for size, each in _BINARY)]
    else:
        suffixes = [(each, size) for size, each in _DECIMAL]
    for suffix, size in reversed(suffixes):
        if value and _CONTEXT.remainder(value, size) == 0:
            return f"{int(value / size)}{suffix}"
    return "0"
