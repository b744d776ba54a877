"""What a program printed: JSON objects, between whatever SDKs and runtimes say of themselves."""

import json
from typing import Any


def members(printed: str) -> dict[str, Any]:
    """Join the objects that a program said into one."""
    said: dict[str, Any] = {}
    for line in printed.splitlines():
        if line.startswith("{") and line.endswith("}"):
            said |= json.loads(line)
    return said
