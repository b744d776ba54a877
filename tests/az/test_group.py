"""`az group`, `az provider`, `az resource` and `az tag`."""

from collections.abc import Iterator

import pytest

from tests.az.az_cli import AzCli, names
from tests.journey.instance import Instance

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]


def test_group_is_created_shown_updated_and_deleted(az: AzCli, instance: Instance) -> None:
    name = f"group-{az.version}"
    made = az(f"group create -n {name} -l westeurope --tags use=test")
    scope = f"/subscriptions/{instance.status['subscription_id']}/resourceGroups/{name}"
    assert (made["id"], made["location"], made["tags"]) == (scope, "westeurope", {"use": "test"})
    assert made["properties"] == {"provisioningState": "Succeeded"}
    shown, listed, exists = az.each(
        f"group show -n {name.upper()}", "group list --tag use=test", f"group exists -n {name}"
    )
    assert (shown, exists) == (made, True)
    assert name in names(listed)
    assert az(f"group update -n {name} --set tags.use=more")["tags"] == {"use": "more"}
    assert az(f"group delete -n {name} --yes") is None
    assert az(f"group exists -n {name}") is False
    assert "(ResourceGroupNotFound)" in az.refused(f"group show -n {name}")


def test_group_wait_returns_and_delete_no_wait_deletes_the_group(newest: AzCli) -> None:
    newest("group create -n waiting -l eastus")
    newest("group wait -n waiting --exists")
    newest("group delete -n waiting --yes --no-wait")
    newest("group wait -n waiting --deleted")
    assert newest("group exists -n waiting") is False


# ---------------------------------------------------------------------- resources of a group


@pytest.fixture
def resources(newest: AzCli, group: str) -> Iterator[str]:
    newest.each(
        f"identity create -n thing -g {group} --tags use=test",
        f"keyvault create -n thing-vault -g {group} -l westeurope",
    )
    yield group
    newest(f"keyvault delete -n thing-vault -g {group}")
    newest("keyvault purge -n thing-vault")


def test_resources_of_all_types_are_listed_and_shown(newest: AzCli, resources: str) -> None:
    kind = "Microsoft.ManagedIdentity/userAssignedIdentities"
    all_of_them, of_a_kind, of_a_tag, by_name = newest.each(
        f"resource list -g {resources}",
        f"resource list --resource-type {kind} -g {resources}",
        "resource list --tag use=test",
        f"resource list -g {resources} -n thing-vault",
    )
    assert names(all_of_them) == {"thing", "thing-vault"}
    assert names(of_a_kind) == names(of_a_tag) == {"thing"}
    assert [each["type"] for each in by_name] == ["Microsoft.KeyVault/vaults"]
    shown, by_id = newest.each(
        f"resource show -g {resources} -n thing --resource-type {kind}",
        f"resource show --ids {of_a_kind[0]['id']}",
    )
    assert shown["id"] == by_id["id"] == of_a_kind[0]["id"]
    assert (
        shown["properties"]["clientId"]
        == newest(f"identity show -n thing -g {resources}")["clientId"]
    )


def test_deleting_a_group_deletes_its_resources(newest: AzCli) -> None:
    newest("group create -n taken-along -l westeurope")
    newest("identity create -n inside -g taken-along")
    newest("group delete -n taken-along --yes")
    newest("group create -n taken-along -l westeurope")
    assert newest("identity list -g taken-along") == []
    newest("group delete -n taken-along --yes")


def test_providers_are_registered(newest: AzCli) -> None:
    listed, shown = newest.each("provider list", "provider show -n Microsoft.ManagedIdentity")
    assert {"Microsoft.KeyVault", "Microsoft.ManagedIdentity", "Microsoft.ContainerService"} <= {
        each["namespace"] for each in listed
    }
    assert shown["registrationState"] == "Registered"
    kinds = {each["resourceType"] for each in shown["resourceTypes"]}
    assert "userAssignedIdentities" in kinds
    newest("provider register -n Microsoft.KeyVault --wait")
    assert "(InvalidResourceNamespace)" in newest.refused("provider show -n Microsoft.Nothing")


def test_features_are_registered(newest: AzCli) -> None:
    feature = "--namespace Microsoft.ContainerService --name AnyPreview"
    for line in ("feature register", "feature show"):
        assert newest(f"{line} {feature}")["properties"]["state"] == "Registered"


def test_lists_of_services_that_are_not_served_are_empty(az: AzCli) -> None:
    lines = (
        *("lock list", "tag list", "policy assignment list", "deployment sub list", "vm list"),
        *("vmss list", "network vnet list", "acr list"),
    )
    assert az.each(*lines) == [[]] * len(lines)


@pytest.mark.parametrize(
    "line", ["deployment group list -g {}", "vm list -g {}", "lock list -g {}"]
)
def test_lists_of_a_group_are_empty(newest: AzCli, group: str, line: str) -> None:
    assert newest(line.format(group)) == []
