"""SVG and Mermaid: complete, deterministic, and harmless with hostile names."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpass.diagnose.graph import drawing
from podpass.diagnose.graph.drawing import describe_scope, to_mermaid, to_svg
from podpass.diagnose.graph.graph import build_graph
from podpass.diagnose.graph.model import GraphTooLarge, TrustGraph
from tests.diagnose.graph.samples import SUBSCRIPTION, VAULT, account, credential, facts, identity

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
