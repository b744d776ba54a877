"""The managed cluster of Resource Manager. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from podpass.directory.naming import Fault

TYPE = "Microsoft.ContainerService/managedClusters"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A managed cluster of Resource Manager: the instance's own Kubernetes cluster."""

    subscription_id: str
    group: str
    name: str
    location: str
    resource_id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    created: float = 0
    document: Mapping[str, Any] = field(default_factory=dict)


def name_fault(name: str) -> Fault | None:
    """Return the fault of a cluster name, or None."""
    if _NAME.fullmatch(name):
        return None
    return Fault(
        field="name",
        message=f"name {name!r}: want 1 to 63 letters, digits, '-' and '_',"
        " beginning and ending with a letter or digit",
    )
