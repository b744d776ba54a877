"""The trust graph as SVG, Mermaid and text: complete, deterministic, and harmless with hostile names."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpass.diagnose.graph import drawing
from podpass.diagnose.graph.drawing import describe_scope, to_mermaid, to_svg
from podpass.diagnose.graph.graph import build_graph
from podpass.diagnose.graph.model import GraphTooLarge, TrustGraph
from podpass.diagnose.graph.report import describe
from podpass.directory.model import ResourceInfo
from tests.diagnose.graph.samples import (
    CLIENT,
    SUBSCRIPTION,
    VAULT,
    account,
    assignment,
    credential,
    facts,
    identity,
)

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "\"><script>alert(1)</script>&\x00\u202e`'];click n0 call x()"
_ELEMENTS = {f"{SVG}{name}" for name in ("svg", "title", "desc", "text", "g", "rect", "path")}
_ATTRIBUTES = {
    *("class", "d", "data-node", "fill", "fill-opacity", "font-family", "font-size", "font-weight"),
    *("height", "role", "rx", "stroke", "stroke-dasharray", "stroke-opacity", "stroke-width"),
    *("viewBox", "width", "x", "y"),
}


def drawn(name: str) -> TrustGraph:
    """Return a graph in which every text of another user has this value."""
    made = identity(
        name, credentials=(credential(name, subject=name, issuer=name, audiences=(name,)),)
    )
    return build_graph(facts(identities=(made,), accounts=(account(name, name),)))


def parse(svg: str) -> ET.Element:
    return ET.fromstring(svg)


def test_svg_has_every_node_and_edge() -> None:
    graph = build_graph(facts())
    root = parse(to_svg(graph))
    nodes = [each.get("data-node") for each in root.iter(f"{SVG}g")]
    assert nodes == [node.id for node in graph.nodes]
    # The annotation is not drawn, because the credential joins the two.
    assert len(list(root.iter(f"{SVG}path"))) == len(graph.edges) - 1
    texts = {each.text for each in root.iter(f"{SVG}text")}
    assert {"default/web", "web", "store", "Key Vault Secrets User"} <= texts


def test_svg_marks_findings_and_annotations_without_trust() -> None:
    graph = build_graph(facts(identities=(identity(credentials=()),)))
    svg = to_svg(graph)
    assert 'class="node account finding"' in svg
    assert svg.count("stroke-dasharray") == 1
    assert "does not trust it" in svg


@given(name=st.one_of(st.just(HOSTILE), st.text(min_size=1, max_size=40)))
def test_names_add_no_markup_to_the_svg(name: str) -> None:
    root = parse(to_svg(drawn(name)))
    for element in root.iter():
        assert element.tag in _ELEMENTS
        assert set(element.keys()) <= _ATTRIBUTES


@given(name=st.one_of(st.just(HOSTILE), st.text(min_size=1, max_size=40)))
def test_names_add_no_syntax_to_mermaid(name: str) -> None:
    node = re.compile(r'    n\d+\["[^"<>`&\\]*<br/>[^"<>`&\\]*"\]')
    fixed = re.compile(
        r"flowchart LR|  subgraph \w+ \[[\w ]+\]|  end|  n\d+ -->( *\|\"[\w, ]+\"\|)? n\d+"
        r"|  n\d+ -\. not trusted \.-> n\d+|  classDef finding [\w#:,-]+|  class [n\d,]+ finding"
    )
    for line in to_mermaid(drawn(name)).splitlines():
        assert node.fullmatch(line) or fixed.fullmatch(line), line


def test_mermaid_has_every_node_and_edge() -> None:
    graph = build_graph(facts())
    text = to_mermaid(graph)
    assert text.count('["') == len(graph.nodes)
    assert text.count("-->") == len(graph.edges) - 1
    assert '|"get, list"|' in text


def test_drawings_are_equal_for_equal_graphs() -> None:
    graph = build_graph(facts())
    assert to_svg(graph) == to_svg(build_graph(facts()))
    assert to_mermaid(graph) == to_mermaid(build_graph(facts()))


def test_a_graph_that_is_too_large_to_draw_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "MAX_DRAWN_NODES", 3)
    for draw in (to_svg, to_mermaid):
        with pytest.raises(GraphTooLarge, match="at most 3 nodes"):
            draw(build_graph(facts()))


def test_an_empty_graph_is_drawn() -> None:
    empty = build_graph(facts(identities=(), accounts=(), assignments=()))
    assert parse(to_svg(empty)).tag == f"{SVG}svg"


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ("/", "the root"),
        (f"/subscriptions/{SUBSCRIPTION}", "the subscription"),
        (f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g", "resource group g"),
        (VAULT.id, "vaults store"),
        ("/providers/microsoft.management/managementgroups/all", "managementgroups all"),
    ],
    ids=["root", "subscription", "group", "vault", "management-group"],
)
def test_scope_is_described_in_words(scope: str, words: str) -> None:
    assert describe_scope(scope) == words


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
