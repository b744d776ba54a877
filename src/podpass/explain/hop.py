"""Explain a refused or skipped hop: its cause, and what fixes it. Pure."""

from dataclasses import dataclass

from podpass.exchange.errors import explain as codes
from podpass.explain.recognition import recognize
from podpass.trace.hop import Hop, HopResult


@dataclass(frozen=True, slots=True)
class HopExplanation:
    """The cause of a refusal, and its fix; both may be empty."""

    cause: str
    fix: str


def explain_hop(hop: Hop) -> HopExplanation | None:
    """Return cause and fix of a hop that is refused or skipped; None for another hop."""
    if hop.result not in (HopResult.REFUSED, HopResult.SKIPPED):
        return None
    cause, fix = hop.cause, hop.fact("fix")
    if fix:
        return HopExplanation(cause.splitlines()[0] if cause else "", fix)
    numbers = codes.parse_error_text(f"{hop.code} {cause}").numbers
    known = next(filter(None, map(codes.find_explanation, numbers)), None)
    if known is not None:
        return HopExplanation(cause or known.cause, f"{known.resolution}.")
    found = recognize(f"{hop.outcome} {cause}").findings
    return HopExplanation(cause, found[0].sentence.run if found else "")
