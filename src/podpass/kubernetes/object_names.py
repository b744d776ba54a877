"""Which texts are names of objects: others must not become a part of a URL or of a file name. Pure."""

import re

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def is_object_name(text: object) -> bool:
    """Return whether a value is a text that most kinds allow as a name."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def is_namespace_name(text: str) -> bool:
    """Return whether a text can be the name of a namespace."""
    return _NAMESPACE.fullmatch(text) is not None
