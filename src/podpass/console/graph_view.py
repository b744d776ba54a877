"""What the console shows of the trust graph."""

import hashlib

from podpass.console.model import TrustGraphView
from podpass.trust_graph.drawing import to_svg
from podpass.trust_graph.graph import build_graph
from podpass.trust_graph.model import TrustFacts


def describe(facts: TrustFacts) -> TrustGraphView:
    """Return the graph as an image, and its edges and findings as text.

    Errors:  GraphTooLarge.
    """
    found = build_graph(facts)
    svg = to_svg(found)
    names = {node.id: node.name for node in found.nodes}
    return TrustGraphView(
        svg=svg,
        version=hashlib.sha256(svg.encode("utf-8", "replace")).hexdigest()[:16],
        unread=found.unread,
        edges=[
            {"source": names[one.source], "kind": str(one.kind), "target": names[one.target]}
            for one in found.edges
        ],
        findings=[
            {"text": f"{one.object}: {one.message}", "fix": one.fix} for one in found.findings
        ],
    )
