"""What the script tells of its commands, and what is made of it."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A command that begins, and the line of the script it stands on."""

    line: int
    words: Sequence[str]

    def __str__(self) -> str:
        return shlex.join(self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A command that has ended."""

    asked: Asked
    code: int
    out: str
    talk: str
    seconds: float = 0.0


class Headings:
    """The script's own headings: lines that begin with two hashes."""

    def __init__(self, script: str) -> None:
        self._found = [
            (number, line.removeprefix("## "))
            for number, line in enumerate(script.splitlines(), 1)
            if line.startswith("## ")
        ]

    def above(self, line: int) -> str:
        """Name the step that a line belongs to."""
        return next((text for number, text in reversed(self._found) if number <= line), "")


def tellings(texts: Iterator[str]) -> Iterator[Asked | Answered]:
    """Read what the script tells: rows of texts, as told.sh describes them."""
    asked: Asked | None = None
    for kind in texts:
        if kind == "start":
            line, count = int(next(texts)), int(next(texts))
            asked = Asked(line=line, words=[next(texts) for _ in range(count)])
            yield asked
        elif asked is not None:
            code, out, talk = int(next(texts)), next(texts), next(texts)
            yield Answered(asked=asked, code=code, out=out, talk=talk)


def problems(answers: Sequence[Answered]) -> list[str]:
    """Say what the tutorial promised and these answers do not show; nothing if it went well."""
    failed = [f"`{each.asked}` ended with {each.code}" for each in answers if each.code != 0]
    return failed or _broken_promises(answers)


def _broken_promises(answers: Sequence[Answered]) -> list[str]:
    found = []
    logs = [each.out for each in answers if list(each.asked.words[:2]) == ["kubectl", "logs"]]
    if not logs or 'secret="Hello!"' not in logs[-1]:
        found.append("the second pod's log does not show the secret")
    after = [each for each in answers if "after-it-is-off" in each.asked.words]
    if not after or after[-1].out:
        found.append("a pod made after workload identity was switched off still gets its variables")
    return found
