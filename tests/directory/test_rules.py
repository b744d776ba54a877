"""Validation rules of the directory, each at its limit."""

from collections.abc import Callable
from typing import Any

import pytest

from podpass.directory import errors, naming, resource_ids, roles, rules
from podpass.directory.model import FederatedCredential, Identity, IdentityKind
from podpass.errors import UsageError
from podpass.lab.services.vault.model import vault_name_fault

Make = Callable[..., FederatedCredential]


def fields(credential: FederatedCredential) -> list[str]:
    return [fault.field for fault in rules.credential_faults(credential)]


@pytest.mark.parametrize("name", ["abc", "0-_", "A" * 120, "web-1_x"])
def test_name_of_3_to_120_valid_characters_is_accepted(make_credential: Make, name: str) -> None:
    assert fields(make_credential(name)) == []


AZWI_NAMES = ["cifnXdTmRokvJLrZ6PB3vtY5FSdYOGKA_PqotCd59wU=", "-" + "A" * 42 + "=", "_" * 43 + "="]


@pytest.mark.parametrize("name", [*AZWI_NAMES, "a==", "abc", "0-_"])
def test_application_accepts_padded_base64url_as_credential_name(
    make_credential: Make, name: str
) -> None:
    """azwi names credentials by the SHA-256 of their trust."""
    assert rules.credential_faults(make_credential(name), IdentityKind.APPLICATION) == []


@pytest.mark.parametrize("name", ["", "a=", "=ab", "-abc", "_abc", "a b=", "a/b=", "a" * 120 + "="])
def test_application_refuses_other_credential_names(make_credential: Make, name: str) -> None:
    faults = rules.credential_faults(make_credential(name), IdentityKind.APPLICATION)
    assert [fault.field for fault in faults] == ["name"]


def test_description_over_600_characters_is_refused(make_credential: Make) -> None:
    assert fields(make_credential(description="x" * 600)) == []
    assert fields(make_credential(description="x" * 601)) == ["description"]


@pytest.mark.parametrize("domain", ["", "Contoso.example", "a b", "-x", "x/y", "x" * 254])
def test_domain_that_is_not_a_lower_case_host_name_is_refused(domain: str) -> None:
    naming.check_domain("contoso.example")
    with pytest.raises(errors.InvalidValue) as caught:
        naming.check_domain(domain)
    assert caught.value.facts["field"] == "domains"


def test_domain_that_is_a_guid_is_refused() -> None:
    """Otherwise a lookup of the tenant with this ID would find the domain."""
    with pytest.raises(errors.InvalidValue):
        naming.check_domain("5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0")


@pytest.mark.parametrize("audiences", [(), ("a", "b")])
def test_credential_without_exactly_one_audience_is_refused(
    make_credential: Make, audiences: tuple[str, ...]
) -> None:
    assert fields(make_credential(audiences=audiences)) == ["audiences"]


@pytest.mark.parametrize("subject", ["system:serviceaccount:default:*", "repo:a/?:ref"])
def test_wildcard_in_a_subject_is_refused_with_the_reason(
    make_credential: Make, subject: str
) -> None:
    with pytest.raises(errors.InvalidCredential) as caught:
        rules.check_credential(make_credential(subject=subject))
    assert "wildcards match nothing" in caught.value.message
    assert caught.value.code == "invalid_federated_credential"


def test_all_faults_are_reported_together(make_credential: Make) -> None:
    with pytest.raises(errors.InvalidCredential) as caught:
        rules.check_credential(make_credential("x", issuer="http://x", subject="*", audiences=()))
    assert caught.value.hint == "fix name, issuer, subject, audiences"


@pytest.mark.parametrize(
    "changes",
    [
        *({"client_id": "not-a-guid"}, {"object_id": "AAAAAAAA-0c35-4fd1-9f0e-1f6a54a3a1d0"}),
        *({"tenant_id": ""}, {"name": "x"}, {"name": "a b c"}),
        *({"resource_id": None}, {"kind": IdentityKind.APPLICATION}),
    ],
)
def test_identity_with_an_invalid_id_or_name_is_refused(
    make_identity: Callable[..., Identity], changes: dict[str, Any]
) -> None:
    rules.check_identity(make_identity())
    with pytest.raises(errors.InvalidValue):
        rules.check_identity(make_identity(**changes))


@pytest.mark.parametrize("name", ["abc", "demo-vault", "a1-b2", "a" * 24])
def test_valid_vault_name_is_accepted(name: str) -> None:
    assert vault_name_fault(name) is None


@pytest.mark.parametrize("name", ["ab", "a" * 25, "1ab", "a--b", "ab-", "-ab", "Abc", "a.b", "a_b"])
def test_vault_name_that_is_not_a_host_label_is_refused(name: str) -> None:
    assert vault_name_fault(name) is not None


def test_scope_covers_itself_and_its_children_by_whole_segments() -> None:
    vault = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/demo"
    assert resource_ids.covers(vault, vault + "/secrets/x")
    assert resource_ids.covers(vault.upper(), vault)
    assert resource_ids.covers("/subscriptions/s", vault)
    assert not resource_ids.covers(vault, vault + "2")
    assert not resource_ids.covers(vault, "/subscriptions/s")


def test_role_is_found_by_name_or_id_and_an_unknown_name_gets_suggestions() -> None:
    user = roles.RoleCatalogue().find("key vault secrets user")
    assert roles.RoleCatalogue().find(user.id.upper()) == user
    with pytest.raises(UsageError) as caught:
        roles.RoleCatalogue().find("Key Vault Secret User")
    assert "Key Vault Secrets User" in caught.value.hint


def test_recommended_role_is_the_least_privileged() -> None:
    assert roles.least_for(roles.GET_SECRET).name == "Key Vault Secrets User"
    assert roles.least_for(roles.SET_SECRET).name == "Key Vault Secrets Officer"
