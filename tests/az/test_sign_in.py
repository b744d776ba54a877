"""`az login` with each method, each with a new configuration folder."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from podpass.crypto import jose
from tests.az import browser
from tests.az.az_cli import AzCli
from tests.journey.instance import CLIENT, NO_ROLE_CLIENT, SECOND_CLIENT, Instance

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]


@dataclass(frozen=True, kw_only=True)
class ServicePrincipal:
    """An application with a secret and the role Reader on the subscription."""

    app_id: str
    password: str
    tenant: str


@pytest.fixture(scope="module")
def reader(newest: AzCli) -> Iterator[ServicePrincipal]:
    scope = f"/subscriptions/{newest('account show')['id']}"
    made = newest(f"ad sp create-for-rbac -n reader --role Reader --scopes {scope}")
    yield ServicePrincipal(app_id=made["appId"], password=made["password"], tenant=made["tenant"])
    newest(f"ad app delete --id {made['appId']}")


def _claims(az: AzCli) -> dict[str, Any]:
    return dict(jose.parse(az("account get-access-token")["accessToken"]).claims)


def test_a_user_signs_in_with_name_and_password(
    az: AzCli, instance: Instance, folder: Path
) -> None:
    admin, alone = instance.status["admin"], az.signed_out(folder)
    (subscription,) = alone("login", "-u", admin["username"], "-p", admin["password"])
    assert subscription["id"] == instance.status["subscription_id"]
    assert subscription["user"] == {"name": admin["username"], "type": "user"}
    assert alone("group list") == az("group list")


def test_a_wrong_password_is_refused(az: AzCli, instance: Instance, folder: Path) -> None:
    alone = az.signed_out(folder)
    said = alone.refused("login", "-u", instance.status["admin"]["username"], "-p", "not it")
    assert "AADSTS50126" in said
    assert "az login" in alone.refused("account show")


def test_a_service_principal_signs_in_with_its_secret(
    az: AzCli, reader: ServicePrincipal, instance: Instance, folder: Path
) -> None:
    alone = az.signed_out(folder)
    words = ("-u", reader.app_id, "-p", reader.password, "--tenant", reader.tenant)
    (subscription,) = alone("login --service-principal", *words)
    assert subscription["id"] == instance.status["subscription_id"]
    assert subscription["user"] == {"name": reader.app_id, "type": "servicePrincipal"}
    claims = _claims(alone)
    assert (claims["appid"], claims["appidacr"], claims["idtyp"]) == (reader.app_id, "1", "app")


def test_wrong_secret_is_refused(newest: AzCli, reader: ServicePrincipal, folder: Path) -> None:
    words = ("-u", reader.app_id, "-p", "not it", "--tenant", reader.tenant)
    said = newest.signed_out(folder).refused("login --service-principal", *words)
    assert "AADSTS7000215" in said


def test_a_service_principal_signs_in_with_a_certificate(
    az: AzCli, reader: ServicePrincipal, folder: Path
) -> None:
    made = az(f"ad app credential reset --id {reader.app_id} --create-cert --append")
    pem, alone = made["fileWithCertAndPrivateKey"], az.signed_out(folder)
    option = "-p" if az.version == "oldest" else "--certificate"
    alone("login --service-principal", "-u", reader.app_id, option, pem, "--tenant", reader.tenant)
    claims = _claims(alone)
    assert (claims["appid"], claims["appidacr"]) == (reader.app_id, "2")


def test_a_service_principal_signs_in_with_a_pods_token(
    az: AzCli, instance: Instance, folder: Path
) -> None:
    """The application in the seed trusts the ServiceAccount `web`."""
    words = ("-u", SECOND_CLIENT, "--tenant", instance.status["tenant_id"])
    alone = az.signed_out(folder)
    token = instance.token("web")
    (account,) = alone("login --service-principal", *words, "--federated-token", token)
    assert account["user"] == {"name": SECOND_CLIENT, "type": "servicePrincipal"}
    asked = "account get-access-token --resource https://vault.azure.net"
    assert jose.parse(alone(asked)["accessToken"]).claims["appid"] == SECOND_CLIENT


def test_token_without_a_matching_credential_is_refused(
    newest: AzCli, instance: Instance, folder: Path
) -> None:
    instance.account("untrusted")
    words = ("-u", CLIENT, "--tenant", instance.status["tenant_id"])
    token = ("--federated-token", instance.token("untrusted"))
    said = newest.signed_out(folder).refused("login --service-principal", *words, *token)
    assert "AADSTS700213" in said


def test_user_without_a_role_gets_no_subscription(
    newest: AzCli, instance: Instance, folder: Path
) -> None:
    words = ("-u", NO_ROLE_CLIENT, "--tenant", instance.status["tenant_id"])
    token = ("--federated-token", instance.token("web"))
    alone = newest.signed_out(folder)
    said = alone.refused("login --service-principal", *words, *token)
    assert "No subscriptions found" in said
    allowed = alone("login --service-principal --allow-no-subscriptions", *words, *token)
    assert [each["name"] for each in allowed] == ["N/A(tenant level account)"]


def test_created_user_signs_in(az: AzCli, instance: Instance, folder: Path) -> None:
    domain = instance.status["admin"]["username"].partition("@")[2]
    name, password = f"alice-{az.version}@{domain}".lower(), "Correct-horse1"
    made = az(
        *("ad user create", "--display-name", "Alice", "--user-principal-name", name),
        *("--password", password),
    )
    assert (made["userPrincipalName"], made["displayName"]) == (name, "Alice")
    assert az(f"ad user show --id {name}")["id"] == made["id"]
    assert "exists already" in az.refused(
        *("ad user create", "--display-name", "A", "--user-principal-name", name),
        *("--password", password),
    )
    alone = az.signed_out(folder)
    alone("login", "--allow-no-subscriptions", "-u", name, "-p", password)
    token = alone(f"account get-access-token --tenant {instance.status['tenant_id']}")
    assert jose.parse(token["accessToken"]).claims["upn"] == name
    second = "Battery-staple2"
    az("ad user update", "--id", name, "--display-name", "Alice B", "--password", second)
    assert az(f"ad user show --id {name}")["displayName"] == "Alice B"
    assert "AADSTS50126" in alone.refused("login", "-u", name, "-p", password)
    alone("login", "--allow-no-subscriptions", "-u", name, "-p", second)
    administrator = instance.status["admin"]["username"]
    assert "is an administrator" in az.refused(f"ad user delete --id {administrator}")
    az(f"ad user delete --id {name}")
    assert "AADSTS50034" in alone.refused("login", "-u", name, "-p", second)
    assert name not in [each["userPrincipalName"] for each in az("ad user list")]


def test_user_signs_in_with_a_device_code(az: AzCli, instance: Instance, folder: Path) -> None:
    alone = az.signed_out(folder)
    command = alone.command("login --use-device-code")
    with subprocess.Popen(
        command, env=dict(alone.environ), stdout=-1, stderr=-1, stdin=-3, text=True
    ) as waiting:
        try:
            assert waiting.stderr is not None
            message = waiting.stderr.readline()
            # az prints its own message.
            found = re.search(r"page (https://\S+) .*code (\w+)", message)
            assert found is not None, message
            _confirm(instance, *found.groups())
            printed, talk = waiting.communicate(timeout=60)
        finally:
            waiting.kill()
    assert waiting.returncode == 0, talk
    assert instance.status["subscription_id"] in printed
    assert alone("account show")["user"]["name"] == instance.status["admin"]["username"]


def _confirm(instance: Instance, address: str, code: str) -> None:
    admin, page = instance.status["admin"], browser.SignInBrowser(instance.status["ca_file"])
    page.open(address)
    page.fill(user_code=code, step="code")
    page.fill(username=admin["username"], password="not it", step="sign-in")
    assert 'role="alert"' in page.page
    page.fill(username=admin["username"], password=admin["password"], step="sign-in")
    assert "You are signed in" in page.page


def test_a_user_signs_in_in_the_browser(az: AzCli, instance: Instance, folder: Path) -> None:
    admin, alone = instance.status["admin"], az.signed_out(folder)
    program = [sys.executable, browser.__file__, admin["username"], admin["password"]]
    # `&` starts the browser in the background, so az can wait for the response.
    environ = {**alone.environ, "BROWSER": shlex.join(program) + " %s &"}
    (subscription,) = replace(alone, environ=environ)("login")
    assert subscription["user"] == {"name": admin["username"], "type": "user"}


def test_after_logout_no_account_is_signed_in(az: AzCli, instance: Instance, folder: Path) -> None:
    admin, alone = instance.status["admin"], az.signed_out(folder)
    alone("login", "-u", admin["username"], "-p", admin["password"])
    assert alone("logout") is None
    assert "az login" in alone.refused("account show")


def test_account_clear_removes_all_accounts(
    newest: AzCli, instance: Instance, folder: Path
) -> None:
    admin, alone = instance.status["admin"], newest.signed_out(folder)
    alone("login", "-u", admin["username"], "-p", admin["password"])
    assert alone("account clear") is None
    assert alone("account list") == []
