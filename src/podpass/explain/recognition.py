"""Find known sentences in any text: errors of SDKs, Kubernetes, the webhook, Azure's resources. Pure.

The work is linear in the length of the text: each sentence has fixed words that are searched once, and a
bounded number of places is examined for the words near them.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from podpass.exchange.errors import explain as codes
from podpass.explain.sentence import Sentence
from podpass.explain.sentences import SENTENCES
from podpass.explain.text import clean_lines

MAX_PLACES = 20
_NEAR_CHARS = 300
_EXCERPT_CHARS = 200
_BEFORE_CHARS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class RecognizedError:
    """A sentence that a text contains: where it begins in the clean text, and its words there."""

    sentence: Sentence
    position: int
    excerpt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """What a text contains.

    Shapes:  `findings` in the order of their causes: those that name a cause before those that only repeat
             the failure of another; `numbers` and `facts` as in ParsedError.
    """

    numbers: tuple[int, ...]
    facts: Mapping[str, str]
    findings: tuple[RecognizedError, ...]


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
    return Recognition(numbers=parsed.numbers, facts=parsed.facts, findings=tuple(shown))


def find_sentences(text: str, starts: Sequence[int]) -> list[RecognizedError]:
    """Find the known sentences in a clean text.

    Shapes:  `starts` are the positions of its lines, and the position after the last one.
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
    begin = max(starts[bisect_right(starts, at) - 1], at - _BEFORE_CHARS)
    line_end = starts[bisect_right(starts, at + size - 1)]
    excerpt = text[begin : min(line_end, at + max(size, _EXCERPT_CHARS))].strip().lstrip(":;,) ")
    return RecognizedError(sentence=sentence, position=at, excerpt=excerpt)


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
