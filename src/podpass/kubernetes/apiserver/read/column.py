"""What a column of a table is, and the cells that many kinds share."""

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
    """A column; those of priority 1 are for `-o wide`."""

    name: str
    cell: Cell
    meaning: str
    priority: int = 0
    type: str = "string"
    format: str = ""

    def definition(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.meaning,
            "priority": self.priority,
        }


def duration(seconds: float) -> str:
    """Write a time span as kubectl does: the shorter the finer, at most two units."""
    whole = int(seconds)
    if whole < 120:
        return "<invalid>" if whole < -1 else f"{max(whole, 0)}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    return _two(days // 365, "y", days % 365 if days < 365 * 8 else 0, "d")


def _two(large: int, unit: str, small: int, below: str) -> str:
    return f"{large}{unit}{small}{below}" if small else f"{large}{unit}"


def since(moment: str | None, now: float) -> str:
    if not moment:
        return UNKNOWN
    return duration(now - datetime.fromisoformat(moment).timestamp())


def dig(*path: str, default: Any = "") -> Cell:
    """Make a cell of what stands at a path."""

    def cell(obj: Object, _now: float) -> Any:
        found: Any = obj
        for part in path:
            found = (found or {}).get(part)
        return default if found in (None, "") else found

    return cell


def count(*parts: str) -> Cell:
    return lambda obj, _now: sum(len(obj.get(part) or ()) for part in parts)


def _age(obj: Object, now: float) -> str:
    return since(obj["metadata"].get("creationTimestamp"), now)


def pairs(labels: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


NAME = Column("Name", dig("metadata", "name"), "name of the object", format="name")
AGE = Column("Age", _age, "time since it was made")
_BORN = Column("Created At", dig("metadata", "creationTimestamp"), "time it was made", type="date")
PLAIN = (NAME, _BORN)
