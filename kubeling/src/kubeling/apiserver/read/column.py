"""Columns of tables, and cells that several kinds share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Object = Mapping[str, Any]
Cell = Callable[[Object, float], Any]

NONE = "<none>"
UNKNOWN = "<unknown>"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; columns with priority 1 are for `-o wide`."""

    name: str
    cell: Cell
    meaning: str
    priority: int = 0
    type: str = "string"
    format: str = ""

    def definition(self) -> dict[str, Any]:
        """Return the column as a TableColumnDefinition."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.meaning,
            "priority": self.priority,
        }


def duration(seconds: float) -> str:
    """Format a time span as kubectl does, with at most two units; short spans are more precise."""
    whole = int(seconds)
    if whole < 120:
        return "<invalid>" if whole < -1 else f"{max(whole, 0)}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return _two_units(minutes, "m", whole % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _two_units(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two_units(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    return _two_units(days // 365, "y", days % 365 if days < 365 * 8 else 0, "d")


def _two_units(large: int, unit: str, small: int, below: str) -> str:
    return f"{large}{unit}{small}{below}" if small else f"{large}{unit}"


def elapsed(moment: str | None, now: float) -> str:
    """Format the time since a timestamp (RFC 3339)."""
    if not moment:
        return UNKNOWN
    return duration(now - datetime.fromisoformat(moment).timestamp())


def _metadata(part: str) -> Cell:
    return lambda obj, _: obj["metadata"].get(part, "")


def _age(obj: Object, now: float) -> str:
    return elapsed(obj["metadata"].get("creationTimestamp"), now)


def format_labels(labels: Mapping[str, str] | None) -> str:
    """Format labels as `key=value` pairs, sorted by key."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


NAME = Column("Name", _metadata("name"), "name of the object", format="name")
AGE = Column("Age", _age, "time since the creation of the object")
CREATED = Column(
    "Created At",
    _metadata("creationTimestamp"),
    "time of the creation of the object",
    type="date",
)
PLAIN = (NAME, CREATED)
