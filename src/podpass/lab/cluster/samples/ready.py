"""Decide whether a sample can run, from the tools and builds on this machine."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from podpass.lab.cluster.samples.model import Readiness, Sample, Tool


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleLookup:
    """The installed tools and builds of one sample.

    `built` is its complete build folder; `sources` and `python` are set if this Python has all modules of the
    sample.
    """

    built: Path | None
    sources: Path | None = None
    python: str = ""


def decide_readiness(sample: Sample, found: SampleLookup, has: Callable[[str], bool]) -> Readiness:
    """Return the command of a sample, or the reason why it cannot run and the resolution.

    `has` returns whether a program is installed.
    """
    if found.built is not None:
        command = tuple(word.replace("{built}", str(found.built)) for word in sample.run)
        return _with_missing_tools(command, _filter_missing(sample.run_tools, has))
    if found.sources is not None:
        return Readiness(command=(found.python, str(found.sources / "main.py")))
    if missing := missing_tools(sample, has):
        return _with_missing_tools((), missing)
    return Readiness(
        command=(),
        why="it is not built yet",
        todo=f"start a pod with this image, or: podpass image prepare {sample.name}",
        buildable=True,
    )


def missing_tools(sample: Sample, has: Callable[[str], bool]) -> list[Tool]:
    """Return the missing tools of the build and of the run."""
    return _filter_missing((*sample.build_tools, *sample.run_tools), has)


def _filter_missing(tools: Iterable[Tool], has: Callable[[str], bool]) -> list[Tool]:
    return [tool for tool in dict.fromkeys(tools) if not has(tool.program)]


def _with_missing_tools(command: tuple[str, ...], missing: list[Tool]) -> Readiness:
    if not missing:
        return Readiness(command=command)
    names = " and ".join(tool.program for tool in missing)
    verb = "is" if len(missing) == 1 else "are"
    todo = ", ".join(tool.get for tool in missing)
    return Readiness(command=command, why=f"{names} {verb} not on the PATH", todo=todo)
