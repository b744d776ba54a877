"""Targets of connections: resources of services that podpass does not serve, stored and returned as sent.

They are also scopes of roles. No request to the service itself is served.
"""

from collections.abc import Mapping
from typing import Any

from podpass.directory.resource_manager import errors, wire
from podpass.directory.resource_manager.plain_resources import PlainType
from podpass.lab.services.connector import targets

_VERSIONS = ("2024-11-01", "2024-01-01", "2023-05-01", "2022-05-01", "2021-04-15")
_MEMBERS = ("sku", "identity", "properties")


def validate(name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that are stored. Their content is not checked."""
    if not targets.is_name(name):
        raise errors.bad_request(
            "InvalidResourceName",
            f"The name '{name[:80]}' is invalid: want 1 to 63 letters, digits, '-' and '_',"
            " beginning and ending with a letter or digit.",
        )
    found: dict[str, Any] = {"kind": wire.text(body, "kind")}
    found |= {member: wire.object_member(body, member) for member in _MEMBERS}
    return {member: value for member, value in found.items() if value}


PLAIN_TYPES = tuple(
    PlainType(name=kind, noun=f"resource {kind}", versions=_VERSIONS, validate=validate)
    for kind in targets.STORED_TYPES
)
