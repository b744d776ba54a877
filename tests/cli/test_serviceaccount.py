"""`podpass serviceaccount` on an instance: phases, repeats, managed identities, deletions, failures."""

import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from podpass import __version__
from podpass.provision import naming
from tests.cli.azure_world import AzureWorld

CLIENT_ID = "azure.workload.identity/client-id"
TENANT_ID = "azure.workload.identity/tenant-id"
EXPIRATION = "azure.workload.identity/service-account-token-expiration"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"


def _named(world: AzureWorld, name: str) -> tuple[str, ...]:
    return ("--service-account-name", name, "--service-account-issuer-url", world.issuer)


def _role(world: AzureWorld) -> tuple[str, ...]:
    return ("--azure-scope", world.scope, "--azure-role", "Reader")


def _actions(result: dict[str, Any]) -> list[str]:
    return [f"{each['kind']}: {each['action']}" for each in result["steps"]]


def test_workload_identity_of_an_application_is_created_repeated_and_deleted(
    world: AzureWorld,
) -> None:
    create = ("create", *_named(world, "whole"), *_role(world))
    result = world.succeed(*create)
    assert _actions(result) == [
        "application: create",
        "service principal: create",
        "ServiceAccount: create",
        "federated credential: create",
        "role assignment: create",
    ]
    name = naming.derive_application_name("default", "whole", world.issuer)
    [application] = world.applications(name)
    [principal] = world.graph(
        "/v1.0/servicePrincipals", {"$filter": f"appId eq '{application['appId']}'"}
    )
    assert principal["tags"] == [f"azwi version: v{__version__}, commit: unknown"]
    [trust] = world.trusts(application)
    assert trust["name"] == naming.derive_credential_name("default", "whole", world.issuer)
    assert trust["subject"] == "system:serviceaccount:default:whole"
    assert trust["description"] == "Federated Service Account for default/whole"
    account = world.service_account("whole")
    assert account is not None
    assert account["metadata"]["annotations"] == {
        CLIENT_ID: application["appId"],
        TENANT_ID: world.status["tenant_id"],
    }
    [assignment] = world.assignments(principal["id"])
    assert assignment["properties"]["roleDefinitionId"].endswith(READER)
    assert assignment["id"] == result["role_assignment_id"]
    assert world.exchange("whole").status == 200

    assert {each["action"] for each in world.succeed(*create)["steps"]} == {"keep"}
    assert len(world.applications(name)) == len(world.assignments(principal["id"])) == 1

    delete = ("delete", *_named(world, "whole"), "--role-assignment-id", assignment["id"])
    assert _actions(world.succeed(*delete)) == [
        "role assignment: delete",
        "ServiceAccount: delete",
        "application: delete",
    ]
    assert world.applications(name) == world.assignments(principal["id"]) == []
    assert world.service_account("whole") is None
    assert {each["action"] for each in world.succeed(*delete)["steps"]} == {"absent"}


def test_workload_identity_of_a_managed_identity_is_created_repeated_and_deleted(
    world: AzureWorld,
) -> None:
    managed = ("--managed-identity-name", "whole-mi", "--resource-group", "rg")
    create = ("create", *managed, *_named(world, "managed"), *_role(world))
    result = world.succeed(*create)
    assert _actions(result)[0] == "managed identity: create"
    assert world.exchange("managed").status == 200
    assert len(world.assignments(result["principal_id"])) == 1
    assert {each["action"] for each in world.succeed(*create)["steps"]} == {"keep"}

    delete = ("delete", *managed, *_named(world, "managed"), *_role(world))
    assert _actions(world.succeed(*delete)) == [
        "role assignment: delete",
        "ServiceAccount: delete",
        "managed identity: delete",
    ]
    assert {each["action"] for each in world.succeed(*delete)["steps"]} == {"absent"}


def test_each_phase_runs_alone_and_by_its_alias(world: AzureWorld) -> None:
    account = ("--service-account-name", "alone")
    named = ("--aad-application-name", "it's alone")
    steps = [
        ("app", *named),
        ("sa", *account, *named, "--service-account-token-expiration", "2h0m0.5s"),
        ("fi", *_named(world, "alone"), *named),
        ("ra", *_role(world), "--service-principal-name", "it's alone"),
    ]
    for step in steps:
        made = world.succeed("create", "phase", *step)
        assert "create" in {each["action"] for each in made["steps"]}
        assert "create" not in {
            each["action"] for each in world.succeed("create", "phase", *step)["steps"]
        }
    found = world.service_account("alone")
    assert found is not None
    assert found["metadata"]["annotations"][EXPIRATION] == "7201"
    assert world.exchange("alone").status == 200
    role = ("ra", *_role(world), "--service-principal-name", "it's alone")
    deletions = [("fi", *_named(world, "alone"), *named), ("sa", *account), role, ("app", *named)]
    for step in deletions:
        assert [each["action"] for each in world.succeed("delete", "phase", *step)["steps"]] == [
            "delete"
        ]
        assert [each["action"] for each in world.succeed("delete", "phase", *step)["steps"]] == [
            "absent"
        ]


@pytest.mark.parametrize("managed", [False, True])
def test_credential_with_an_expression_is_created_repeated_and_deleted(
    world: AzureWorld, managed: bool
) -> None:
    expression = "claims['sub'] matches 'repo:o/r:*' and claims['repository_id'] eq '1'"
    issuer = "https://token.actions.githubusercontent.com"
    owner: tuple[str, ...]
    if managed:
        owner = ("--managed-identity-name", "pipeline-mi", "--resource-group", "rg")
        world.succeed("create", *owner, *_named(world, "pipeline-mi"), *_role(world))
    else:
        owner = ("--aad-application-name", "pipeline")
        world.succeed("create", "phase", "app", *owner)
    trusted = ("--service-account-name", "pipeline", "--service-account-issuer-url", issuer)
    phase = ("phase", "fi", *trusted, *owner, "--claims-matching-expression", expression)
    results = [
        [each["action"] for each in world.succeed(verb, *phase)["steps"]]
        for verb in ("create", "create", "delete", "delete")
    ]
    assert results == [["create"], ["keep"], ["delete"], ["absent"]]

    other = (*phase[:-1], "claims['sub'] eq")
    refused = world.run("create", *other)
    assert refused.returncode != 0
    assert "--claims-matching-expression" in refused.stderr
    no_rule = world.run("create", *phase[:-1], "claims['sub'] matches 'repo:o/r:*'")
    assert no_rule.returncode != 0
    assert "repository_id" in no_rule.stderr


def test_dry_run_prints_the_steps_and_changes_nothing(world: AzureWorld) -> None:
    done = world.run("create", *_named(world, "dry"), *_role(world), "--dry-run")
    assert done.returncode == 0
    assert done.stdout.count(" create ") == 5
    assert world.service_account("dry") is None
    assert world.applications(naming.derive_application_name("default", "dry", world.issuer)) == []
    world.succeed("create", *_named(world, "dry"), "--skip-phases", "ra")
    deleted = world.run("delete", *_named(world, "dry"), "--skip-phases", "ra", "--dry-run")
    assert deleted.stdout.count(" delete ") == 2
    assert world.service_account("dry") is not None


def test_labels_and_fields_of_an_existing_service_account_are_preserved(world: AzureWorld) -> None:
    world.put_service_account(
        {
            "metadata": {
                "name": "existing",
                "labels": {"team": "a"},
                "annotations": {"owner": "b", CLIENT_ID: "old", EXPIRATION: "7200"},
            },
            "imagePullSecrets": [{"name": "registry"}],
            "automountServiceAccountToken": False,
        }
    )
    done = world.run("create", *_named(world, "existing"), "--skip-phases", "role-assignment")
    assert done.returncode == 0
    assert f"{CLIENT_ID} was old" in done.stderr
    found = world.service_account("existing")
    assert found is not None
    annotations = found["metadata"]["annotations"]
    assert (annotations["owner"], annotations[EXPIRATION]) == ("b", "7200")
    assert annotations[CLIENT_ID] != "old"
    assert found["metadata"]["labels"] == {"team": "a"}
    assert found["imagePullSecrets"] == [{"name": "registry"}]
    assert found["automountServiceAccountToken"] is False
    account = ("--service-account-name", "existing", "--aad-application-client-id", "x")
    expiration = ("--service-account-token-expiration", "1h")
    world.succeed("create", "phase", "sa", *account, *expiration)
    found = world.service_account("existing")
    assert found is not None
    assert EXPIRATION not in found["metadata"]["annotations"]


def test_deletion_of_an_application_with_other_credentials_needs_confirmation(
    world: AzureWorld,
) -> None:
    named = ("--aad-application-name", "shared", "--skip-phases", "ra")
    world.succeed("create", *_named(world, "one"), *named)
    world.succeed("create", *_named(world, "two"), *named)
    delete = ("delete", *_named(world, "one"), *named)
    refused = world.run(*delete)
    assert refused.returncode == 1
    assert "also trusts system:serviceaccount:default:two" in refused.stderr
    assert "--yes" in refused.stderr
    assert _answer(world, delete, "n") == 1
    assert world.service_account("one") is not None
    assert len(world.applications("shared")) == 1
    assert _answer(world, delete, "y") == 0
    assert world.service_account("one") is None
    assert world.applications("shared") == []


def _answer(world: AzureWorld, words: tuple[str, ...], answer: str) -> int:
    """Run a deletion on a terminal and answer its question."""
    ours, theirs = pty.openpty()
    command = world.podpass.command("serviceaccount", *words, "--auth-method", "instance")
    with subprocess.Popen(
        command, env=world.podpass.environ, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while b"Delete nevertheless?" not in shown:
            shown += os.read(ours, 4096)
        os.write(ours, f"{answer}\n".encode())
        while True:
            try:
                if not os.read(ours, 4096):
                    break
            except OSError:  # the other side of the terminal is closed
                break
    os.close(ours)
    return process.returncode


def test_deletion_with_option_yes_asks_for_no_confirmation(world: AzureWorld) -> None:
    for name in ("y1", "y2"):
        world.succeed(
            "create", *_named(world, name), "--aad-application-name", "yes", "--skip-phases", "ra"
        )
    done = world.run(
        *("delete", *_named(world, "y1"), "--aad-application-name", "yes", "--skip-phases"),
        *("ra", "--yes"),
    )
    assert done.returncode == 0
    assert world.applications("yes") == []


def test_phases_are_skipped_by_a_list(world: AzureWorld) -> None:
    result = world.run(
        *("create", *_named(world, "skip"), "--skip-phases", "ra,fi", "--skip-phases", "sa"),
        *("-o", "json"),
    )
    assert [each["phase"] for each in json.loads(result.stdout)["steps"]] == ["aad-application"] * 2
    assert "role-assignment: skipped" in result.stderr
    unknown = world.run("create", *_named(world, "skip"), "--skip-phases", "x")
    assert unknown.returncode == 2
    assert "phase 'x' not found" in unknown.stderr


def test_ambiguous_application_name_is_refused_with_the_id_of_each(world: AzureWorld) -> None:
    async def create_two(account: Any) -> list[str]:
        made = [await account.graph().create_application("twin") for _ in range(2)]
        return [each.object_id for each in made]

    ids = world.call(create_two)
    done = world.run("create", "phase", "app", "--aad-application-name", "twin")
    assert done.returncode == 1
    assert all(each in done.stderr for each in ids)
    trust = ("fi", *_named(world, "twin"), "--aad-application-object-id")
    world.succeed("create", "phase", *trust, ids[1])
    assert [len(world.trusts({"id": each})) for each in ids] == [0, 1]


def test_wrong_subscription_is_named(world: AzureWorld) -> None:
    wrong = "99999999-0000-4000-8000-000000000000"
    done = world.run("create", *_named(world, "w"), *_role(world), "--subscription-id", wrong)
    assert done.returncode == 2
    assert f"the instance has no subscription {wrong}" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("create", "phase", "sa", "--service-account-name", "a" * 254),
            "longer than 253 characters",
        ),
        (("create", "--service-account-name", "x"), "--aad-application-name is required"),
        (("create", "phase", "sa", "--service-account-token-expiration", "1m"), "1h0m0s"),
        (("create", "phase", "sa", "--service-account-token-expiration", "25h"), "24h0m0s"),
        (("delete", "phase", "ra"), "--role-assignment-id is required"),
        (("create", "--managed-identity-name", "web"), "needs --resource-group"),
    ],
    ids=["long", "name", "short-life", "long-life", "assignment", "group"],
)
def test_wrong_flags_are_refused_before_anything_is_created(
    world: AzureWorld, words: tuple[str, ...], message: str
) -> None:
    done = world.run(*words)
    assert done.returncode == 2
    assert message in done.stderr


def test_command_without_an_instance_names_the_fix(tmp_path: Path, world: AzureWorld) -> None:
    done = world.run(
        "create", *_named(world, "x"), "--skip-phases", "ra", "--data-dir", str(tmp_path)
    )
    assert done.returncode == 1
    assert "no instance is running" in done.stderr
