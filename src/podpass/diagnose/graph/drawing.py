"""Draw the trust graph as SVG and as Mermaid text. Pure.

Both drawings have only text that was escaped here: names of other users' objects cannot add markup, links or
scripts. The SVG has no style sheet, script, link or image, so that a page with a strict content security
policy can contain it; its colors follow the text color of the page, and classes name the kinds of nodes and
edges.
"""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

from podpass.diagnose.graph.model import (
    EdgeKind,
    GraphTooLarge,
    NodeKind,
    TrustEdge,
    TrustGraph,
    TrustNode,
)
from podpass.kubernetes.service_account.names import USERNAME_PREFIX

MAX_DRAWN_NODES = 600
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN, _HEADER = 216, 44, 64, 14, 16, 28
_CHAR = 7.0  # the width of a character of the font at size 12, and a reserve
_MAX_CHARS = int((_WIDTH - 16) / _CHAR)
_PASSES = 4
_COLUMNS = {
    NodeKind.ACCOUNT: "ServiceAccounts",
    NodeKind.CREDENTIAL: "Federated credentials",
    NodeKind.IDENTITY: "Identities",
    NodeKind.ROLE: "Roles and policies",
    NodeKind.RESOURCE: "Resources",
}
_COLORS = {
    NodeKind.ACCOUNT: "#326ce5",
    NodeKind.CREDENTIAL: "#b7791f",
    NodeKind.IDENTITY: "#0f8a6d",
    NodeKind.ROLE: "#8b5cf6",
    NodeKind.RESOURCE: "#64748b",
}
_FINDING_COLOR = "#d1242f"
_PLAIN = frozenset(" -_./:@=,()")


def describe_node(node: TrustNode) -> str:
    """Return the second line of a node: what distinguishes it from others with its name."""
    details = node.details
    if node.kind is NodeKind.CREDENTIAL:
        subject = str(details.get("subject", "")).removeprefix(USERNAME_PREFIX)
        return subject or str(details.get("expression", ""))
    if node.kind is NodeKind.IDENTITY:
        used = f"{details.get('credentials')} of {details.get('credential_limit')}"
        return f"{used} credentials" + ("" if details.get("can_sign_in") else ", disabled")
    if node.kind is NodeKind.ROLE:
        return describe_scope(str(details.get("scope", "")))
    if node.kind is NodeKind.RESOURCE:
        return str(details.get("type", "")).rpartition("/")[2]
    client_id = str(details.get("client_id") or "")
    return str(details.get("identity") or client_id or "no client-id annotation")


def describe_scope(scope: str) -> str:
    """Return a scope in words: subscription, resource group or resource."""
    parts = scope.strip("/").split("/")
    if parts == [""]:
        return "the root"
    if len(parts) == 2 and parts[0].lower() == "subscriptions":
        return "the subscription"
    if len(parts) == 4 and parts[2].lower() == "resourcegroups":
        return f"resource group {parts[3]}"
    return f"{parts[-2]} {parts[-1]}" if len(parts) > 1 else scope


def to_svg(graph: TrustGraph) -> str:
    """Draw the graph as an SVG document in five columns. Raises GraphTooLarge."""
    _check_size(graph)
    columns = _arrange(graph)
    places = {
        node.id: (_MARGIN + at * (_WIDTH + _GAP_X), _MARGIN + _HEADER + row * (_HEIGHT + _GAP_Y))
        for at, column in enumerate(columns.values())
        for row, node in enumerate(column)
    }
    width = 2 * _MARGIN + len(columns) * _WIDTH + (len(columns) - 1) * _GAP_X
    rows = max((len(column) for column in columns.values()), default=0)
    height = 2 * _MARGIN + _HEADER + max(rows, 1) * (_HEIGHT + _GAP_Y)
    title = "Trust graph: who can become whom, and reach what"
    summary = f"{len(graph.nodes)} nodes, {len(graph.edges)} edges, {len(graph.findings)} findings"
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" role="img" class="trust-graph" font-family="ui-monospace, monospace"'
        ' font-size="12" fill="currentColor" stroke="none">'
    )
    parts = [opening, f"<title>{title}</title>", f"<desc>{summary}</desc>"]
    for at, name in enumerate(columns):
        left = _MARGIN + at * (_WIDTH + _GAP_X)
        parts.append(
            f'<text x="{left}" y="{_MARGIN + 12}" font-weight="bold">{_COLUMNS[name]}</text>'
        )
    trusted = {(each.source, each.target) for each in _joined_by_trust(graph)}
    parts += [_svg_edge(each, places, trusted) for each in graph.edges]
    findings = _messages_by_node(graph)
    for column in columns.values():
        parts += [_svg_node(node, places[node.id], findings.get(node.id, ())) for node in column]
    return "\n".join([*parts, "</svg>", ""])


def _joined_by_trust(graph: TrustGraph) -> list[TrustEdge]:
    """Return an edge for each account and identity that a credential joins."""
    owners = {each.source: each.target for each in graph.edges if each.kind is EdgeKind.TRUSTS}
    return [
        TrustEdge(source=each.source, target=owners[each.target], kind=EdgeKind.ANNOTATES)
        for each in graph.edges
        if each.kind is EdgeKind.MATCHES and each.target in owners
    ]


def _svg_edge(
    edge: TrustEdge, places: Mapping[str, tuple[int, int]], trusted: set[tuple[str, str]]
) -> str:
    if edge.kind is EdgeKind.ANNOTATES and (edge.source, edge.target) in trusted:
        return ""  # the credential between the two is drawn
    (left, top), (right, bottom) = places[edge.source], places[edge.target]
    start, end = left + _WIDTH, right
    middle = (start + end) // 2 if end > start else start + _GAP_X
    turn = middle if end > start else end - _GAP_X
    y, z = top + _HEIGHT // 2, bottom + _HEIGHT // 2
    dashed = edge.kind is EdgeKind.ANNOTATES
    color, dash = (_FINDING_COLOR, ' stroke-dasharray="4 4"') if dashed else ("currentColor", "")
    return (
        f'<path class="edge {edge.kind}" d="M{start} {y} C{middle} {y} {turn} {z} {end} {z}"'
        f' fill="none" stroke="{color}" stroke-opacity="0.55"{dash}>'
        f"<title>{_text(_name_of(edge))}</title></path>"
    )


def _name_of(edge: TrustEdge) -> str:
    operations = edge.details.get("operations") or ()
    if edge.kind is EdgeKind.REACHES:
        return ", ".join(operations) or "other actions of the role"
    return str(edge.kind)


def _svg_node(node: TrustNode, place: tuple[int, int], findings: Sequence[str]) -> str:
    left, top = place
    color = _FINDING_COLOR if findings else _COLORS[node.kind]
    full = " | ".join([str(node.kind), node.name, describe_node(node), *findings])
    mark = "! " if findings else ""
    return (
        f'<g class="node {node.kind}{" finding" if findings else ""}" data-node={_attribute(node.id)}>'
        f"<title>{_text(full)}</title>"
        f'<rect x="{left}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="{color}"'
        f' fill-opacity="0.12" stroke="{color}" stroke-width="{2 if findings else 1}"/>'
        f'<text x="{left + 8}" y="{top + 18}">{_text(_cut(mark + node.name))}</text>'
        f'<text x="{left + 8}" y="{top + 35}" font-size="11" fill-opacity="0.75">'
        f"{_text(_cut(describe_node(node)))}</text></g>"
    )


def _messages_by_node(graph: TrustGraph) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in graph.findings:
        found.setdefault(each.node, []).append(each.message)
    return found


def _arrange(graph: TrustGraph) -> dict[NodeKind, list[TrustNode]]:
    """Return the columns; nodes are ordered by their neighbors, so that few edges cross."""
    columns: dict[NodeKind, list[TrustNode]] = {kind: [] for kind in _COLUMNS}
    for node in graph.nodes:
        columns[node.kind].append(node)
    neighbors: dict[str, list[str]] = {}
    for edge in graph.edges:
        neighbors.setdefault(edge.source, []).append(edge.target)
        neighbors.setdefault(edge.target, []).append(edge.source)
    place = {node.id: float(row) for column in columns.values() for row, node in enumerate(column)}
    for turn in range(_PASSES):
        kinds = list(columns) if turn % 2 == 0 else list(reversed(columns))
        for kind in kinds:
            columns[kind].sort(key=lambda node: _mean(place, neighbors.get(node.id), node.id))
            place |= {node.id: float(row) for row, node in enumerate(columns[kind])}
    return columns


def _mean(place: Mapping[str, float], near: Sequence[str] | None, own: str) -> float:
    return sum(place[each] for each in near) / len(near) if near else place[own]


def to_mermaid(graph: TrustGraph) -> str:
    """Write the graph as a Mermaid flowchart. Raises GraphTooLarge."""
    _check_size(graph)
    ids = {node.id: f"n{at}" for at, node in enumerate(graph.nodes)}
    findings = _messages_by_node(graph)
    lines = ["flowchart LR"]
    for kind, title in _COLUMNS.items():
        lines.append(f"  subgraph {kind}s [{title}]")
        lines += [
            f'    {ids[node.id]}["{_mermaid(node.name)}<br/>{_mermaid(describe_node(node))}"]'
            for node in graph.nodes
            if node.kind is kind
        ]
        lines.append("  end")
    trusted = {(each.source, each.target) for each in _joined_by_trust(graph)}
    for edge in graph.edges:
        source, target = ids[edge.source], ids[edge.target]
        if edge.kind is EdgeKind.ANNOTATES:
            if (edge.source, edge.target) not in trusted:
                lines.append(f"  {source} -. not trusted .-> {target}")
        elif edge.kind is EdgeKind.REACHES:
            lines.append(f'  {source} -->|"{_mermaid(_name_of(edge))}"| {target}')
        else:
            lines.append(f"  {source} --> {target}")
    if marked := [ids[node.id] for node in graph.nodes if node.id in findings]:
        lines.append(f"  classDef finding stroke:{_FINDING_COLOR},stroke-width:2px")
        lines.append(f"  class {','.join(marked)} finding")
    return "\n".join([*lines, ""])


def _check_size(graph: TrustGraph) -> None:
    if len(graph.nodes) > MAX_DRAWN_NODES:
        raise GraphTooLarge(
            f"a drawing has at most {MAX_DRAWN_NODES} nodes, and this graph has {len(graph.nodes)}"
        )


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _text(text: str) -> str:
    return escape(_printable(text))


def _attribute(text: str) -> str:
    return quoteattr(_printable(text))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 1]}…"


def _mermaid(text: str) -> str:
    """Return a text for a quoted label: every character that could be syntax becomes a code."""
    return "".join(
        char if (char.isascii() and char.isalnum()) or char in _PLAIN else f"#{ord(char)};"
        for char in _printable(text)
    )
