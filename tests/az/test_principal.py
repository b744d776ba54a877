"""`az ad sp`, `az ad user` and `az role`: principals and role assignments."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.az.az_cli import AzCli
from tests.journey.instance import CLIENT, Instance

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]


@pytest.fixture
def subscription(instance: Instance) -> str:
    return f"/subscriptions/{instance.status['subscription_id']}"


@pytest.fixture
def principal(request: pytest.FixtureRequest, newest: AzCli) -> Iterator[dict[str, Any]]:
    """Create a service principal for one test."""
    app = newest(f"ad app create --display-name {request.node.originalname[:60]}")
    yield newest(f"ad sp create --id {app['appId']}")
    newest(f"ad app delete --id {app['appId']}")


def test_service_principal_is_created_found_and_deleted(az: AzCli) -> None:
    name = f"principal-{az.version}"
    app = az(f"ad app create --display-name {name}")
    made = az(f"ad sp create --id {app['appId']}")
    assert (made["appId"], made["displayName"], made["servicePrincipalType"]) == (
        app["appId"],
        name,
        "Application",
    )
    by_client, by_object, listed, searched = az.each(
        f"ad sp show --id {app['appId']}",
        f"ad sp show --id {made['id']}",
        f"ad sp list --display-name {name}",
        f"ad sp list --filter \"appId eq '{app['appId']}'\"",
    )
    assert by_client["id"] == by_object["id"] == made["id"]
    assert [each["id"] for each in listed] == [each["id"] for each in searched] == [made["id"]]
    assert az(f"ad sp delete --id {made['id']}") is None
    assert "does not exist" in az.refused(f"ad sp show --id {app['appId']}")
    az(f"ad app delete --id {app['appId']}")


def test_a_second_principal_of_an_application_is_refused(
    newest: AzCli, principal: dict[str, Any]
) -> None:
    said = newest.refused(f"ad sp create --id {principal['appId']}")
    assert "already has a service principal" in said


def test_principal_is_updated_and_its_secrets_are_managed(
    newest: AzCli, principal: dict[str, Any]
) -> None:
    app = principal["appId"]
    newest(f"ad sp update --id {app} --set appRoleAssignmentRequired=true")
    assert newest(f"ad sp show --id {app}")["appRoleAssignmentRequired"] is True
    reset = newest(f"ad sp credential reset --id {app} --display-name of-the-principal")
    assert reset["appId"] == app
    (listed,) = newest(f"ad sp credential list --id {app}")
    assert listed["displayName"] == "of-the-principal"
    newest(f"ad sp credential delete --id {app} --key-id {listed['keyId']}")
    assert newest(f"ad sp credential list --id {app}") == []


def test_the_signed_in_user_and_the_users_are_shown(az: AzCli, instance: Instance) -> None:
    name = instance.status["admin"]["username"]
    me, shown, listed = az.each(
        "ad signed-in-user show", f"ad user show --id {name}", "ad user list"
    )
    assert me["userPrincipalName"] == shown["userPrincipalName"] == name
    assert me["id"] == shown["id"]
    assert me["id"] in {each["id"] for each in listed}


# ------------------------------------------------------------------------------------ create-for-rbac


def test_principal_of_create_for_rbac_has_the_permissions_of_its_role(
    az: AzCli, folder: Path
) -> None:
    group = f"rbac-{az.version}"
    scope = az(f"group create -n {group} -l westeurope")["id"]
    made = az(f"ad sp create-for-rbac -n {group} --role Reader --scopes {scope}")
    assert set(made) == {"appId", "displayName", "password", "tenant"}
    alone = az.signed_out(folder)
    words = ("-u", made["appId"], "-p", made["password"], "--tenant", made["tenant"])
    alone("login --service-principal", *words)
    assert alone(f"group show -n {group}")["id"] == scope
    assert [each["name"] for each in alone("group list")] == [group]
    said = alone.refused(f"identity create -n not-allowed -g {group} -l westeurope")
    assert "(AuthorizationFailed)" in said
    assert "Microsoft.ManagedIdentity/userAssignedIdentities/write" in said
    assert made["appId"] in said
    said = alone.refused("ad app create --display-name not-allowed")
    assert "Insufficient privileges" in said
    assert az(f"identity list -g {group}") == []
    az(f"role assignment create --assignee {made['appId']} --role Contributor --scope {scope}")
    assert alone(f"identity create -n allowed -g {group} -l westeurope")["name"] == "allowed"
    az(f"ad app delete --id {made['appId']}")
    az(f"group delete -n {group} --yes")


def test_create_for_rbac_prints_json_auth_and_creates_a_certificate(
    newest: AzCli, subscription: str, instance: Instance
) -> None:
    made = newest(
        f"ad sp create-for-rbac -n for-sdks --role Reader --scopes {subscription} --json-auth"
    )
    assert made["tenantId"] == instance.status["tenant_id"]
    assert made["subscriptionId"] == instance.status["subscription_id"]
    assert made["resourceManagerEndpointUrl"] == "https://management.azure.com/"
    with_certificate = newest("ad sp create-for-rbac -n certified --create-cert")
    assert Path(with_certificate["fileWithCertAndPrivateKey"]).exists()
    newest(f"ad app delete --id {made['clientId']}")
    newest(f"ad app delete --id {with_certificate['appId']}")


# -------------------------------------------------------------------------------------- assignments


def test_role_assignment_is_created_listed_and_deleted(az: AzCli) -> None:
    group = f"assigned-{az.version}"
    scope = az(f"group create -n {group} -l westeurope")["id"]
    made = az(f"role assignment create --assignee {CLIENT} --role Reader --scope {scope}")
    assert made["scope"] == scope
    assert made["principalType"] == "ServicePrincipal"
    listed, of_one, everywhere = az.each(
        f"role assignment list --scope {scope}",
        f"role assignment list --assignee {CLIENT} --scope {scope}",
        "role assignment list --all",
    )
    for found in (listed, of_one, everywhere):
        (mine,) = [each for each in found if each["scope"] == scope]
        assert (mine["roleDefinitionName"], mine["principalId"]) == ("Reader", made["principalId"])
    assert mine["principalName"] == CLIENT
    again = f"role assignment create --assignee {CLIENT} --role Reader --scope {scope}"
    if az.version == "oldest":
        assert "(RoleAssignmentExists)" in az.refused(again)
    else:  # az reads the existing assignment
        assert az(again)["id"] == made["id"]
    assert az(f"role assignment delete --assignee {CLIENT} --role Reader --scope {scope}") is None
    assert az(f"role assignment list --scope {scope}") == []
    az(f"group delete -n {group} --yes")


def test_role_assignment_is_created_by_object_id_and_deleted_by_its_id(
    newest: AzCli, group: str, principal: dict[str, Any]
) -> None:
    scope = newest(f"group show -n {group}")["id"]
    made = newest(
        f"role assignment create --assignee-object-id {principal['id']} --scope {scope} "
        '--role "Key Vault Secrets User" --assignee-principal-type ServicePrincipal'
    )
    assert newest(f"role assignment list -g {group}")[0]["id"] == made["id"]
    newest(f"role assignment delete --ids {made['id']}")
    assert newest(f"role assignment list -g {group}") == []


# ------------------------------------------------------------------------------------------- roles


def test_built_in_roles_are_listed(az: AzCli) -> None:
    reader, all_of_them = az.each("role definition list -n Reader", "role definition list")
    assert [(each["name"], each["roleType"]) for each in reader] == [
        ("acdd72a7-3385-48ef-bd42-f606fba81ae7", "BuiltInRole")
    ]
    assert reader[0]["permissions"][0]["actions"] == ["*/read"]
    assert {"Owner", "Contributor", "Key Vault Secrets User"} <= {
        each["roleName"] for each in all_of_them
    }


def test_custom_role_grants_its_actions_only(
    newest: AzCli, subscription: str, group: str, folder: Path
) -> None:
    wanted = {
        "Name": "Reads groups",
        "Description": "may list groups and nothing else",
        "Actions": ["Microsoft.Resources/subscriptions/resourceGroups/read"],
        "AssignableScopes": [subscription],
    }
    made = newest("role definition create --role-definition", json.dumps(wanted))
    assert (made["roleName"], made["roleType"]) == ("Reads groups", "CustomRole")
    (listed,) = newest("role definition list --custom-role-only true")
    assert listed["id"] == made["id"]
    scope = newest(f"group show -n {group}")["id"]
    robot = newest(f'ad sp create-for-rbac -n {group} --role "Reads groups" --scopes {scope}')
    alone = newest.signed_out(folder)
    words = ("-u", robot["appId"], "-p", robot["password"], "--tenant", robot["tenant"])
    alone("login --service-principal", *words)
    assert alone(f"group show -n {group}")["id"] == scope
    assert "(AuthorizationFailed)" in alone.refused(f"identity list -g {group}")
    newest(f"ad app delete --id {robot['appId']}")
    changed = {**wanted, "Description": "another", "Id": made["name"]}
    newest("role definition update --role-definition", json.dumps({**changed, **_as_shown(made)}))
    (listed,) = newest('role definition list -n "Reads groups"')
    assert listed["description"] == "another"
    assert newest('role definition delete -n "Reads groups"') is None
    assert newest("role definition list --custom-role-only true") == []


def _as_shown(made: dict[str, Any]) -> dict[str, Any]:
    """Return the definition as `list` shows it; `update` finds it by these members."""
    return {"id": made["id"], "name": made["name"], "roleName": made["roleName"]}
