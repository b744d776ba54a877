"""Active phases, checks of flags before the first phase, and the commands of fixes."""

import json
import shlex
from dataclasses import replace

import pytest

from podpass.directory.model import FederatedCredential
from podpass.errors import UsageError
from podpass.provision.credential_commands import (
    CredentialOwner,
    create_credential,
    update_credential,
)
from podpass.provision.model import ProvisionRequest
from podpass.provision.request_checks import (
    CREATE_ORDER,
    DELETE_ORDER,
    check_create,
    check_delete,
    select_phases,
)

ISSUER = "https://issuer/"
SCOPE = "/subscriptions/x"
GUID = "22222222-aaaa-4bbb-8ccc-000000000001"
ASSIGNMENT = f"{SCOPE}/providers/Microsoft.Authorization/roleAssignments/{GUID}"


def test_managed_identity_takes_the_place_of_the_application() -> None:
    assert select_phases(CREATE_ORDER, (), is_managed=False) == (
        "aad-application",
        "service-account",
        "federated-identity",
        "role-assignment",
    )
    assert select_phases(CREATE_ORDER, (), is_managed=True)[0] == "managed-identity"
    assert select_phases(DELETE_ORDER, (), is_managed=False) == (
        "role-assignment",
        "federated-identity",
        "service-account",
        "aad-application",
    )
    assert select_phases(DELETE_ORDER, (), is_managed=True)[-1] == "managed-identity"


def test_phases_are_skipped_by_name_or_alias() -> None:
    active = select_phases(CREATE_ORDER, ("ra", "service-account"), is_managed=False)
    assert active == ("aad-application", "federated-identity")


@pytest.mark.parametrize(("name", "is_managed"), [("x", False), ("mi", False), ("app", True)])
def test_unknown_phase_is_refused_as_in_the_reference(name: str, is_managed: bool) -> None:
    first = "managed-identity" if is_managed else "aad-application"
    with pytest.raises(UsageError) as caught:
        select_phases(CREATE_ORDER, ("ra", name), is_managed=is_managed)
    assert caught.value.message == (
        f"failed to compute skip phases: phase '{name}' not found. Valid phases are:"
        f" [{first} service-account federated-identity role-assignment]"
    )


def _request(phase: str, **flags: str) -> ProvisionRequest:
    return ProvisionRequest(phases=(phase,), **flags)  # type: ignore[arg-type]


ACCOUNT = {"account": "web"}
TRUST = {**ACCOUNT, "issuer": ISSUER}
ROLE = {"scope": SCOPE, "role": "Reader"}


@pytest.mark.parametrize(
    ("phase", "flags", "message"),
    [
        ("aad-application", {}, "--aad-application-name is required"),
        ("service-account", {"namespace": ""}, "--service-account-namespace is required"),
        ("service-account", {}, "--service-account-name is required"),
        ("federated-identity", {"namespace": ""}, "--service-account-namespace is required"),
        ("federated-identity", {}, "--service-account-name is required"),
        ("federated-identity", ACCOUNT, "--service-account-issuer-url is required"),
        ("role-assignment", {}, "--azure-scope is required"),
        ("role-assignment", {"scope": SCOPE}, "--azure-role is required"),
        (
            "role-assignment",
            ROLE,
            "--service-principal-name or --service-principal-object-id is required",
        ),
        ("managed-identity", {}, "--managed-identity-name is required"),
        ("managed-identity", {"managed_identity": "web"}, "--resource-group is required"),
        ("role-assignment", {**ROLE, "managed_identity": "web"}, "--resource-group is required"),
    ],
)
def test_missing_flag_is_named_with_its_phase(
    phase: str, flags: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        check_create(_request(phase, **flags))
    assert caught.value.message == f"failed to run pre-run for phase {phase}: {message}"


@pytest.mark.parametrize(
    ("phase", "flags"),
    [
        ("aad-application", {"application_name": "x"}),
        ("aad-application", TRUST),
        ("service-account", ACCOUNT),
        ("federated-identity", TRUST),
        ("role-assignment", {**ROLE, "principal_name": "x"}),
        ("role-assignment", {**ROLE, "principal_object_id": "x"}),
        ("role-assignment", {**ROLE, "application_name": "x"}),
        ("role-assignment", {**ROLE, **TRUST}),
        ("managed-identity", {"managed_identity": "web", "resource_group": "g"}),
    ],
)
def test_phase_with_all_its_flags_is_accepted(phase: str, flags: dict[str, str]) -> None:
    check_create(_request(phase, **flags))


@pytest.mark.parametrize(
    ("phase", "flags", "words"),
    [
        ("aad-application", {"application_name": "a" * 257}, "longer than 256 characters"),
        ("aad-application", {**TRUST, "account": "a" * 253}, "derived name of the application"),
        ("service-account", {"account": "a" * 254}, "longer than 253 characters"),
        ("service-account", {"account": "a/../b"}, "is not a valid name"),
        ("service-account", {**ACCOUNT, "namespace": "n" * 64}, "is not a valid namespace"),
        ("federated-identity", {**ACCOUNT, "issuer": "https://" + "x" * 600}, "longer than 600"),
        ("role-assignment", {**ROLE, "scope": "/a/../b"}, "is not a resource id"),
        (
            "managed-identity",
            {"managed_identity": "a" * 129, "resource_group": "g"},
            "3 to 128 letters",
        ),
        (
            "managed-identity",
            {"managed_identity": "web", "resource_group": "g" * 91},
            "is not a valid name of a resource group",
        ),
    ],
    ids=[
        *("application", "derived", "account", "path", "namespace", "issuer", "scope"),
        *("identity", "group"),
    ],
)
def test_value_that_is_too_long_or_a_path_is_refused(
    phase: str, flags: dict[str, str], words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        check_create(_request(phase, **flags))
    assert words in caught.value.message


def test_all_active_phases_are_checked_before_the_first_one() -> None:
    request = ProvisionRequest(
        phases=("aad-application", "role-assignment"), application_name="x", role="Reader"
    )
    with pytest.raises(UsageError, match="phase role-assignment: --azure-scope is required"):
        check_create(request)


@pytest.mark.parametrize(
    ("phase", "flags", "message"),
    [
        ("role-assignment", {}, "--role-assignment-id is required"),
        ("role-assignment", {"scope": SCOPE}, "--role-assignment-id is required"),
        ("federated-identity", ACCOUNT, "--service-account-issuer-url is required"),
        ("service-account", {}, "--service-account-name is required"),
        (
            "aad-application",
            {},
            "--aad-application-name or --aad-application-object-id is required",
        ),
    ],
)
def test_deletion_names_the_missing_flag(phase: str, flags: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_delete(_request(phase, **flags))
    assert caught.value.message == f"failed to run pre-run for phase {phase}: {message}"


def test_role_assignment_is_deleted_by_its_id_or_by_scope_and_role() -> None:
    request = _request("role-assignment", assignment_id=ASSIGNMENT)
    check_delete(request)
    check_delete(_request("role-assignment", **ROLE, application_name="x"))
    with pytest.raises(UsageError, match="is not the id of a role assignment"):
        check_delete(replace(request, assignment_id=f"{SCOPE}/resourceGroups/g"))


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
