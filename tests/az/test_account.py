"""`az account`: the instance's configuration is signed in as its administrator."""

import pytest

from podpass.crypto import jose
from tests.az.az_cli import AzCli, names
from tests.journey.instance import Instance

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]


def test_the_administrator_is_signed_in_from_the_start(az: AzCli, instance: Instance) -> None:
    shown, listed = az.each("account show", "account list")
    assert shown["id"] == instance.status["subscription_id"]
    assert shown["tenantId"] == instance.status["tenant_id"]
    assert shown["user"] == {"name": instance.status["admin"]["username"], "type": "user"}
    assert (shown["environmentName"], shown["state"], shown["isDefault"]) == (
        "AzureCloud",
        "Enabled",
        True,
    )
    assert [each["id"] for each in listed] == [shown["id"]]


def test_access_tokens_are_for_the_requested_resource(az: AzCli, instance: Instance) -> None:
    answers = az.each(
        "account get-access-token",
        "account get-access-token --resource https://vault.azure.net",
        "account get-access-token --resource-type ms-graph",
        "account get-access-token --scope https://vault.azure.net/.default",
    )
    claims = [jose.parse(each["accessToken"]).claims for each in answers]
    assert [each["aud"] for each in claims] == [
        "https://management.core.windows.net/",
        "https://vault.azure.net",
        "https://graph.microsoft.com/",
        "https://vault.azure.net",
    ]
    for answer, token in zip(answers, claims, strict=True):
        assert answer["tokenType"] == "Bearer"
        assert answer["tenant"] == token["tid"] == instance.status["tenant_id"]
        assert token["upn"] == instance.status["admin"]["username"]
    assert answers[0]["subscription"] == instance.status["subscription_id"]


def test_token_for_an_unknown_resource_is_refused(newest: AzCli) -> None:
    said = newest.refused("account get-access-token --resource https://unknown.example")
    assert "AADSTS500011" in said


def test_the_subscription_is_chosen_by_id_and_by_name(az: AzCli, instance: Instance) -> None:
    subscription = instance.status["subscription_id"]
    az(f"account set --subscription {subscription}")
    az("account set --subscription podpass")
    assert az("account show")["id"] == subscription
    said = az.refused("account set --subscription 00000000-0000-4000-8000-00000000dead")
    assert "doesn't exist" in said


def test_locations_are_listed(az: AzCli) -> None:
    listed = az("account list-locations")
    assert {"westeurope", "eastus"} <= names(listed)
    west = next(each for each in listed if each["name"] == "westeurope")
    assert west["displayName"] == "West Europe"
    assert west["metadata"]["regionType"] == "Physical"


def test_account_list_refresh_reads_the_subscriptions(newest: AzCli, instance: Instance) -> None:
    listed = newest("account list --refresh --all")
    assert [each["id"] for each in listed] == [instance.status["subscription_id"]]
    assert [each["name"] for each in listed] == ["podpass"]
