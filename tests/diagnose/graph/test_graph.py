"""Nodes, edges and the part around a name."""

import json
from dataclasses import replace
from typing import Any

import pytest

from podpass.diagnose.graph import graph
from podpass.diagnose.graph.graph import build_graph
from podpass.diagnose.graph.model import EdgeKind, GraphTooLarge, NodeKind, TrustGraph, to_document
from podpass.directory.model import IdentityKind, ResourceInfo
from podpass.errors import UsageError
from tests.diagnose.graph.samples import (
    CLIENT,
    GROUP,
    SUBSCRIPTION,
    TENANT,
    VAULT,
    account,
    assignment,
    credential,
    facts,
    identity,
)


def names_of(graph: TrustGraph, kind: NodeKind) -> set[str]:
    return {node.name for node in graph.nodes if node.kind is kind}


def edges_of(graph: TrustGraph, kind: EdgeKind) -> list[dict[str, Any]]:
    return [dict(edge.details) for edge in graph.edges if edge.kind is kind]


def test_an_account_reaches_a_vault_through_credential_identity_and_role() -> None:
    graph = build_graph(facts())
    assert [node.kind for node in graph.nodes] == list(NodeKind)
    way = {edge.source: edge.target for edge in graph.edges if edge.kind is not EdgeKind.ANNOTATES}
    node, kinds = "account/default/web", []
    while node in way:
        node = way[node]
        kinds.append(node.split("/")[0])
    assert kinds == ["credential", "identity", "role", "resource"]
    assert edges_of(graph, EdgeKind.REACHES) == [{"operations": ["get", "list"], "part": ""}]
    assert graph.findings == ()


def test_json_document_has_nodes_edges_findings_and_what_was_not_read() -> None:
    unread = facts(unread=("role assignments: refused",))
    document = json.loads(json.dumps(to_document(build_graph(unread))))
    assert document.keys() == {"tenant_id", "issuer", "nodes", "edges", "findings", "unread"}
    assert document["unread"] == ["role assignments: refused"]
    assert document["nodes"][0] == {
        "id": "account/default/web",
        "kind": "account",
        "name": "default/web",
        "client_id": CLIENT,
        "identity": "web",
        "tenant_id": None,
    }
    ids = {node["id"] for node in document["nodes"]}
    assert {edge[end] for edge in document["edges"] for end in ("from", "to")} <= ids


def test_a_role_without_an_action_for_a_resource_does_not_reach_it() -> None:
    storage = ResourceInfo(
        id=f"{GROUP}/providers/Microsoft.Storage/storageAccounts/files",
        type="Microsoft.Storage/storageAccounts",
        name="files",
    )
    reached = {
        role: names_of(
            build_graph(facts(resources=(VAULT, storage), assignments=(assignment(role, GROUP),))),
            NodeKind.RESOURCE,
        )
        for role in ("Key Vault Secrets User", "Reader", "Storage Blob Data Reader")
    }
    assert reached == {
        "Key Vault Secrets User": {"store"},
        "Reader": {"store", "files"},
        "Storage Blob Data Reader": {"files"},
    }


def test_a_role_at_a_secret_reaches_a_part_of_its_vault() -> None:
    scope = f"{VAULT.id}/secrets/one"
    graph = build_graph(facts(assignments=(assignment("Key Vault Secrets User", scope),)))
    assert edges_of(graph, EdgeKind.REACHES) == [
        {"operations": ["get", "list"], "part": "secrets/one"}
    ]


def test_roles_of_other_principals_are_not_in_the_graph() -> None:
    other = assignment("Owner", GROUP, principal="55555555-5555-4555-8555-00000000000f")
    assert names_of(build_graph(facts(assignments=(other,))), NodeKind.ROLE) == set()


def test_graph_of_an_application_contains_the_managed_identity_that_it_trusts() -> None:
    application = identity(
        "app",
        2,
        kind=IdentityKind.APPLICATION,
        credentials=(
            credential(
                issuer=f"https://login.microsoftonline.com/{TENANT}/v2.0",
                subject=identity().object_id,
            ),
        ),
    )
    graph = build_graph(facts(identities=(identity(), application)), "app")
    assert names_of(graph, NodeKind.IDENTITY) == {"web", "app"}
    assert names_of(graph, NodeKind.ACCOUNT) == {"default/web"}


def test_a_namespace_shows_its_identities_and_all_their_accounts() -> None:
    both = (credential(), credential("shop", subject="system:serviceaccount:shop:web"))
    other = identity("other", 2, credentials=())
    known = facts(
        accounts=(account(), account("shop"), account("rest", "api", client_id=None)),
        identities=(identity(credentials=both), other),
    )
    graph = build_graph(known, "shop")
    assert names_of(graph, NodeKind.IDENTITY) == {"web"}
    assert names_of(graph, NodeKind.ACCOUNT) == {"default/web", "shop/web"}
    assert [each.code for each in graph.findings] == ["shared_identity"]


def test_ambiguous_name_is_refused_with_the_kinds_to_choose_from() -> None:
    known = facts(accounts=(account("web"),))
    with pytest.raises(UsageError) as refused:
        build_graph(known, "web")
    assert refused.value.hint == "pass identity/web or namespace/web"
    assert names_of(build_graph(known, "identity/web"), NodeKind.IDENTITY) == {"web"}
    assert names_of(build_graph(known, "namespace/web"), NodeKind.ACCOUNT) == {"web/web"}


@pytest.mark.parametrize(
    ("focus", "hint"),
    [("wab", "did you mean web"), ("pod/web", "pass the name"), ("namespace/web", "did you mean")],
)
def test_an_unknown_name_is_refused_with_similar_ones(focus: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        build_graph(facts(), focus)
    assert hint in refused.value.hint


def test_an_identity_is_found_by_its_client_id_in_any_case() -> None:
    assert names_of(build_graph(facts(), CLIENT.upper()), NodeKind.IDENTITY) == {"web"}


def test_a_graph_with_too_many_edges_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MAX_EDGES", 2)
    with pytest.raises(GraphTooLarge, match="more than 2 edges"):
        build_graph(facts())


def test_graph_without_readable_accounts_shows_only_the_directory() -> None:
    graph = build_graph(facts(accounts=None))
    assert names_of(graph, NodeKind.ACCOUNT) == set()
    assert [each.code for each in graph.findings] == []
    assert names_of(graph, NodeKind.RESOURCE) == {"store"}


def test_a_vault_with_access_policies_ignores_data_actions_of_roles() -> None:
    vault = replace(VAULT, uses_roles=False)
    owner = assignment("Key Vault Administrator", f"/subscriptions/{SUBSCRIPTION}")
    graph = build_graph(facts(resources=(vault,), assignments=(owner,)))
    assert edges_of(graph, EdgeKind.REACHES) == [{"operations": [], "part": ""}]
