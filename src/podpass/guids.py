"""What a GUID is: five groups of hexadecimal digits, hyphens between them, and no braces. Pure.

Entra takes those that clients send in either case. What podpass keeps, and what its settings name, is in
lower case, so that one GUID has one spelling there.
"""

import re
from typing import TypeGuard

# To stand within a longer expression; it needs no flag, and any may be set.
PATTERN = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_GUID = re.compile(PATTERN)
_LOWER = re.compile(PATTERN.replace("A-F", ""))


def is_guid(value: object) -> TypeGuard[str]:
    """Tell whether a value is the text of a GUID, in either case."""
    return isinstance(value, str) and _GUID.fullmatch(value) is not None


def is_lower_guid(text: str) -> bool:
    """Tell whether a text is a GUID in lower case."""
    return _LOWER.fullmatch(text) is not None
