"""The number of examples of a property: KUBELING_EXAMPLES multiplies it for long runs."""

import os


def examples(number: int) -> int:
    """Return the number of examples for this run."""
    return number * int(os.environ.get("KUBELING_EXAMPLES", "1"))
