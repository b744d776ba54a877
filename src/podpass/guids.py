"""GUIDs: five groups of hexadecimal digits with hyphens and without braces. Pure.

Entra accepts GUIDs of clients in upper and lower case. podpass stores GUIDs in lower case, and its settings
require it, so that each GUID has one spelling.
"""

import re
from typing import TypeGuard

# The pattern may be used in a longer expression, with any flags.
PATTERN = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_GUID = re.compile(PATTERN)
_LOWER = re.compile(PATTERN.replace("A-F", ""))


def is_guid(value: object) -> TypeGuard[str]:
    """Return whether a value is a string that is a GUID, in upper or lower case."""
    return isinstance(value, str) and _GUID.fullmatch(value) is not None


def is_lower_guid(text: str) -> bool:
    """Return whether a text is a GUID in lower case."""
    return _LOWER.fullmatch(text) is not None
