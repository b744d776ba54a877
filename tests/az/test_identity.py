"""`az identity` and `az identity federated-credential`."""

import pytest

from tests.az.az_cli import AzCli, names
from tests.journey.instance import AUDIENCE, Instance

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]

_ISSUER = "https://issuer.example/"
_SUBJECT = "system:serviceaccount:default:app"


def test_identity_is_created_shown_listed_and_deleted(az: AzCli, instance: Instance) -> None:
    group = f"identities-{az.version}"
    az(f"group create -n {group} -l westeurope")
    made = az(f"identity create -n app -g {group} --tags use=test")
    assert (
        made["id"]
        .lower()
        .endswith(
            f"/resourcegroups/{group}/providers/microsoft.managedidentity/userassignedidentities/app"
        )
    )
    assert (made["location"], made["tenantId"]) == ("westeurope", instance.status["tenant_id"])
    assert made["tags"] == {"use": "test"}
    again, listed, everywhere = az.each(
        f"identity show -n app -g {group}", f"identity list -g {group}", "identity list"
    )
    assert again == made
    assert listed == [made]
    assert {"app", "web"} <= names(everywhere)
    principal = az(f"ad sp show --id {made['clientId']}")
    assert (principal["id"], principal["servicePrincipalType"]) == (
        made["principalId"],
        "ManagedIdentity",
    )
    assert az(f"identity delete -n app -g {group}") is None
    assert "(ResourceNotFound)" in az.refused(f"identity show -n app -g {group}")
    az(f"group delete -n {group} --yes")


def test_resources_of_an_identity_are_listed(az: AzCli) -> None:
    group = f"resources-of-{az.version}"
    az(f"group create -n {group} -l westeurope")
    identity = az(f"identity create -n assigned -g {group}")["id"]
    assert az(f"identity list-resources -n assigned -g {group}") == []
    az(f"aks create -n holder -g {group} --no-ssh-key --assign-identity {identity}")
    assert names(az(f"identity list-resources -n assigned -g {group}")) == {"holder"}
    az(f"group delete -n {group} --yes")


def test_repeated_create_returns_the_same_identity(newest: AzCli, group: str) -> None:
    made = newest(f"identity create -n app -g {group}")
    again = newest(f"identity create -n app -g {group} --tags a=b")
    assert (again["clientId"], again["principalId"]) == (made["clientId"], made["principalId"])
    assert again["tags"] == {"a": "b"}


def test_identity_recreated_after_deletion_has_new_ids(newest: AzCli, group: str) -> None:
    made = newest(f"identity create -n app -g {group}")
    newest(f"identity delete -n app -g {group}")
    again = newest(f"identity create -n app -g {group}")
    assert again["clientId"] != made["clientId"]
    assert again["principalId"] != made["principalId"]


# ------------------------------------------------------------------------------ federated credentials


def _create(name: str, group: str, *more: str, subject: str = _SUBJECT) -> str:
    return " ".join(
        [
            f"identity federated-credential create -n {name} --identity-name app -g {group}",
            f"--issuer {_ISSUER} --subject {subject} --audiences {AUDIENCE}",
            *more,
        ]
    )


def test_credential_is_created_shown_updated_listed_and_deleted(az: AzCli) -> None:
    group = f"credentials-{az.version}"
    az(f"group create -n {group} -l westeurope")
    az(f"identity create -n app -g {group}")
    where = f"--identity-name app -g {group}"
    made = az(_create("trust", group))
    assert (made["name"], made["issuer"], made["subject"], made["audiences"]) == (
        "trust",
        _ISSUER,
        _SUBJECT,
        [AUDIENCE],
    )
    again, listed = az.each(
        f"identity federated-credential show -n trust {where}",
        f"identity federated-credential list {where}",
    )
    assert (again, listed) == (made, [made])
    subject = "system:serviceaccount:default:other"
    changed = az(
        f"identity federated-credential update -n trust {where} --subject {subject} "
        f"--issuer {_ISSUER} --audiences {AUDIENCE}"
    )
    assert changed == {**made, "subject": subject}
    assert az(f"identity federated-credential delete -n trust {where} --yes") is None
    assert az(f"identity federated-credential list {where}") == []
    said = az.refused(f"identity federated-credential show -n trust {where}")
    assert "NotFound" in said
    az(f"group delete -n {group} --yes")


def test_expression_is_created_updated_and_listed_next_to_a_subject(
    newest: AzCli, group: str
) -> None:
    newest(f"identity create -n app -g {group}")
    where = f"--identity-name app -g {group}"
    create = f"identity federated-credential create -n flexible {where} --audiences {AUDIENCE}"
    issuer = "--issuer https://app.terraform.io"
    value = "claims['sub'] matches 'organization:contoso:*:run_phase:plan'"
    made = newest(f"{create} {issuer} --cme-version 1 --cme-value", value)
    assert made["claimsMatchingExpression"] == {"languageVersion": 1, "value": value}
    assert made.get("subject") is None
    newest(_create("trust", group))
    listed = newest(f"identity federated-credential list {where}")
    assert sorted((each["name"], bool(each.get("subject"))) for each in listed) == [
        ("flexible", False),
        ("trust", True),
    ]
    other = value.replace("plan", "apply")
    change = f"identity federated-credential update -n flexible {where} --cme-version 1 --cme-value"
    assert newest(change, other)["claimsMatchingExpression"]["value"] == other
    said = newest.refused(f"{create} --issuer {_ISSUER} --cme-version 1 --cme-value", value)
    assert "cannot be used with expressions" in said
