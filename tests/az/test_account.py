"""`az account` and `podpass run` with `az`: who is signed in, and who is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from podpass.crypto import jose
from tests.az.az_cli import VERSIONS, AzCli, install_az, names
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


ADMIN = "admin@podpass.onmicrosoft.com"
SHOW = "az account show --query user.name -o tsv"
READ = """
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient
client = SecretClient("https://journey-vault.vault.azure.net", DefaultAzureCredential())
try:
    print(client.get_secret("greeting").value)
except Exception as exc:
    print(exc)
"""


@pytest.fixture(scope="module")
def path() -> str:
    """Return a PATH with the newest `az`."""
    return os.pathsep.join([str(Path(install_az(VERSIONS[0])).parent), os.environ["PATH"]])


def run(
    instance: Instance, path: str, *arguments: str, words: list[str]
) -> subprocess.CompletedProcess[str]:
    return instance.podpass("run", *arguments, "--", *words, check=False, env={"PATH": path})


def test_az_is_signed_in_as_the_administrator(instance: Instance, path: str) -> None:
    done = run(instance, path, words=SHOW.split())
    assert done.stdout.strip() == ADMIN
    assert f"identity of the command: {ADMIN}, the sign-in of az" in done.stderr


def test_az_in_a_script_is_signed_in_only_as_admin(instance: Instance, path: str) -> None:
    assert run(instance, path, "--as", "admin", words=["sh", "-c", SHOW]).stdout.strip() == ADMIN
    for arguments in ((), ("--as", "web")):
        done = run(instance, path, *arguments, words=["sh", "-c", SHOW])
        assert done.returncode == 1
        assert "az login" in done.stderr


def test_default_credential_does_not_use_the_az_sign_in(instance: Instance, path: str) -> None:
    """Fails when a program without identity gets a token of the administrator."""
    done = run(instance, path, words=[sys.executable, "-c", READ])
    assert "Please run 'az login'" in done.stdout
    as_admin = run(instance, path, "--as", "admin", words=[sys.executable, "-c", READ])
    assert f"Missing role: 'Key Vault Secrets User' on vault journey-vault for {ADMIN}" in (
        as_admin.stdout
    )


def test_az_signs_in_with_the_token_of_the_service_account(instance: Instance, path: str) -> None:
    login = (
        'az login --service-principal -u "$AZURE_CLIENT_ID" --tenant "$AZURE_TENANT_ID" '
        '--federated-token "$(cat "$AZURE_FEDERATED_TOKEN_FILE")" --allow-no-subscriptions -o none'
    )
    read = "az keyvault secret show --vault-name journey-vault -n greeting --query value -o tsv"
    done = run(instance, path, "--as", "web", words=["sh", "-c", f"{login} && {read}"])
    assert done.stdout == "hello\n", done.stderr
