"""Decide which managed identity belongs to each selector. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from podpass.migration.podidentity.model import BoundIdentity

_USER_ASSIGNED = 0


def select_identities(
    bindings: Iterable[Mapping[str, Any]], identities: Iterable[Mapping[str, Any]]
) -> dict[str, BoundIdentity]:
    """Return the identity of each selector; bindings are read in the order of their names.

    As in the reference, only user-assigned managed identities (type 0) count, bindings without selector or
    with an unknown identity are ignored, and the first binding of a selector has precedence: a ServiceAccount
    has one client id.
    """
    known = {
        each["metadata"]["name"]: str((each.get("spec") or {}).get("clientID") or "")
        for each in identities
        if ((each.get("spec") or {}).get("type") or _USER_ASSIGNED) == _USER_ASSIGNED
    }
    found: dict[str, BoundIdentity] = {}
    for binding in sorted(bindings, key=lambda each: str(each["metadata"]["name"])):
        spec = binding.get("spec") or {}
        selector, name = spec.get("selector"), spec.get("azureIdentity")
        if not isinstance(selector, str) or not isinstance(name, str):
            continue  # the API server does not check these types in every release of the kinds
        if not selector or name not in known:
            continue
        first = found.get(selector)
        if first is None:
            found[selector] = BoundIdentity(selector=selector, client_id=known[name])
        elif known[name] not in (first.client_id, *first.others):
            found[selector] = replace(first, others=(*first.others, known[name]))
    return found
