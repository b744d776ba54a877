"""The known sentences, from `sentences.toml`: the fixed words of each, what they mean, and what to run."""

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any


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


def _read() -> tuple[Sentence, ...]:
    rows: list[dict[str, Any]] = tomllib.loads(
        resources.files(__package__).joinpath("sentences.toml").read_text("utf-8")
    )["sentence"]
    lists = ("words", "near", "hides")
    return tuple(
        Sentence(**row | {name: tuple(row.get(name, ())) for name in lists}) for row in rows
    )


SENTENCES = _read()
