"""The commands for refusals: with real values, and quoted for a shell."""

import json
import shlex

import pytest

from podpass.console.fixes import KnownObjects, explain_refusal
from tests.console.hops import CLIENT, ISSUER, exchange_facts, hop

GROUP = "/subscriptions/s/resourceGroups/apps/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web"
MANAGED = {"name": "web", "resource_id": GROUP, "principal_id": "principal"}
VAULT = {"name": "v", "resource_id": "/subscriptions/s/resourceGroups/apps/vaults/v"}
KNOWN = KnownObjects(identities={CLIENT: MANAGED}, vaults={"v": VAULT})
HOSTILE = "x'; rm -rf ~ #$(id)`id`\n"


def options(command: str) -> dict[str, str]:
    words = shlex.split(command)
    return {word: words[at + 1] for at, word in enumerate(words[:-1]) if word.startswith("--")}


@pytest.mark.parametrize("code", ["AADSTS70021", "AADSTS700211", "AADSTS700212", "AADSTS700213"])
def test_fix_for_a_missing_managed_identity_credential_creates_it(code: str) -> None:
    fix = explain_refusal(hop("exchange", code, **exchange_facts("other", "")), KNOWN)
    assert options(fix.command) == {
        "--name": "default-other",
        "--identity-name": "web",
        "--resource-group": "apps",
        "--issuer": ISSUER,
        "--subject": "system:serviceaccount:default:other",
        "--audiences": "api://AzureADTokenExchange",
    }
    assert fix.cause
    assert fix.resolution


def test_fix_for_a_missing_application_credential_creates_it() -> None:
    refused = hop("exchange", "AADSTS700213", **exchange_facts("other", ""))
    fix = explain_refusal(refused, KnownObjects())
    found = options(fix.command)
    assert found["--id"] == CLIENT
    assert json.loads(found["--parameters"])["subject"] == "system:serviceaccount:default:other"


def test_fix_for_an_unknown_client_annotates_the_service_account() -> None:
    refused = hop("exchange", "AADSTS700016", **exchange_facts("web", ""))
    command = explain_refusal(refused, KNOWN).command
    assert command.startswith("kubectl annotate serviceaccount web -n default ")


def test_other_codes_are_explained_by_the_command_line() -> None:
    refused = hop("exchange", "AADSTS50027", **exchange_facts())
    assert explain_refusal(refused, KNOWN).command == "podpass explain AADSTS50027"


def test_fix_for_a_missing_role_at_a_vault_assigns_the_role() -> None:
    refused = hop("resource", "ForbiddenByRbac", vault="v", client_id=CLIENT)
    fix = explain_refusal(refused, KNOWN)
    assert "no role at the vault" in fix.cause
    assert "Key Vault Secrets User" in fix.resolution
    assert options(fix.command) == {
        "--role": "Key Vault Secrets User",
        "--assignee-object-id": "principal",
        "--assignee-principal-type": "ServicePrincipal",
        "--scope": VAULT["resource_id"],
    }


def test_refused_admission_shows_the_account() -> None:
    facts = {"code": "bad_annotation", "cause": "not a GUID", "fix": "correct the annotation"}
    refused = hop("account", "refused", namespace="n", account="a", **facts)
    fix = explain_refusal(refused, KNOWN)
    assert (fix.code, fix.command) == ("bad_annotation", "kubectl describe serviceaccount a -n n")
    assert (fix.says, fix.resolution) == ("not a GUID", "correct the annotation")


def test_refusal_without_a_known_fix_has_no_command() -> None:
    assert explain_refusal(hop("imds", "bad_request"), KNOWN).command == ""


@pytest.mark.parametrize("code", ["AADSTS700213", "AADSTS700016"])
@pytest.mark.parametrize("known", [KNOWN, KnownObjects()], ids=["managed", "application"])
def test_request_values_in_a_fix_command_are_quoted_as_one_word(
    code: str, known: KnownObjects
) -> None:
    facts = exchange_facts(HOSTILE, "", iss=HOSTILE)
    command = explain_refusal(hop("exchange", code, **facts), known).command
    assert not {"rm", "$(id)`id`", "-rf"} & set(shlex.split(command))
