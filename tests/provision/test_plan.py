"""The steps from what exists to what is requested."""

from dataclasses import replace
from typing import Any

import pytest

from podpass.directory.model import FederatedCredential
from podpass.provision.model import (
    AccountInfo,
    ApplicationInfo,
    AssignmentInfo,
    IdentityInfo,
    Observed,
    PrincipalInfo,
    ProvisionRequest,
    ProvisionStep,
    RoleInfo,
)
from podpass.provision.plan import (
    PhaseFailed,
    build_annotations,
    find_other_users,
    plan_create,
    plan_delete,
)
from podpass.provision.request_checks import CREATE_ORDER, DELETE_ORDER, select_phases

CLIENT_ID = "azure.workload.identity/client-id"
TENANT_ID = "azure.workload.identity/tenant-id"
EXPIRATION = "azure.workload.identity/service-account-token-expiration"
REQUEST = ProvisionRequest(
    phases=select_phases(CREATE_ORDER, (), is_managed=False),
    tenant_id="tenant",
    audience="api://AzureADTokenExchange",
    account="web",
    issuer="https://issuer/",
    scope="/subscriptions/s",
    role="Reader",
)
MANAGED = replace(
    REQUEST,
    phases=select_phases(CREATE_ORDER, (), is_managed=True),
    managed_identity="web",
    resource_group="g",
)
APPLICATION = ApplicationInfo(object_id="o", client_id="c", name=REQUEST.resolved_name)
PRINCIPAL = PrincipalInfo(object_id="p", client_id="c", name=REQUEST.resolved_name)
ACCOUNT = AccountInfo(uid="u", annotations={CLIENT_ID: "c", TENANT_ID: "tenant"})
ROLE = RoleInfo(id="r", name="Reader")
ASSIGNMENT = AssignmentInfo(id="a", scope="/subscriptions/s", role_id="r", principal_id="p")
IDENTITY = IdentityInfo(resource_id="i", name="web", client_id="c", principal_id="p")
OTHER = FederatedCredential(name="other", issuer="https://issuer/", subject="s", audiences=("a",))
COMPLETE = Observed(
    application=APPLICATION,
    principal=PRINCIPAL,
    account=ACCOUNT,
    credentials=(OTHER, REQUEST.credential),
    role=ROLE,
    assignment=ASSIGNMENT,
)


def _actions(steps: tuple[ProvisionStep, ...]) -> list[str]:
    return [f"{each.kind}: {each.action}" for each in steps]


def test_everything_is_created_where_nothing_exists() -> None:
    assert _actions(plan_create(REQUEST, Observed(role=ROLE))) == [
        "application: create",
        "service principal: create",
        "ServiceAccount: create",
        "federated credential: create",
        "role assignment: create",
    ]
    steps = plan_create(MANAGED, Observed(role=ROLE, location="eastus"))
    assert _actions(steps)[0] == "managed identity: create"
    assert steps[0].note == "in eastus"
    assert (
        plan_create(replace(MANAGED, location="west"), Observed(role=ROLE, location="eastus"))[
            0
        ].note
        == "in west"
    )


def test_nothing_is_changed_where_everything_exists() -> None:
    assert {each.action for each in plan_create(REQUEST, COMPLETE)} == {"keep"}
    managed = replace(
        COMPLETE, application=None, identity=IDENTITY, credentials=(MANAGED.credential,)
    )
    assert {each.action for each in plan_create(MANAGED, managed)} == {"keep"}


@pytest.mark.parametrize(
    ("missing", "created"),
    [
        ({"principal": None}, {"service principal: create"}),
        ({"account": None}, {"ServiceAccount: create"}),
        ({"credentials": (OTHER,)}, {"federated credential: create"}),
        ({"assignment": None}, {"role assignment: create"}),
        (
            {"application": None, "principal": None, "credentials": (), "assignment": None},
            {
                "application: create",
                "service principal: create",
                "ServiceAccount: update",
                "federated credential: create",
                "role assignment: create",
            },
        ),
    ],
    ids=["principal", "account", "credential", "assignment", "application"],
)
def test_only_what_is_missing_is_created(missing: dict[str, Any], created: set[str]) -> None:
    steps = _actions(plan_create(REQUEST, replace(COMPLETE, **missing)))
    assert {each for each in steps if not each.endswith("keep")} == created


def test_replaced_annotations_are_named_and_others_stay() -> None:
    account = AccountInfo(uid="u", annotations={CLIENT_ID: "old", EXPIRATION: "7200", "x": "y"})
    [step] = plan_create(
        replace(REQUEST, phases=("service-account",)), replace(COMPLETE, account=account)
    )
    assert (step.action, step.note) == ("update", f"{CLIENT_ID} was old")
    assert build_annotations("c", "t", None) == {CLIENT_ID: "c", TENANT_ID: "t"}


def test_expiration_of_one_hour_is_no_annotation() -> None:
    assert build_annotations("c", "t", 3600)[EXPIRATION] is None
    assert build_annotations("c", "t", 3601)[EXPIRATION] == "3601"


def _fails(request: ProvisionRequest, observed: Observed) -> PhaseFailed:
    with pytest.raises(PhaseFailed) as caught:
        plan_create(request, observed)
    assert caught.value.hint
    return caught.value


def test_credential_with_another_audience_is_refused() -> None:
    changed = replace(REQUEST.credential, audiences=("api://other",))
    error = _fails(REQUEST, replace(COMPLETE, credentials=(changed,)))
    assert error.phase == "federated-identity"
    assert "has the audience api://other" in error.message


def test_credential_of_the_same_name_with_another_subject_is_refused() -> None:
    changed = replace(REQUEST.credential, subject="system:serviceaccount:x:y")
    error = _fails(REQUEST, replace(COMPLETE, credentials=(changed,)))
    assert "trusts system:serviceaccount:x:y of https://issuer/" in error.message


def test_twenty_first_credential_is_refused() -> None:
    full = tuple(replace(OTHER, name=f"n{n}", subject=f"s{n}") for n in range(20))
    assert "at most 20" in _fails(REQUEST, replace(COMPLETE, credentials=full)).message
    steps = plan_create(REQUEST, replace(COMPLETE, credentials=full[:19]))
    assert "federated credential: create" in _actions(steps)


def test_unknown_role_and_resource_group_are_refused() -> None:
    assert "there is no role 'Reader'" in _fails(REQUEST, Observed()).message
    error = _fails(MANAGED, Observed(role=ROLE))
    assert "there is no resource group g" in error.message


@pytest.mark.parametrize("phase", ["service-account", "federated-identity", "role-assignment"])
def test_phase_without_its_identity_is_refused(phase: str) -> None:
    error = _fails(replace(REQUEST, phases=(phase,)), Observed(role=ROLE))
    assert error.phase == phase
    assert "there is no " in error.message
    assert "aad-application" in error.hint
    error = _fails(replace(MANAGED, phases=(phase,)), Observed(role=ROLE))
    assert "there is no managed identity web in the resource group g" in error.message


def test_given_ids_replace_the_lookup_by_name() -> None:
    account = replace(REQUEST, phases=("service-account",), application_client_id="given")
    assert _actions(plan_create(account, Observed())) == ["ServiceAccount: create"]
    role = replace(REQUEST, phases=("role-assignment",), principal_object_id="given")
    assert _actions(plan_create(role, Observed(role=ROLE))) == ["role assignment: create"]


DELETE = replace(REQUEST, phases=select_phases(DELETE_ORDER, (), is_managed=False))
DELETE_MANAGED = replace(MANAGED, phases=select_phases(DELETE_ORDER, (), is_managed=True))


def test_everything_is_deleted_and_the_credential_with_its_application() -> None:
    assert _actions(plan_delete(DELETE, COMPLETE)) == [
        "role assignment: delete",
        "ServiceAccount: delete",
        "application: delete",
    ]
    only = replace(DELETE, phases=("federated-identity",))
    assert _actions(plan_delete(only, COMPLETE)) == ["federated credential: delete"]


def test_what_does_not_exist_is_not_deleted() -> None:
    assert {each.action for each in plan_delete(DELETE, Observed())} == {"absent"}
    assert {each.action for each in plan_delete(DELETE_MANAGED, Observed())} == {"absent"}
    only = replace(DELETE, phases=("federated-identity",))
    observed = replace(COMPLETE, credentials=(OTHER,))
    assert _actions(plan_delete(only, observed)) == ["federated credential: absent"]


OWN = replace(COMPLETE, credentials=(REQUEST.credential,))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, []),
        ({"credentials": (OTHER, REQUEST.credential)}, ["also trusts s of https://issuer/"]),
        ({"pods": ("a", "b")}, ["is used by 2 pods: a, b"]),
        ({"pods": None}, []),
        (
            {"account": AccountInfo(uid="u", annotations={CLIENT_ID: "another"})},
            ["annotated with another identity, another"],
        ),
        ({"account": AccountInfo(uid="u", annotations={})}, []),
        (
            {"application": replace(APPLICATION, secrets=1, certificates=2)},
            ["has 1 client secrets", "has 2 certificates"],
        ),
        ({"assignment": replace(ASSIGNMENT, principal_id="q")}, ["that of another principal, q"]),
    ],
    ids=["own", "trust", "pods", "unknown", "identity", "bare", "secrets", "assignment"],
)
def test_other_users_of_an_application_are_found_before_deletion(
    changed: dict[str, Any], words: list[str]
) -> None:
    found = find_other_users(DELETE, replace(OWN, **changed))
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found, strict=True))


def test_uses_of_objects_that_stay_are_ignored() -> None:
    observed = replace(OWN, pods=("a",), credentials=(OTHER,))
    assert find_other_users(replace(DELETE, phases=("role-assignment",)), observed) == []


def test_other_credentials_of_a_managed_identity_are_found_before_deletion() -> None:
    observed = Observed(identity=IDENTITY, credentials=(OTHER, DELETE_MANAGED.credential))
    assert len(find_other_users(DELETE_MANAGED, observed)) == 1


def test_single_credential_without_a_requested_account_is_not_another_users() -> None:
    request = ProvisionRequest(phases=("aad-application",), application_name="x")
    assert find_other_users(request, replace(OWN, credentials=(OTHER,))) == []
    two = (OTHER, replace(OTHER, name="n2", subject="s2"))
    assert len(find_other_users(request, replace(OWN, credentials=two))) == 2
