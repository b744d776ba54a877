"""The commands of fixes: real values, each one word of a shell."""

import json
import shlex

import pytest

from podpass.directory.model import FederatedCredential
from podpass.provision.credential_commands import (
    CredentialOwner,
    create_credential,
    update_credential,
)

GROUP = "/subscriptions/s/resourcegroups/apps/providers/x/userAssignedIdentities/web"
MANAGED = CredentialOwner(name="web", client_id="c", resource_id=GROUP)
APPLICATION = CredentialOwner(name="web", client_id="c", resource_id="")
HOSTILE = "x'; rm -rf ~ #$(id)`id`\n"


def credential(text: str = "") -> FederatedCredential:
    return FederatedCredential(
        name=text or "n", issuer=text or "https://i/", subject=text or "s", audiences=("a", "b")
    )


def test_credential_of_a_managed_identity_is_created_and_updated() -> None:
    expected = (
        "--name n --identity-name web --resource-group apps --issuer https://i/ --subject s"
        " --audiences a"
    )
    command = "az identity federated-credential"
    assert create_credential(MANAGED, credential()) == f"{command} create {expected}"
    assert update_credential(MANAGED, credential()) == f"{command} update {expected}"


def test_credential_of_an_application_is_created_and_updated() -> None:
    members = {"issuer": "https://i/", "subject": "s", "audiences": ["a"]}
    *_, flag, given = shlex.split(create_credential(APPLICATION, credential()))
    assert (flag, json.loads(given)) == ("--parameters", {"name": "n", **members})
    *words, given = shlex.split(update_credential(APPLICATION, credential()))
    assert words[-3:] == ["--federated-credential-id", "n", "--parameters"]
    assert json.loads(given) == members


def test_command_for_an_unknown_resource_group_has_a_placeholder() -> None:
    owner = CredentialOwner(name="web", client_id="c", resource_id="unknown")
    assert "--resource-group GROUP " in create_credential(owner, credential())


@pytest.mark.parametrize("resource_id", [GROUP, ""], ids=["managed", "application"])
@pytest.mark.parametrize(
    "command", [create_credential, update_credential], ids=["create", "update"]
)
def test_hostile_values_in_a_credential_command_are_quoted_as_one_word(
    command: object, resource_id: str
) -> None:
    assert callable(command)
    owner = CredentialOwner(name=HOSTILE, client_id=HOSTILE, resource_id=resource_id)
    words = shlex.split(command(owner, credential(HOSTILE)))
    assert not {"rm", "-rf", "$(id)`id`", ";"} & set(words)
