"""Assignments of the two policies, alone and in initiatives, with exemptions."""

from datetime import UTC, datetime

import pytest

from podpass.diagnose.lint.assignments import find_initiatives, resolve_assignments
from podpass.diagnose.lint.policies import AKS_ISSUERS, WELL_KNOWN_ISSUERS
from podpass.provision.model import (
    InitiativeInfo,
    InitiativeMember,
    PolicyAssignmentInfo,
    PolicyExemptionInfo,
)

NOW = datetime(2026, 12, 3, 12, tzinfo=UTC)
AUTHORIZATION = "/providers/Microsoft.Authorization"
BUILT_IN = f"{AUTHORIZATION}/policyDefinitions/"
SUBSCRIPTION = "/subscriptions/s"
MANAGEMENT_GROUP = "/providers/Microsoft.Management/managementGroups/m"
SET = f"{MANAGEMENT_GROUP}{AUTHORIZATION}/policySetDefinitions/issuers"
ASSIGNED = f"{MANAGEMENT_GROUP}{AUTHORIZATION}/policyAssignments/strict"


def assignment(
    definition_id: str,
    parameters: dict[str, object] | None = None,
    excluded: tuple[str, ...] = (),
    is_enforced: bool = True,
) -> PolicyAssignmentInfo:
    return PolicyAssignmentInfo(
        id=ASSIGNED,
        definition_id=definition_id,
        scope=MANAGEMENT_GROUP,
        excluded=excluded,
        parameters=parameters or {},
        is_enforced=is_enforced,
    )


INITIATIVE = InitiativeInfo(
    id=SET.lower(),
    defaults={"github": False, "effect": "Audit", "locations": ["westeurope"], "none": None},
    members=(
        InitiativeMember(
            reference_id="kinds",
            definition_id=f"{BUILT_IN}{WELL_KNOWN_ISSUERS}",
            parameters={
                "allowFederatedCredentials": True,
                "allowGitHub": "[parameters('GitHub')]",
                "allowAKS": "[ parameters( 'missing' ) ]",
                "effect": "[Parameters('effect')]",
            },
        ),
        InitiativeMember(
            reference_id="clusters",
            definition_id=f"{BUILT_IN}{AKS_ISSUERS}",
            parameters={
                "allowedLocations": "[parameters('locations')]",
                "allowedTenants": "[concat(parameters('a'), 'b')]",
            },
        ),
        InitiativeMember(reference_id="tags", definition_id=f"{BUILT_IN}tags", parameters={}),
    ),
)


def exemption(**changes: str | tuple[str, ...]) -> PolicyExemptionInfo:
    place = f"{SUBSCRIPTION}/resourceGroups/g{AUTHORIZATION}/policyExemptions/legacy"
    given = {"id": place, "assignment_id": ASSIGNED, **changes}
    return PolicyExemptionInfo(**given)  # type: ignore[arg-type]


def test_only_assignments_of_the_two_policies_are_read() -> None:
    given: dict[str, dict[str, object]] = {
        f"{BUILT_IN}{WELL_KNOWN_ISSUERS.upper()}": {
            "allowAKS": True,
            "allowGitHub": "true",
            "allowedIssuerExceptions": ["https://a.example"],
            "effect": "Deny",
            "unknown": True,
        },
        f"{BUILT_IN}{AKS_ISSUERS}": {"allowedLocations": None, "effect": 1},
        f"{BUILT_IN}tags": {},
        # A definition of a user can have any name.
        f"{SUBSCRIPTION}{BUILT_IN}{WELL_KNOWN_ISSUERS}": {},
        "": {},
    }
    assigned = [assignment(each, values, ("/a/b",)) for each, values in given.items()]
    assigned[0] = assignment(assigned[0].definition_id, {**assigned[0].parameters}, ("/a",), False)
    found = resolve_assignments(assigned, [], [], NOW).policies
    assert [(each.definition, each.scope) for each in found] == [
        (WELL_KNOWN_ISSUERS, MANAGEMENT_GROUP),
        (AKS_ISSUERS, MANAGEMENT_GROUP),
    ]
    assert [each.is_enforced for each in found] == [False, True]
    assert found[0].parameters == {
        "allowAKS": True,
        "allowedIssuerExceptions": ["https://a.example"],
        "effect": "Deny",
    }
    assert found[1].parameters == {}


def test_policies_of_an_initiative_have_its_parameters() -> None:
    assigned = assignment(SET, {"GITHUB": True})
    assert find_initiatives([assigned, assigned, assignment(f"{BUILT_IN}tags")]) == [SET]
    found = resolve_assignments([assigned], [INITIATIVE], [], NOW)
    kinds, clusters = found.policies
    assert kinds.parameters == {
        "allowFederatedCredentials": True,
        "allowGitHub": True,
        "effect": "Audit",
    }
    assert clusters.parameters == {"allowedLocations": ["westeurope"]}
    assert found.unread == [
        f"policies: {SET.lower()}: the value [concat(parameters('a'), 'b')] of allowedTenants"
    ]
    # An initiative that could not be read has no policies; the reader has recorded why.
    assert resolve_assignments([assigned], [], [], NOW).policies == []


@pytest.mark.parametrize(
    ("given", "references"),
    [
        (exemption(), {"kinds", "clusters"}),
        (exemption(assignment_id=ASSIGNED.upper()), {"kinds", "clusters"}),
        (exemption(references=("Kinds",)), {"kinds"}),
        (exemption(references=("tags",)), set()),
        (exemption(assignment_id=f"{ASSIGNED}-other"), set()),
        (exemption(expires="2026-12-03T12:00:01Z"), {"kinds", "clusters"}),
        (exemption(expires="2026-12-03T12:00:00.0000000Z"), set()),
        (exemption(expires="2026-12-03T11:59:59"), set()),
        (exemption(expires="tomorrow"), set()),
    ],
)
def test_exemption_is_for_its_assignment_its_policies_and_its_time(
    given: PolicyExemptionInfo, references: set[str]
) -> None:
    found = resolve_assignments([assignment(SET)], [INITIATIVE], [given], NOW).policies
    names = {WELL_KNOWN_ISSUERS: "kinds", AKS_ISSUERS: "clusters"}
    assert {names[each.definition] for each in found if each.exemptions} == references


def test_exemption_has_its_scope_and_a_text() -> None:
    given = [
        exemption(category="Waiver", expires="2027-01-01T00:00:00Z"),
        exemption(category="Mitigated"),
    ]
    [policy, _] = resolve_assignments([assignment(SET)], [INITIATIVE], given, NOW).policies
    texts = [(each.scope, each.text) for each in policy.exemptions]
    assert texts == [
        (f"{SUBSCRIPTION}/resourceGroups/g", "legacy (Waiver, until 2027-01-01T00:00:00Z)"),
        (f"{SUBSCRIPTION}/resourceGroups/g", "legacy (Mitigated)"),
    ]


def test_excluded_management_group_is_not_evaluated_and_reported_once() -> None:
    other = "/providers/Microsoft.Management/managementGroups/sandbox"
    assigned = assignment(SET, excluded=(other, f"{SUBSCRIPTION}/resourceGroups/g"))
    simple = InitiativeInfo(id=SET, defaults={}, members=INITIATIVE.members[:1] * 2)
    assert resolve_assignments([assigned], [simple], [], NOW).unread == [
        f"policies: {ASSIGNED}: whether the excluded {other} contains the subscription"
    ]
    # Of an assignment of other policies, nothing is reported.
    tags = assignment(f"{BUILT_IN}tags", excluded=(other,))
    assert resolve_assignments([tags], [], [], NOW).unread == []
