"""Whole numbers that strangers write in a query."""

import re

_WRITTEN = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_BEYOND = 1 << 63


def read(text: str) -> int | None:
    """Read a signed 64-bit number, as every API here has them; None for anything else.

    `int` alone refuses 5,000 digits with an error of its own, and takes `1_0` and digits of any script.
    """
    if not _WRITTEN.fullmatch(text):
        return None
    number = int(text)
    return number if -_BEYOND <= number < _BEYOND else None
