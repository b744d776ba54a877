"""Find known sentences in any text: errors of SDKs, Kubernetes, the webhook, Azure's resources. Pure.

The work is linear in the length of the text: each sentence has fixed words that are searched once, and a
bounded number of places is examined for the words near them.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from podpass import guids
from podpass.diagnose.explain.sentences import SENTENCES, Sentence
from podpass.diagnose.explain.text import clean_lines
from podpass.exchange.errors import explanations as codes

MAX_PLACES = 20
_NEAR_CHARS = 300
_EXCERPT_CHARS = 200
_BEFORE_CHARS = 300  # almost every message of an SDK begins within this distance
_PLACEHOLDER = re.compile(r"\b[A-Z]+(?:_ID)?\b")
_CALLER = re.compile(rf"\bCaller: appid=[^;\s]{{1,64}};oid=({guids.PATTERN})", re.IGNORECASE)
_VAULT = re.compile(
    r"\bResource: '(/subscriptions/[\w-]{1,64}/resourcegroups/[\w().-]{1,90}"
    r"/providers/microsoft\.keyvault/vaults/([\w-]{1,24}))",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecognizedError:
    """A sentence that a text contains: where it begins in the clean text, and its words there."""

    sentence: Sentence
    position: int
    excerpt: str

    def fill(self, values: Mapping[str, str]) -> "RecognizedError":
        """Return the error with the known values instead of placeholders of its command, such as POD."""
        run = _PLACEHOLDER.sub(lambda found: values.get(found[0], found[0]), self.sentence.run)
        return replace(self, sentence=replace(self.sentence, run=run))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """What a text contains.

    `findings` in the order of their causes: those that name a cause before those that only repeat the failure
    of another; `numbers`, `facts` and `messages` as in ParsedError. `values` replace the placeholders of
    commands, such as PRINCIPAL_ID.
    """

    numbers: tuple[int, ...]
    facts: Mapping[str, str]
    findings: tuple[RecognizedError, ...]
    messages: Mapping[int, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)


def recognize(text: str) -> Recognition:
    """Find AADSTS codes and known sentences in a text."""
    lines = clean_lines(text)
    cleaned = " ".join(lines)
    starts = [0, *accumulate(len(line) + 1 for line in lines)]
    parsed = codes.parse_error_text(cleaned)
    found = find_sentences(cleaned, starts)
    hidden = {name for each in found for name in each.sentence.hides}
    shown = [each for each in found if each.sentence.id not in hidden]
    # The sentences around a cause only repeat that there is no token.
    if parsed.numbers or any(not each.sentence.is_summary for each in shown):
        shown = [each for each in shown if not each.sentence.is_summary]
    shown.sort(key=lambda each: each.position)
    return Recognition(
        numbers=parsed.numbers,
        facts=parsed.facts,
        findings=tuple(shown),
        messages=parsed.messages,
        values=_find_values(cleaned),
    )


def recognize_last(log: str) -> Recognition:
    """Find the last error of a log: from its last AADSTS code on, if it has one."""
    return recognize(log[max(0, log.rfind("\n", 0, max(0, log.rfind("AADSTS")))) :])


def _find_values(text: str) -> dict[str, str]:
    """Return the values of placeholders that Key Vault's refusal names."""
    found = {}
    if caller := _CALLER.search(text):
        found["PRINCIPAL_ID"] = caller[1]
    if vault := _VAULT.search(text):
        found |= {"VAULT_ID": vault[1], "VAULT": vault[2]}
    return found


def find_sentences(text: str, starts: Sequence[int]) -> list[RecognizedError]:
    """Find the known sentences in a clean text.

    `starts` are the positions of its lines, and the position after the last one.
    """
    found = (_find(sentence, text, starts) for sentence in SENTENCES)
    return [each for each in found if each is not None]


def _find(sentence: Sentence, text: str, starts: Sequence[int]) -> RecognizedError | None:
    found = (_find_words(words, sentence.near, text) for words in sentence.words)
    first = min(filter(None, found), default=None)
    if first is None:
        return None
    at, size = first
    # Other lines of a log can contain anything, also a secret that a program printed.
    line_begin = starts[bisect_right(starts, at) - 1]
    line_end = starts[bisect_right(starts, at + size - 1)]
    begin, end = line_begin, min(line_end, at + max(size, _EXCERPT_CHARS))
    if begin < at - _BEFORE_CHARS:  # at the beginning of a word
        begin = max(text.find(" ", at - _BEFORE_CHARS - 1, at) + 1, at - _BEFORE_CHARS)
    if end < line_end:
        end = max(text.rfind(" ", at + size, end + 1), at + size)
    excerpt = text[begin:end].strip().lstrip(":;,) ")
    cut = "..." if begin > line_begin else ""
    more = "..." if end < line_end else ""
    return RecognizedError(sentence=sentence, position=at, excerpt=f"{cut}{excerpt}{more}")


def _find_words(words: str, near: tuple[str, ...], text: str) -> tuple[int, int] | None:
    """Return place and length of fixed words that have one of the words `near` them."""
    at = -1
    for _ in range(MAX_PLACES):
        at = text.find(words, at + 1)
        if at < 0:
            return None
        around = text[max(0, at - _NEAR_CHARS) : at + len(words) + _NEAR_CHARS]
        if not near or any(each in around for each in near):
            return at, len(words)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorExplanation:
    """The cause of a refusal, and its fix; each may be empty.

    `cause` is what the stage logged; `meaning` is the usual cause of the error.
    """

    cause: str
    meaning: str = ""
    fix: str = ""


def explain_recognition(
    found: Recognition, values: Mapping[str, str] | None = None
) -> ErrorExplanation | None:
    """Return the first error of a text, what it means and what fixes it; None if nothing is known.

    `values` replace placeholders of commands, such as POD. Those of the text do not: a pod writes its own
    log, and could choose who gets a role.
    """
    for number in found.numbers:
        if known := codes.find_explanation(number, found.messages.get(number, "")):
            said = ": ".join(filter(None, (known.name, found.messages.get(number))))
            return ErrorExplanation(cause=said, meaning=known.cause, fix=f"{known.resolution}.")
    if not found.findings:
        return None
    first = found.findings[0].fill(values or {})
    fix, meaning = f"{first.sentence.run}.", f"{first.sentence.means}."
    return ErrorExplanation(cause=first.excerpt, meaning=meaning, fix=fix)
