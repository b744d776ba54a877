"""`az keyvault`: create, change, delete, recover and purge vaults; access with RBAC or access policies."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.az.az_cli import AzCli, names, wait_for_result
from tests.journey.instance import CLIENT, Instance

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]


@pytest.fixture
def vaults(newest: AzCli) -> Iterator[list[str]]:
    """Yield names of vaults that are deleted and purged after the test."""
    made: list[str] = []
    yield made
    for name in made:
        newest.run(f"keyvault delete -n {name}")
        newest.run(f"keyvault purge -n {name}")


def test_vault_is_created_shown_listed_deleted_and_purged(az: AzCli, instance: Instance) -> None:
    group, name = f"vaults-{az.version}", f"vault-{az.version}"
    az(f"group create -n {group} -l westeurope")
    made = az(f"keyvault create -n {name} -g {group} -l westeurope --retention-days 7")
    assert made["properties"]["vaultUri"] == f"https://{name}.vault.azure.net/"
    assert made["properties"]["tenantId"] == instance.status["tenant_id"]
    assert made["properties"]["enableSoftDelete"] is True
    assert made["properties"]["softDeleteRetentionInDays"] == 7
    shown, of_group, everywhere = az.each(
        f"keyvault show -n {name}", f"keyvault list -g {group}", "keyvault list"
    )
    assert shown["id"] == made["id"]
    assert names(of_group) == {name}
    assert {name, "journey-vault"} <= names(everywhere)
    assert az(f"keyvault delete -n {name}") is None
    assert "not found" in az.refused(f"keyvault show -n {name}")
    deleted, listed = az.each(
        f"keyvault show-deleted -n {name}", "keyvault list-deleted --resource-type vault"
    )
    assert deleted["properties"]["vaultId"] == made["id"]
    assert name in names(listed)
    assert az(f"keyvault purge -n {name}") is None
    assert name not in names(az("keyvault list-deleted --resource-type vault"))
    az(f"group delete -n {group} --yes")


def test_recovered_vault_has_its_secrets(az: AzCli, group: str, vaults: list[str]) -> None:
    name = "recovered-vault"
    vaults.append(name)
    az(f"keyvault create -n {name} -g {group} --enable-rbac-authorization false")
    az(f"keyvault secret set --vault-name {name} -n kept --value hello")
    az(f"keyvault delete -n {name}")
    assert az.refused(f"keyvault secret show --vault-name {name} -n kept")
    recovered = az(f"keyvault recover -n {name}")
    assert recovered["name"] == name
    assert az(f"keyvault secret show --vault-name {name} -n kept")["value"] == "hello"


def test_vault_name_is_reserved_until_the_vault_is_purged(
    newest: AzCli, group: str, vaults: list[str]
) -> None:
    name = "taken-vault"
    vaults.append(name)
    newest(f"keyvault create -n {name} -g {group}")
    assert "already" in newest.refused(f"keyvault create -n {name} -g {group}")
    newest(f"keyvault delete -n {name}")
    said = newest.refused(f"keyvault create -n {name} -g {group}")
    assert f"A deleted vault has the name '{name}'" in said
    newest(f"keyvault purge -n {name}")
    newest(f"keyvault create -n {name} -g {group}")


def test_vault_with_purge_protection_cannot_be_purged(newest: AzCli, group: str) -> None:
    newest(f"keyvault create -n protected-vault -g {group} --enable-purge-protection true")
    newest("keyvault delete -n protected-vault")
    assert newest.refused("keyvault purge -n protected-vault")
    assert newest("keyvault show-deleted -n protected-vault")["name"] == "protected-vault"
    said = newest.refused("keyvault update -n journey-vault --retention-days 5")
    assert said.strip()


def test_vault_is_updated(newest: AzCli, group: str, vaults: list[str]) -> None:
    name = "changed-vault"
    vaults.append(name)
    newest(f"keyvault create -n {name} -g {group} --enable-rbac-authorization false --tags a=b")
    changed = newest(
        f"keyvault update -n {name} --enable-rbac-authorization true --enabled-for-deployment true"
    )
    assert changed["properties"]["enableRbacAuthorization"] is True
    assert changed["properties"]["enabledForDeployment"] is True
    assert changed["tags"] == {"a": "b"}
    assert newest(f"keyvault check-name -n {name}")["nameAvailable"] is False
    assert newest("keyvault check-name -n never-used-here")["nameAvailable"] is True


def test_access_policies_grant_and_revoke_access(
    az: AzCli, newest: AzCli, instance: Instance, folder: Path
) -> None:
    group, name = f"policies-{az.version}", f"policy-{az.version}"
    az(f"group create -n {group} -l westeurope")
    option = "--enable-rbac-authorization false"
    az(f"keyvault create -n {name} -g {group} -l westeurope {option}")
    az(f"keyvault secret set --vault-name {name} -n greeting --value hello")
    alone = newest.signed_out(folder)
    words = ("-u", CLIENT, "--tenant", instance.status["tenant_id"], "--allow-no-subscriptions")
    alone("login --service-principal", *words, "--federated-token", instance.token("web"))
    secret = f"keyvault secret show --vault-name {name} -n greeting"
    said = alone.refused(secret)
    assert "(Forbidden)" in said
    changed = az(f"keyvault set-policy -n {name} --spn {CLIENT} --secret-permissions get list")
    policies = {each["objectId"]: each for each in changed["properties"]["accessPolicies"]}
    assert {"get", "list"} in [
        {p.lower() for p in each["permissions"]["secrets"]} for each in policies.values()
    ]
    assert wait_for_result(lambda: alone.run(secret).returncode == 0)
    assert "(Forbidden)" in alone.refused(f"keyvault secret delete --vault-name {name} -n greeting")
    az(f"keyvault delete-policy -n {name} --spn {CLIENT}")
    assert wait_for_result(lambda: alone.run(secret).returncode != 0)
    az(f"keyvault delete -n {name}")
    az(f"keyvault purge -n {name}")
    az(f"group delete -n {group} --yes")
