"""`podpass run` with the released `az`: who is signed in, and who is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.az.az_cli import VERSIONS, install_az
from tests.journey.instance import Instance

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]

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
