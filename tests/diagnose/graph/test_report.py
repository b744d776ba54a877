"""The text of `podpass graph`."""

from dataclasses import replace
from typing import Any

from podpass.diagnose.graph.graph import build_graph
from podpass.diagnose.graph.report import describe
from podpass.provision.model import ResourceInfo
from tests.diagnose.graph.samples import (
    CLIENT,
    VAULT,
    account,
    assignment,
    credential,
    facts,
    identity,
)


def lines_of(**directory: Any) -> list[str]:
    return [line.text for line in describe(build_graph(facts(**directory)))]


def test_identity_lists_its_accounts_and_what_it_reaches() -> None:
    assert lines_of() == [
        f"web: managed identity, client id {CLIENT}, 1 of 20 credentials",
        "<- ServiceAccount default/web, by credential web",
        "-> vaults store: get, list secrets (Key Vault Secrets User)",
        "",
        "No findings.",
    ]


def test_credential_without_an_account_names_its_subject() -> None:
    old = credential("old", subject="system:serviceaccount:gone:web")
    foreign = credential("ci", issuer="https://ci.example", subject="repo:a")
    lines = lines_of(identities=(identity(credentials=(old, foreign)),))
    assert (
        "<- nothing that was read, by credential old: system:serviceaccount:gone:web of this cluster"
        in lines
    )
    assert "<- nothing that was read, by credential ci: repo:a of https://ci.example" in lines
    assert "ServiceAccounts that can become no identity:" in lines
    assert f"default/web, annotated with {CLIENT}" in lines


def test_expression_names_the_accounts_that_match_and_that_every_token_can() -> None:
    expression = "claims['sub'] matches 'system:serviceaccount:env-*:web'"
    one = identity(credentials=(credential("envs", subject="", expression=expression),))
    accounts = (account("env-a"), account("env-b"), account("default"))
    lines = lines_of(identities=(one,), accounts=accounts)
    for namespace in ("env-a", "env-b"):
        assert f"<- ServiceAccount {namespace}/web, by credential envs" in lines
    assert "<- ServiceAccount default/web, by credential envs" not in lines
    assert f"<- every token that matches, by credential envs: {expression} of this cluster" in lines
    unread = identity(credentials=(credential("envs", subject="", expression="no expression"),))
    assert "<- ServiceAccount env-a/web, by credential envs" not in lines_of(
        identities=(unread,), accounts=accounts
    )


def test_what_was_not_read_is_at_the_end() -> None:
    lines = lines_of(unread=("role assignments: refused",))
    assert lines[-2:] == [
        "Not read, and therefore not in the graph:",
        "- role assignments: refused",
    ]


def test_report_marks_access_that_is_management_only() -> None:
    lines = lines_of(resources=(replace(VAULT, uses_roles=False),))
    assert "-> vaults store: management only (Key Vault Secrets User)" in lines


def test_role_at_another_resource_than_a_vault_is_not_called_management() -> None:
    account_type = "Microsoft.Storage/storageAccounts"
    scope = f"{VAULT.id.partition('/providers/')[0]}/providers/{account_type}/orders"
    orders = ResourceInfo(id=scope, type=account_type, name="orders")
    role = assignment("Storage Blob Data Contributor", scope.lower())
    lines = lines_of(resources=(orders,), assignments=(role,))
    assert "-> storageAccounts orders: actions of the role (Storage Blob Data Contributor)" in lines


def test_fix_command_is_not_wrapped() -> None:
    graph = build_graph(facts(identities=(identity(credentials=()),), accounts=(account(),)))
    [fix] = [line for line in describe(graph) if line.text.startswith("fix: ")]
    assert not fix.wraps
