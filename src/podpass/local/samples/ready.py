"""Whether a sample can run, decided from what was looked up on the machine."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from podpass.local.samples.model import Readiness, Sample, Tool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was looked up for one sample.

    Shapes:  `built` is its built folder if that is whole; `sources` and `python` if this Python has all
             modules that it imports.
    """

    built: Path | None
    sources: Path | None = None
    python: str = ""


def judge(sample: Sample, found: Found, has: Callable[[str], bool]) -> Readiness:
    """Decide how a sample runs, or say why it cannot and what would help.

    Shapes:  `has` tells whether a program is there.
    """
    if found.built is not None:
        command = tuple(word.replace("{built}", str(found.built)) for word in sample.run)
        return _unless(command, _missing(sample.run_tools, has), "")
    if found.sources is not None:
        return Readiness(command=(found.python, str(found.sources / "main.py")))
    lacking = _missing((*sample.build_tools, *sample.run_tools), has)
    prepare = f"podpass image prepare {sample.name}"
    if not lacking:
        return Readiness(command=(), why="it is not prepared yet", todo=prepare)
    return _unless((), lacking, f"; then: {prepare}")


def missing(sample: Sample, has: Callable[[str], bool]) -> list[Tool]:
    """Name the tools that a build lacks, and those without which it would be of no use."""
    return _missing((*sample.build_tools, *sample.run_tools), has)


def _missing(tools: Iterable[Tool], has: Callable[[str], bool]) -> list[Tool]:
    return [tool for tool in dict.fromkeys(tools) if not has(tool.program)]


def _unless(command: tuple[str, ...], lacking: list[Tool], then: str) -> Readiness:
    if not lacking:
        return Readiness(command=command)
    names = " and ".join(tool.program for tool in lacking)
    verb = "is" if len(lacking) == 1 else "are"
    todo = ", ".join(tool.get for tool in lacking)
    return Readiness(command=command, why=f"{names} {verb} not on the PATH", todo=todo + then)
