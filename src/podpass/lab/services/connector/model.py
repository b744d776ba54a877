"""A connection of Service Connector. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TYPE = "Microsoft.ServiceLinker/linkers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Linker:
    """A connection of Service Connector from a cluster to a target; `document` has its properties."""

    resource_id: str
    name: str
    created: float = 0
    document: Mapping[str, Any] = field(default_factory=dict)


def linker_id(source_id: str, name: str) -> str:
    """Return the id of a connection of Service Connector; `source_id` is its cluster."""
    return f"{source_id}/providers/{TYPE}/{name}"
