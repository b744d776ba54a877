"""Explain a refused or skipped hop: its cause, and what fixes it. Pure."""

from podpass.diagnose.explain.recognition import ErrorExplanation, explain_recognition, recognize
from podpass.diagnose.trace.hop import Hop, HopResult


def explain_hop(hop: Hop) -> ErrorExplanation | None:
    """Return cause and fix of a hop that is refused or skipped; None for another hop."""
    if hop.result not in (HopResult.REFUSED, HopResult.SKIPPED):
        return None
    cause, fix = hop.cause, hop.fact("fix")
    if fix:
        # Some messages end with their fix, because the client prints nothing else.
        first = cause.splitlines()[0].replace(fix, "").strip() if cause else ""
        return ErrorExplanation(cause=first, fix=fix)
    found = explain_recognition(recognize(f"{hop.outcome} {hop.code}: {cause}"))
    if found is None:
        return ErrorExplanation(cause=cause)
    return ErrorExplanation(cause=cause or found.meaning, meaning=found.meaning, fix=found.fix)
