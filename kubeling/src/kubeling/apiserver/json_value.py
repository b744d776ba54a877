"""Compare JSON values by a hashable form, so that a search among many of them is one look-up."""

from typing import Any

import orjson


def identity(value: Any) -> bytes:
    """Return a hashable form of a JSON value: equal values have equal forms, and `true` is not 1."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
