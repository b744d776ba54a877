"""Parse 64-bit integers of untrusted query parameters."""

import re

_DECIMAL = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_LIMIT = 1 << 63


def parse(text: str) -> int | None:
    """Parse a signed 64-bit integer; return None for any other text.

    `int` alone raises a different error for 5,000 digits, and accepts `1_0` and digits of any script.
    """
    if not _DECIMAL.fullmatch(text):
        return None
    number = int(text)
    return number if -_LIMIT <= number < _LIMIT else None
