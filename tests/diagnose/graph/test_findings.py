"""Each finding, next to the same facts without it."""

from collections.abc import Callable
from typing import Any

import pytest

from podpass import names
from podpass.diagnose.graph import findings
from podpass.diagnose.graph.findings import describe_width
from podpass.diagnose.graph.graph import build_graph
from podpass.diagnose.graph.model import EdgeKind, TrustFacts, TrustFinding
from podpass.directory import roles
from podpass.directory.model import IdentityKind, RoleAssignment, RoleDefinition
from tests.diagnose.graph.samples import (
    GROUP,
    ISSUER,
    OBJECT,
    SUBSCRIPTION,
    VAULT,
    account,
    assignment,
    credential,
    facts,
    identity,
)

SUBSCRIPTION_SCOPE = f"/subscriptions/{SUBSCRIPTION}"
SUBJECT = "system:serviceaccount:default:web"
EXCHANGED = {(identity().client_id, "web"): "2026-01-01T00:00:00.000Z"}


def many(number: int) -> tuple[Any, ...]:
    return tuple(
        credential(f"c{at:02}", issuer="https://other.example/", subject=f"s{at}")
        for at in range(number - 1)
    )


def with_credential(**changes: Any) -> TrustFacts:
    return facts(identities=(identity(credentials=(credential(**changes),)),))


# The facts with the finding, its code, and texts of its message and of its fix.
CASES: dict[str, tuple[Callable[[], TrustFacts], str, str, str]] = {
    "no-credential": (
        lambda: facts(identities=(identity(credentials=()),)),
        "account_not_trusted",
        f"no credential of it has the subject {SUBJECT}",
        f"create --name web --identity-name web --resource-group g --issuer {ISSUER} --subject {SUBJECT}",
    ),
    "case-of-subject": (
        lambda: with_credential(subject="system:serviceaccount:default:Web"),
        "account_not_trusted",
        "its credential web has the subject system:serviceaccount:default:Web; case counts",
        f"update --name web --identity-name web --resource-group g --issuer {ISSUER} --subject {SUBJECT}",
    ),
    "other-issuer": (
        lambda: with_credential(issuer=ISSUER.rstrip("/")),
        "account_not_trusted",
        f"its credential web has the issuer {ISSUER.rstrip('/')}",
        f"--issuer {ISSUER}",
    ),
    "application": (
        lambda: facts(identities=(identity(kind=IdentityKind.APPLICATION, credentials=()),)),
        "account_not_trusted",
        "does not trust it",
        "podpass serviceaccount create phase federated-identity",
    ),
    "unknown-client": (
        lambda: facts(accounts=(account(client_id="33333333-3333-4333-8333-00000000000f"),)),
        "identity_unknown",
        "names no identity that was read in the tenant",
        f"--overwrite azure.workload.identity/client-id={identity().client_id}",
    ),
    "unknown-client-that-nothing-trusts": (
        lambda: facts(
            accounts=(account(client_id="33333333-3333-4333-8333-00000000000f"),),
            identities=(identity(credentials=()),),
        ),
        "identity_unknown",
        "names no identity that was read in the tenant",
        "`az identity list` and `az ad app list` print the client ids: kubectl annotate",
    ),
    "principal-id": (
        lambda: facts(accounts=(account(client_id=OBJECT),)),
        "identity_unknown",
        "is the principal id of web, not its client id",
        f"azure.workload.identity/client-id={identity().client_id}",
    ),
    "not-a-guid": (
        lambda: facts(accounts=(account(client_id="web\n"),)),
        "identity_unknown",
        "'web\\n' is not a GUID",
        "kubectl annotate",
    ),
    "disabled": (
        lambda: facts(identities=(identity(enabled=False),)),
        "identity_disabled",
        "is disabled or has no service principal",
        "az ad sp update",
    ),
    "subject-of-no-account": (
        lambda: facts(
            identities=(
                identity(
                    credentials=(
                        credential(),
                        credential("old", subject="system:serviceaccount:default:webb"),
                    )
                ),
            )
        ),
        "subject_matches_nothing",
        f"the most similar is {SUBJECT}",
        "az identity federated-credential delete --name old --identity-name web --resource-group g",
    ),
    "audience": (
        lambda: with_credential(audiences=("api://other",)),
        "audience_differs",
        f"its audience api://other is not {names.EXCHANGE_AUDIENCE}",
        "recreate it",
    ),
    "not-used": (
        lambda: facts(exchanges={}),
        "credential_not_used",
        "no exchange with it",
        "if no workload needs it: az identity federated-credential delete",
    ),
    "issuer-not-allowed": (
        lambda: facts(allowed=frozenset({"https://other.example/"})),
        "issuer_not_allowed",
        f"its issuer {ISSUER} is not in the list",
        "az identity federated-credential delete",
    ),
    "near-limit": (
        lambda: facts(identities=(identity(credentials=(credential(), *many(18))),)),
        "credentials_near_limit",
        "it has 18 of 20 federated credentials",
        "use another identity",
    ),
    "shared": (
        lambda: facts(
            accounts=(account(), account("shop")),
            identities=(
                identity(
                    credentials=(
                        credential(),
                        credential("shop", subject="system:serviceaccount:shop:web"),
                    )
                ),
            ),
        ),
        "shared_identity",
        "accounts of 2 namespaces can become it: default, shop",
        "its own identity",
    ),
    "owner-of-subscription": (
        lambda: facts(assignments=(assignment("Owner", SUBSCRIPTION_SCOPE),)),
        "wide_role",
        f"its role Owner at {SUBSCRIPTION_SCOPE} can assign any role there",
        f"az role assignment delete --assignee {OBJECT} --role Owner --scope {SUBSCRIPTION_SCOPE}",
    ),
    "contributor-of-group": (
        lambda: facts(assignments=(assignment("Contributor", GROUP),)),
        "wide_role",
        "manages every resource there",
        "assign a smaller role at the resource",
    ),
    "administrator-of-vaults": (
        lambda: facts(assignments=(assignment("Key Vault Administrator", GROUP),)),
        "wide_role",
        "reads and changes the secrets of every vault there",
        "--role 'Key Vault Administrator'",
    ),
    "identity-contributor": (
        lambda: facts(assignments=(assignment("Managed Identity Contributor", "/"),)),
        "wide_role",
        "can make every managed identity there trust other accounts",
        "--scope /",
    ),
    "management-group": (
        lambda: facts(
            assignments=(
                assignment("Owner", "/providers/microsoft.management/managementgroups/all"),
            )
        ),
        "wide_role",
        "managementgroups/all",
        "az role assignment delete",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_finding_is_reported_with_its_fix(case: str) -> None:
    make, code, message, fix = CASES[case]
    found = [each for each in build_graph(make()).findings if each.code == code]
    assert len(found) == 1, build_graph(make()).findings
    assert message in found[0].message
    assert fix in found[0].fix


def test_commands_for_a_subject_of_other_case_can_be_run_in_any_order() -> None:
    found = build_graph(with_credential(subject="system:serviceaccount:default:Web")).findings
    fixes = {each.code: each.fix for each in found}
    assert fixes["subject_matches_nothing"] == fixes["account_not_trusted"]


def test_subject_of_other_case_is_deleted_when_the_right_one_exists() -> None:
    old = credential("old", subject="system:serviceaccount:default:Web")
    graph = build_graph(facts(identities=(identity(credentials=(credential(), old)),)))
    fixes = {each.code: each.fix for each in graph.findings}
    assert "delete --name old" in fixes["subject_matches_nothing"]


@pytest.mark.parametrize("name", ["batch", "w", "web-of-trust"])
def test_account_with_an_unrelated_name_is_not_suggested(name: str) -> None:
    """The long prefix that all subjects share does not make them similar."""
    unrelated = credential("old", subject=f"system:serviceaccount:default:{name}")
    graph = build_graph(facts(identities=(identity(credentials=(credential(), unrelated)),)))
    [found] = [each for each in graph.findings if each.code == "subject_matches_nothing"]
    assert "similar" not in found.message


@pytest.mark.parametrize(
    "subject",
    [
        "xteam-17:worker-17",
        "team-17:worker-1",
        "team-17:wrker-17",
        "taem-17:worker-17",
        "Team-17:Worker-17",
    ],
)
def test_subject_with_a_typo_is_compared_with_few_of_many_accounts(
    subject: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared, compare = [], findings._equal_ends

    def count(*pair: str) -> int:
        compared.append(pair)
        return compare(*pair)

    monkeypatch.setattr(findings, "_equal_ends", count)
    accounts = tuple(account(f"team-{at}", f"worker-{at}") for at in range(500))
    wrong = credential("old", subject=f"system:serviceaccount:{subject}")
    graph = build_graph(facts(accounts=accounts, identities=(identity(credentials=(wrong,)),)))
    [found] = [each for each in graph.findings if each.code == "subject_matches_nothing"]
    assert found.message.endswith("the most similar is system:serviceaccount:team-17:worker-17")
    assert len(compared) <= 12


def test_expression_that_matches_no_account_is_reported_with_its_text() -> None:
    expression = "claims['sub'] matches 'system:serviceaccount:env-*:web'"
    unused = credential("envs", subject="", expression=expression)
    graph = build_graph(facts(identities=(identity(credentials=(credential(), unused)),)))
    [found] = [each for each in graph.findings if each.code == "subject_matches_nothing"]
    assert found.message.endswith(expression)


def test_new_credential_does_not_replace_one_with_the_name_of_the_account() -> None:
    graph = build_graph(with_credential(issuer="https://other.example/"))
    fix = next(each.fix for each in graph.findings if each.code == "account_not_trusted")
    assert "create --name default-web-" in fix


# Facts that are almost those of a finding.
HEALTHY: dict[str, Callable[[], TrustFacts]] = {
    "used": lambda: facts(exchanges=EXCHANGED),
    "allowed-issuer": lambda: facts(allowed=frozenset({ISSUER})),
    "seventeen": lambda: facts(identities=(identity(credentials=(credential(), *many(17))),)),
    "owner-of-a-vault": lambda: facts(assignments=(assignment("Owner", VAULT.id),)),
    "secrets-user-of-a-group": lambda: facts(
        assignments=(assignment("Key Vault Secrets User", GROUP),)
    ),
    "other-tenant": lambda: facts(
        accounts=(account(), account("shop", tenant_id="22222222-2222-4222-8222-222222222222"))
    ),
    "same-tenant-in-capitals": lambda: facts(
        accounts=(account(tenant_id=facts().directory.tenant_id.upper()),)
    ),
    "client-id-in-capitals": lambda: facts(
        accounts=(account(client_id=identity().client_id.upper()),)
    ),
    "identities-not-read": lambda: facts(
        accounts=(account(client_id="33333333-3333-4333-8333-00000000000f"),),
        has_all_identities=False,
    ),
    "credentials-not-read": lambda: facts(
        identities=(identity(credentials=()),),
        without_credentials=frozenset({identity().client_id}),
    ),
    "empty-client-id": lambda: facts(accounts=(account(), account("shop", client_id=""))),
    "two-accounts-of-one-namespace": lambda: facts(
        accounts=(account(), account(name="api")),
        identities=(
            identity(
                credentials=(
                    credential(),
                    credential("api", subject="system:serviceaccount:default:api"),
                )
            ),
        ),
    ),
}


@pytest.mark.parametrize("case", HEALTHY)
def test_healthy_facts_next_to_a_finding_have_no_finding(case: str) -> None:
    assert build_graph(HEALTHY[case]()).findings == ()


def test_breadth_of_a_custom_role_is_described_by_its_actions() -> None:
    def role(**permissions: Any) -> RoleDefinition:
        return RoleDefinition(id="r", name="custom", **permissions)

    assert describe_width(role(data_actions=("*",))) == "manages every resource there"
    assert describe_width(role(actions=("Microsoft.Authorization/*",))) == (
        "can assign any role there"
    )
    assert describe_width(role(data_actions=(roles.GET_SECRET,))) == ""
    assert describe_width(role(actions=("*/read",))) == ""


def test_commands_quote_names() -> None:
    hostile = identity(
        "web; rm -rf $HOME", kind=IdentityKind.APPLICATION, credentials=(), resource_id=None
    )
    [found] = build_graph(facts(identities=(hostile,))).findings
    assert isinstance(found, TrustFinding)
    assert "--aad-application-name 'web; rm -rf $HOME'" in found.fix


def test_exclusion_of_one_permission_block_limits_no_other_block() -> None:
    blocks = (
        RoleDefinition(id="r", name="custom", not_actions=("*",), not_data_actions=("*",)),
        RoleDefinition(id="r", name="custom", actions=("*",), data_actions=(roles.SET_SECRET,)),
    )
    assert describe_width(*blocks) == "can assign any role there"
    scope = VAULT.id.lower()
    graph = build_graph(
        facts(
            roles=blocks, assignments=(RoleAssignment(scope=scope, principal_id=OBJECT, role="r"),)
        )
    )
    [edge] = [each for each in graph.edges if each.kind is EdgeKind.REACHES]
    assert edge.details["operations"] == ["set"]
