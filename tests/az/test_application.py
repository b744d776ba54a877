"""`az ad app`: applications, their secrets, certificates, federated credentials and permissions."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from podpass.crypto import jose
from tests.az.az_cli import AzCli
from tests.journey.instance import AUDIENCE, CLIENT, Instance

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]

_GRAPH = "00000003-0000-0000-c000-000000000000"
_READ_APPLICATIONS = "9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30"
_READ_DIRECTORY = "06da0dbc-49e2-44d2-8312-53f166ab848a"
_USER_READ = "e1fe6dd8-ba31-4d61-89e7-88639da4683d"


@pytest.fixture
def app(request: pytest.FixtureRequest, newest: AzCli) -> Iterator[str]:
    """Create an application for one test; return its client id."""
    made = newest(f"ad app create --display-name {request.node.originalname}")
    yield made["appId"]
    newest(f"ad app delete --id {made['appId']}")


def test_application_is_created_found_updated_and_deleted(az: AzCli) -> None:
    name = f"application-{az.version}"
    made = az(f"ad app create --display-name {name}")
    assert (made["displayName"], made["signInAudience"]) == (name, "AzureADMyOrg")
    assert made["id"] != made["appId"]
    by_client, by_object, listed, searched = az.each(
        f"ad app show --id {made['appId']}",
        f"ad app show --id {made['id']}",
        f"ad app list --display-name {name}",
        f"ad app list --filter \"displayName eq '{name}'\"",
    )
    assert by_client["id"] == by_object["id"] == made["id"]
    assert [each["appId"] for each in listed] == [made["appId"]]
    assert [each["appId"] for each in searched] == [made["appId"]]
    uri = f"api://{made['appId']}"
    az(f"ad app update --id {made['appId']} --identifier-uris {uri} --display-name {name}-2")
    changed = az(f"ad app show --id {uri}")
    assert (changed["displayName"], changed["identifierUris"]) == (f"{name}-2", [uri])
    assert az(f"ad app delete --id {made['appId']}") is None
    assert "does not exist" in az.refused(f"ad app show --id {made['appId']}")


def test_application_is_created_with_all_given_members(newest: AzCli) -> None:
    access = json.dumps(
        [{"resourceAppId": _GRAPH, "resourceAccess": [{"id": _READ_APPLICATIONS, "type": "Role"}]}]
    )
    roles = json.dumps(
        [
            {
                "allowedMemberTypes": ["Application"],
                "description": "may read",
                "displayName": "Reader",
                "isEnabled": True,
                "value": "Things.Read",
            }
        ]
    )
    made = newest(
        "ad app create --display-name wants --sign-in-audience AzureADMultipleOrgs "
        "--web-redirect-uris https://localhost/back --is-fallback-public-client true",
        *("--required-resource-accesses", access, "--app-roles", roles),
    )
    assert made["signInAudience"] == "AzureADMultipleOrgs"
    assert made["web"]["redirectUris"] == ["https://localhost/back"]
    assert made["isFallbackPublicClient"] is True
    assert made["requiredResourceAccess"][0]["resourceAppId"] == _GRAPH
    assert [role["value"] for role in made["appRoles"]] == ["Things.Read"]
    newest(f"ad app delete --id {made['appId']}")


def test_create_returns_the_existing_application_of_that_name(newest: AzCli, app: str) -> None:
    name = newest(f"ad app show --id {app}")["displayName"]
    assert newest(f"ad app create --display-name {name}")["appId"] == app


# --------------------------------------------------------------------------------------- credentials


def test_secrets_are_created_listed_and_deleted(newest: AzCli, app: str) -> None:
    made = newest(f"ad app credential reset --id {app} --display-name first --years 1")
    assert made["appId"] == app
    assert len(made["password"]) == 40
    newest(f"ad app credential reset --id {app} --display-name second --append")
    listed = newest(f"ad app credential list --id {app}")
    assert {each["displayName"] for each in listed} == {"first", "second"}
    assert all(each["secretText"] is None for each in listed)
    assert made["password"].startswith(
        next(each["hint"] for each in listed if each["displayName"] == "first")
    )
    key = listed[0]["keyId"]
    newest(f"ad app credential delete --id {app} --key-id {key}")
    left = newest(f"ad app credential list --id {app}")
    assert [each["keyId"] for each in left] == [listed[1]["keyId"]]
    said = newest.refused(f"ad app credential delete --id {app} --key-id {key}")
    assert "no secret with this keyId" in said


def test_reset_without_append_keeps_one_secret(newest: AzCli, app: str) -> None:
    for name in ("first", "second"):
        newest(f"ad app credential reset --id {app} --display-name {name}")
    listed = newest(f"ad app credential list --id {app}")
    assert [each["displayName"] for each in listed] == ["second"]


def test_certificates_are_listed_separately(newest: AzCli, app: str) -> None:
    newest(f"ad app credential reset --id {app} --create-cert")
    (certificate,) = newest(f"ad app credential list --id {app} --cert")
    assert (certificate["type"], certificate["usage"]) == ("AsymmetricX509Cert", "Verify")
    newest(f"ad app credential delete --id {app} --cert --key-id {certificate['keyId']}")
    assert newest(f"ad app credential list --id {app} --cert") == []


# ------------------------------------------------------------------------------ federated credentials


def _trust(name: str, subject: str, **more: object) -> str:
    return json.dumps(
        {
            "name": name,
            "issuer": "https://issuer.example/",
            "subject": subject,
            "audiences": [AUDIENCE],
            **more,
        }
    )


def _credential(az: AzCli, verb: str, app: str, *words: str) -> object:
    return az(f"ad app federated-credential {verb} --id {app}", *words)


def test_federated_credential_is_created_shown_updated_and_deleted(az: AzCli) -> None:
    app = az(f"ad app create --display-name trusting-{az.version}")["appId"]
    made = _credential(
        az, "create", app, "--parameters", _trust("trust", "repo:a", description="x")
    )
    assert isinstance(made, dict)
    assert (made["name"], made["subject"], made["audiences"], made["description"]) == (
        "trust",
        "repo:a",
        [AUDIENCE],
        "x",
    )
    named = ("--federated-credential-id", "trust")
    by_id = ("--federated-credential-id", made["id"])
    listed, shown = _credential(az, "list", app), _credential(az, "show", app, *named)
    assert isinstance(listed, list)
    assert isinstance(shown, dict)
    assert [each["id"] for each in listed] == [shown["id"]] == [made["id"]]
    _credential(az, "update", app, *by_id, "--parameters", _trust("trust", "repo:b"))
    changed = _credential(az, "show", app, *by_id)
    assert isinstance(changed, dict)
    assert changed["subject"] == "repo:b"
    _credential(az, "delete", app, *named)
    assert _credential(az, "list", app) == []
    az(f"ad app delete --id {app}")


# --------------------------------------------------------------------------------------- permissions


def test_permissions_are_added_listed_and_deleted(newest: AzCli, app: str) -> None:
    permission = f"{_READ_APPLICATIONS}=Role"
    newest(f"ad app permission add --id {app} --api {_GRAPH} --api-permissions {permission}")
    (asked,) = newest(f"ad app permission list --id {app}")
    assert asked["resourceAppId"] == _GRAPH
    assert asked["resourceAccess"] == [{"id": _READ_APPLICATIONS, "type": "Role"}]
    newest(f"ad app permission delete --id {app} --api {_GRAPH}")
    assert newest(f"ad app permission list --id {app}") == []


def test_administrator_consents_for_all_users(az: AzCli, instance: Instance) -> None:
    """Before, a sign-in by password has no consent; afterwards the token has what was consented to."""
    made = az(f"ad app create --display-name consent-{az.version} --is-fallback-public-client true")
    app = made["appId"]
    asked = f"{_USER_READ}=Scope {_READ_DIRECTORY}=Scope {_READ_APPLICATIONS}=Role"
    az(f"ad app permission add --id {app} --api {_GRAPH} --api-permissions {asked}")
    assert "az ad sp create" in az.refused(f"ad app permission admin-consent --id {app}")
    az(f"ad sp create --id {app}")
    assert sign_in_user(instance, app)["suberror"] == "consent_required"
    assert az(f"ad app permission admin-consent --id {app}") is None
    (granted,) = az(f"ad app permission list-grants --id {app} --show-resource-name")
    assert granted["resourceDisplayName"] == "Microsoft Graph"
    assert (granted["consentType"], granted["scope"]) == (
        "AllPrincipals",
        "User.Read Directory.Read.All",
    )
    token = sign_in_user(instance, app)["access_token"]
    assert jose.parse(token).claims["scp"] == "User.Read Directory.Read.All"
    az(f"ad app permission grant --id {app} --api {_GRAPH} --scope User.Read")
    token = sign_in_user(instance, app)["access_token"]
    assert jose.parse(token).claims["scp"] == "User.Read"
    az(f"ad app delete --id {app}")


def sign_in_user(instance: Instance, app: str) -> dict[str, Any]:
    """Request a token for Graph with the administrator's password."""
    admin = instance.status["admin"]
    form = {
        "grant_type": "password",
        "client_id": app,
        "username": admin["username"],
        "password": admin["password"],
        "scope": "https://graph.microsoft.com/.default",
    }
    address = f"{instance.status['authority']}/{instance.status['tenant_id']}/oauth2/v2.0/token"
    reply = requests.post(
        address, data=form, verify=instance.status["ca_file"], timeout=30, proxies={"https": ""}
    )
    return dict(reply.json())


def test_creator_of_an_application_is_its_owner(newest: AzCli, app: str) -> None:
    me = newest("ad signed-in-user show")["id"]
    other = newest(f"ad sp show --id {CLIENT}")["id"]
    assert [each["id"] for each in newest(f"ad app owner list --id {app}")] == [me]
    newest(f"ad app owner add --id {app} --owner-object-id {other}")
    assert {each["id"] for each in newest(f"ad app owner list --id {app}")} == {me, other}
    newest(f"ad app owner remove --id {app} --owner-object-id {other}")
    assert [each["id"] for each in newest(f"ad app owner list --id {app}")] == [me]
