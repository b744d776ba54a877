"""The assignments of Microsoft's policies for issuers: alone or in an initiative, with exemptions. Pure.

Source: https://learn.microsoft.com/azure/governance/policy/concepts/assignment-structure
        https://learn.microsoft.com/azure/governance/policy/concepts/initiative-definition-structure
        https://learn.microsoft.com/azure/governance/policy/concepts/exemption-structure
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from podpass.diagnose.lint.policies import (
    DEFINITIONS,
    Exemption,
    IssuerPolicy,
    PolicyDefinition,
    is_management_group,
)
from podpass.provision.model import (
    InitiativeInfo,
    InitiativeMember,
    PolicyAssignmentInfo,
    PolicyExemptionInfo,
)

_BUILT_IN = "/providers/microsoft.authorization/policydefinitions/"
_INITIATIVE = "/policysetdefinitions/"
_EXEMPTION = re.compile("/providers/microsoft.authorization/policyexemptions/", re.IGNORECASE)
_PARAMETER = re.compile(r"\[\s*parameters\(\s*'([^']+)'\s*\)\s*\]", re.IGNORECASE)


@dataclass(kw_only=True)
class ResolvedPolicies:
    """The policies that apply to a subscription, and sentences about what is not evaluated."""

    policies: list[IssuerPolicy] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def find_initiatives(assignments: Iterable[PolicyAssignmentInfo]) -> list[str]:
    """Return the resource ids of the assigned initiatives, each once."""
    ids = {each.definition_id.lower(): each.definition_id for each in assignments}
    return [given for key, given in ids.items() if _INITIATIVE in key]


def resolve_assignments(
    assignments: Iterable[PolicyAssignmentInfo],
    initiatives: Iterable[InitiativeInfo],
    exemptions: Sequence[PolicyExemptionInfo],
    now: datetime,
) -> ResolvedPolicies:
    """Return the assignments of the two policies. A value of the wrong type is ignored."""
    by_id = {each.id.lower(): each for each in initiatives}
    found = ResolvedPolicies()
    valid = [each for each in exemptions if not _is_expired(each.expires, now)]
    for assignment in assignments:
        initiative = by_id.get(assignment.definition_id.lower())
        for member in _members(assignment, initiative):
            known = _find_definition(member.definition_id)
            if known is None:
                continue
            if initiative is None:
                values = member.parameters
            else:
                values = _fill_in(member, assignment, initiative, found.unread)
            found.policies.append(
                IssuerPolicy(
                    definition=known[0],
                    parameters=_typed(known[1], values),
                    assignment=assignment.id,
                    scope=assignment.scope,
                    excluded=assignment.excluded,
                    exemptions=tuple(_select(valid, assignment, member.reference_id)),
                    is_enforced=assignment.is_enforced,
                )
            )
            found.unread += [
                f"policies: {assignment.id}: whether the excluded {scope} contains the subscription"
                for scope in assignment.excluded
                if is_management_group(scope)
            ]
    found.unread = list(dict.fromkeys(found.unread))  # once for both policies of an initiative
    return found


def _members(
    assignment: PolicyAssignmentInfo, initiative: InitiativeInfo | None
) -> Iterable[InitiativeMember]:
    """Return the assigned policies: those of the initiative, or the one that is assigned alone."""
    if initiative is not None:
        return initiative.members
    alone = InitiativeMember(
        reference_id="",
        definition_id=assignment.definition_id,
        parameters=assignment.parameters,
    )
    return (alone,)


def _find_definition(definition_id: str) -> tuple[str, PolicyDefinition] | None:
    folder, _, name = definition_id.lower().rpartition("/")
    known = DEFINITIONS.get(name)
    # A definition of a user can have any name.
    return (name, known) if known is not None and f"{folder}/" == _BUILT_IN else None


def _fill_in(
    member: InitiativeMember,
    assignment: PolicyAssignmentInfo,
    initiative: InitiativeInfo,
    unread: list[str],
) -> dict[str, object]:
    """Return the parameters of a policy, with the values that the initiative has by assignment or default."""
    given = {
        name.lower(): value
        for values in (initiative.defaults, assignment.parameters)
        for name, value in values.items()
    }
    found = {}
    for name, value in member.parameters.items():
        if isinstance(value, str) and (parameter := _PARAMETER.fullmatch(value)):
            value = given.get(parameter[1].lower())
        elif isinstance(value, str) and value.startswith("["):
            unread.append(f"policies: {initiative.id}: the value {value} of {name}")
        found[name] = value
    return found


def _typed(known: PolicyDefinition, values: Mapping[str, object]) -> dict[str, Any]:
    types: dict[str, type] = {
        **dict.fromkeys(known.switches, bool),
        **dict.fromkeys(known.lists, list),
        "effect": str,
    }
    return {key: value for key, value in values.items() if type(value) is types.get(key)}


def _select(
    exemptions: Iterable[PolicyExemptionInfo], assignment: PolicyAssignmentInfo, reference: str
) -> Iterator[Exemption]:
    """Return the exemptions from an assignment, or from one policy of it."""
    for each in exemptions:
        references = [text.lower() for text in each.references]
        is_meant = not references or reference.lower() in references
        if is_meant and each.assignment_id.lower() == assignment.id.lower():
            scope, *rest = _EXEMPTION.split(each.id)
            about = [each.category, f"until {each.expires}" if each.expires else ""]
            text = f"{''.join(rest)} ({', '.join(filter(None, about))})"
            yield Exemption(scope=scope, text=text)


def _is_expired(expires: str, now: datetime) -> bool:
    """Return whether a time has passed; a text that is no time has."""
    if not expires:
        return False
    try:
        time = datetime.fromisoformat(expires)
    except ValueError:
        return True
    return (time if time.tzinfo else time.replace(tzinfo=UTC)) <= now
