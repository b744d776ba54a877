"""Events of the tutorial script, and the check of its results."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

TUTORIAL, MIGRATE, CONNECT = "tutorial", "migrate", "connect"
# Workloads of the migration, in the order of their logs, and whether they read the secret then.
_MIGRATION = [
    ("web", False),
    ("legacy", False),
    ("web", True),
    ("web", True),
    ("web", False),
    ("web", True),
    ("legacy", True),
    ("legacy", True),
]


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


def find_problems(results: Sequence[CommandEnded], name: str = TUTORIAL) -> list[str]:
    """Return failed commands and missing results of a script; empty if it succeeded."""
    failed = [
        f"`{each.command}` exited with {each.code}"
        for each in results
        if each.code not in _accepted_codes(each.command)
    ]
    return failed or _CHECKS[name](results)


def _accepted_codes(command: CommandStarted) -> Sequence[int]:
    """Return the exit codes that count as success; a scan reports its result as an exit code."""
    return (0, 3, 4) if list(command.words[:3]) == ["podpass", "migrate", "scan"] else (0,)


def _missing_results(results: Sequence[CommandEnded]) -> list[str]:
    found = []
    logs = [each.out for each in results if list(each.command.words[:2]) == ["kubectl", "logs"]]
    if not logs or 'secret="Hello!"' not in logs[-1]:
        found.append("the log of the second pod does not contain the secret")
    after = [each for each in results if "after-it-is-off" in each.command.words]
    if not after or after[-1].out:
        found.append("a pod created after workload identity was disabled still has its variables")
    return found


def _missing_migration_results(results: Sequence[CommandEnded]) -> list[str]:
    """Check the order of the logs: without a token, each way with one, and the rollback without."""
    logs = [
        (each.command.words[2].removeprefix("pod/").split("-")[0], each.out.splitlines()[-1:])
        for each in results
        if list(each.command.words[:2]) == ["kubectl", "logs"] and "app" in each.command.words
    ]
    secrets = [(name, line == ["secret: Hello!"]) for name, line in logs]
    found = [] if secrets == _MIGRATION else [f"the workloads read the secret as {secrets}"]
    left = [each for each in results if "aadpodidbinding" in each.command.words]
    if not left or left[-1].out:
        found.append("a pod still has the label of pod identity")
    return found


def _missing_connection_results(results: Sequence[CommandEnded]) -> list[str]:
    """Check the log of the pod, and that every check of the connection succeeded."""
    found = []
    logs = [each.out for each in results if list(each.command.words[:2]) == ["kubectl", "logs"]]
    if not logs or logs[-1].strip() != "secret: Hello!":
        found.append("the log of the pod does not contain the secret")
    validated = [each.out for each in results if "validate" in each.command.words]
    if not validated or '"success"' not in validated[-1] or '"failure"' in validated[-1]:
        found.append("a check of the connection failed")
    return found


_CHECKS = {
    TUTORIAL: _missing_results,
    MIGRATE: _missing_migration_results,
    CONNECT: _missing_connection_results,
}
