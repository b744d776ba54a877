"""Explain a refused or skipped hop: its cause, and what fixes it. Pure."""

from dataclasses import dataclass

from podpass.exchange.errors import explain as codes
from podpass.explain.recognition import recognize
from podpass.trace.hop import Hop, HopResult


@dataclass(frozen=True, slots=True, kw_only=True)
class HopExplanation:
    """The cause of a refusal, and its fix; each may be empty.

    Shapes:  `cause` is what the stage logged; `meaning` is the usual cause of the error.
    """

    cause: str
    meaning: str = ""
    fix: str = ""


def explain_hop(hop: Hop) -> HopExplanation | None:
    """Return cause and fix of a hop that is refused or skipped; None for another hop."""
    if hop.result not in (HopResult.REFUSED, HopResult.SKIPPED):
        return None
    cause, fix = hop.cause, hop.fact("fix")
    if fix:
        # Some messages end with their fix, because the client prints nothing else.
        first = cause.splitlines()[0].replace(fix, "").strip() if cause else ""
        return HopExplanation(cause=first, fix=fix)
    numbers = codes.parse_error_text(f"{hop.code} {cause}").numbers
    known = next(filter(None, map(codes.find_explanation, numbers)), None)
    if known is not None:
        return HopExplanation(
            cause=cause or known.cause, meaning=known.cause, fix=f"{known.resolution}."
        )
    found = recognize(f"{hop.outcome} {cause}").findings
    if not found:
        return HopExplanation(cause=cause)
    sentence = found[0].sentence
    return HopExplanation(cause=cause, meaning=f"{sentence.means}.", fix=f"{sentence.run}.")
