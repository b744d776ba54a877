"""The specs of Kubernetes' end-to-end tests: which run here, and why each of the others does not.

These are all conformance specs, and other specs about what is served here. `specs.toml` names the others. It
has an entry for each cause why specs do not run, with the names of specs, or the beginnings of names.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SPECS = Path(__file__).with_name("specs.toml")
_MARK = "[Conformance]"
# It fails once another spec has written /tmp/startup: pods of one instance share /tmp.
_NEEDS_OWN_FILES = (
    "[sig-apps] StatefulSet ",  # some move the page that the pods of all serve
    "[sig-node] Probing container should override timeoutGracePeriodSeconds when StartupProbe ",
)
# Specs of optional features, and specs that are slow or disturb others, run only as conformance specs.
_UNUSUAL = ("[Feature", "[Alpha]", "[Beta]", "[Disruptive]", "[Flaky]", "[Slow]", "[Serial]")


class ListIsWrong(Exception):
    """`specs.toml` does not match the specs; the message names the entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One reason why specs do not run; `names` are names of specs, or their beginnings."""

    name: str
    why: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecList:
    """The content of `specs.toml`.

    `least_passed` is the minimum number of specs that must pass; `others` are names, or their beginnings, of
    specs that are no conformance specs.
    """

    least_passed: int
    others: tuple[str, ...]
    causes: tuple[Cause, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """All conformance specs: those to run, and the others by cause."""

    run: tuple[str, ...]
    not_run: Mapping[str, tuple[str, ...]]


def is_serial(spec: str) -> bool:
    """Return whether a spec needs a cluster of its own: it changes nodes, or relies on what is absent."""
    return "[Serial]" in spec or spec.startswith(_NEEDS_OWN_FILES)


def is_conformance(spec: str) -> bool:
    """Return whether a spec is one of Kubernetes' conformance specs, which every cluster must pass."""
    return _MARK in spec


def parse_list(output: str, others: Sequence[str] = ()) -> list[str]:
    """Return the conformance specs and the others in the output of `e2e.test -list-tests`, sorted.

    A line is a source file, a line number and the name; names begin with `[sig-`. Raises ListIsWrong for a
    beginning of others that no spec has.
    """
    names = {line[at:].strip() for line in output.splitlines() if (at := line.find("[sig-")) >= 0}
    usual = [name for name in names if not any(mark in name for mark in _UNUSUAL)]
    found = {*filter(is_conformance, names)}
    for beginning in others:
        more = {name for name in usual if name.startswith(beginning)} - found
        if not more:
            raise ListIsWrong(f"no other spec begins with {beginning!r}")
        found |= more
    return sorted(found)


def read_spec_list(path: Path = SPECS) -> SpecList:
    """Read the causes, in the order of the file."""
    read = tomllib.loads(path.read_text())
    causes = tuple(
        Cause(name=each["name"], why=each["why"], names=tuple(each["specs"]))
        for each in read["cause"]
    )
    return SpecList(least_passed=read["least_passed"], others=tuple(read["others"]), causes=causes)


def select(specs: Sequence[str], causes: Iterable[Cause]) -> Selection:
    """Divide the specs into those to run and those that do not run.

    Raises ListIsWrong for an entry that matches no spec, and for a spec with two causes.
    """
    found: dict[str, str] = {}
    not_run: dict[str, tuple[str, ...]] = {}
    for cause in causes:
        matched: list[str] = []
        for beginning in cause.names:
            hits = [spec for spec in specs if spec.startswith(beginning)]
            if not hits:
                raise ListIsWrong(f"{cause.name}: no spec begins with {beginning!r}")
            for spec in hits:
                if other := found.get(spec):
                    raise ListIsWrong(f"{spec!r} is listed twice: {other}, {cause.name}")
                found[spec] = cause.name
            matched += hits
        not_run[cause.name] = tuple(matched)
    return Selection(run=tuple(spec for spec in specs if spec not in found), not_run=not_run)
