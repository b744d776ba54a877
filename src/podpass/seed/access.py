"""Roles of identities on a resource of a seed file."""

from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from podpass.errors import UsageError
from podpass.seed.yaml_reader import Reader, line_of

_KEYS = ("identity", "role")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedAccess:
    """A role of an identity, given by name; `below` is the part of the resource that it applies to."""

    line: int
    identity: str
    role: str
    below: str = ""


def parse_access(
    read: Reader,
    node: yaml.Node,
    resource: str,
    parts: tuple[str, ...] = (),
    *,
    in_vault: bool = False,
) -> tuple[SeedAccess, Mapping[str, yaml.Node]]:
    """Parse a role; report each problem with its line. Return it with its entry, which may have `parts`."""
    where = f"{resource}: access"
    entry = read.read_mapping(node, where, (*_KEYS, *parts), required=_KEYS)
    role = read.read_text(entry.get("role"), f"{where}: role") or ""
    try:
        role = read.roles.find(role).name if role else ""
    except UsageError as exc:
        hint = exc.hint if in_vault else read.roles.suggest(role)
        text = "; ".join(filter(None, (exc.message, hint)))
        read.add_problem(line_of(entry["role"]), f"{where}: {text}")
    identity = read.read_text(entry.get("identity"), f"{where}: identity") or ""
    return SeedAccess(line=line_of(node), identity=identity, role=role), entry
