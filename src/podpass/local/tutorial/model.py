"""Events of the tutorial script, and the check of its results."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandStarted:
    """A command that has started, and its line in the script."""

    line: int
    words: Sequence[str]

    def __str__(self) -> str:
        return shlex.join(self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEnded:
    """A command that has ended, with its output."""

    command: CommandStarted
    code: int
    out: str
    err: str
    seconds: float = 0.0


class Headings:
    """The headings of the script: lines that begin with two hashes."""

    def __init__(self, script: str) -> None:
        self._found = [
            (number, line.removeprefix("## "))
            for number, line in enumerate(script.splitlines(), 1)
            if line.startswith("## ")
        ]

    def heading_of(self, line: int) -> str:
        """Return the heading above a line."""
        return next((text for number, text in reversed(self._found) if number <= line), "")


def parse_events(texts: Iterator[str]) -> Iterator[CommandStarted | CommandEnded]:
    """Parse the events that the script writes; record.sh describes the format."""
    command: CommandStarted | None = None
    for kind in texts:
        if kind == "start":
            line, count = int(next(texts)), int(next(texts))
            command = CommandStarted(line=line, words=[next(texts) for _ in range(count)])
            yield command
        elif command is not None:
            code, out, err = int(next(texts)), next(texts), next(texts)
            yield CommandEnded(command=command, code=code, out=out, err=err)


def find_problems(results: Sequence[CommandEnded]) -> list[str]:
    """Return failed commands and missing results; empty if the tutorial succeeded."""
    failed = [f"`{each.command}` exited with {each.code}" for each in results if each.code != 0]
    return failed or _missing_results(results)


def _missing_results(results: Sequence[CommandEnded]) -> list[str]:
    found = []
    logs = [each.out for each in results if list(each.command.words[:2]) == ["kubectl", "logs"]]
    if not logs or 'secret="Hello!"' not in logs[-1]:
        found.append("the log of the second pod does not contain the secret")
    after = [each for each in results if "after-it-is-off" in each.command.words]
    if not after or after[-1].out:
        found.append("a pod created after workload identity was disabled still has its variables")
    return found
