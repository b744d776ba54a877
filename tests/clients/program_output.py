"""Parses a program's output: JSON objects between log lines of SDKs and runtimes."""

import json
from typing import Any


def parse_output(printed: str) -> dict[str, Any]:
    """Merge the JSON objects that a program printed into one."""
    said: dict[str, Any] = {}
    for line in printed.splitlines():
        if line.startswith("{") and line.endswith("}"):
            said |= json.loads(line)
    return said
