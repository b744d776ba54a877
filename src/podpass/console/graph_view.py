"""What the console shows of the trust graph."""

import hashlib

from podpass.console.model import TrustGraphView
from podpass.diagnose.graph.drawing import to_svg
from podpass.diagnose.graph.graph import build_graph
from podpass.diagnose.graph.model import TrustFacts
from podpass.diagnose.graph.report import describe_paths


def describe(facts: TrustFacts) -> TrustGraphView:
    """Return the graph as an image, and its paths and findings as text. Raises GraphTooLarge."""
    found = build_graph(facts)
    svg = to_svg(found)
    return TrustGraphView(
        svg=svg,
        version=hashlib.sha256(svg.encode("utf-8", "replace")).hexdigest()[:16],
        unread=found.unread,
        lines=[(line.indent, line.text) for line in describe_paths(found) if line.text],
        findings=[
            {"text": f"{one.object}: {one.message}", "note": one.note, "command": one.command}
            for one in found.findings
        ],
    )
