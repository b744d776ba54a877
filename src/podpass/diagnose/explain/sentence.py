"""One known error."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One known error.

    `words` are alternatives, each found exactly as written; `near` are words of which one must be in the same
    part of the text. `is_summary` if it only repeats the failure of another step; `hides` are ids of
    sentences that say less.
    """

    id: str
    stage: str
    words: tuple[str, ...]
    means: str
    run: str
    near: tuple[str, ...] = ()
    is_summary: bool = False
    hides: tuple[str, ...] = ()
