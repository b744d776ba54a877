"""Explain a refused or skipped hop: its cause, and what fixes it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from podpass.diagnose.explain.recognition import Recognition, recognize
from podpass.diagnose.trace.hop import Hop, HopResult
from podpass.exchange.errors import explain as codes


@dataclass(frozen=True, slots=True, kw_only=True)
class HopExplanation:
    """The cause of a refusal, and its fix; each may be empty.

    `cause` is what the stage logged; `meaning` is the usual cause of the error.
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
    found = explain_recognition(recognize(f"{hop.outcome} {hop.code}: {cause}"))
    if found is None:
        return HopExplanation(cause=cause)
    return HopExplanation(cause=cause or found.meaning, meaning=found.meaning, fix=found.fix)


def explain_recognition(
    found: Recognition, values: Mapping[str, str] | None = None
) -> HopExplanation | None:
    """Return the first error of a text, what it means and what fixes it; None if nothing is known.

    `values` replace placeholders of commands, such as POD. Those of the text do not: a pod writes its own
    log, and could choose who gets a role.
    """
    for number in found.numbers:
        if known := codes.find_explanation(number, found.messages.get(number, "")):
            said = ": ".join(filter(None, (known.name, found.messages.get(number))))
            return HopExplanation(cause=said, meaning=known.cause, fix=f"{known.resolution}.")
    if not found.findings:
        return None
    first = found.findings[0].fill(values or {})
    fix, meaning = f"{first.sentence.run}.", f"{first.sentence.means}."
    return HopExplanation(cause=first.excerpt, meaning=meaning, fix=fix)
