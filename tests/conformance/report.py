"""Read the reports of e2e.test, and format the table of a run."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.specs import Selection, SpecList, is_conformance

_TRIMMED = 700


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecResult:
    """The result of one spec.

    Units: `took` in seconds.
    """

    name: str
    passed: bool
    took: float
    message: str = ""


def read_report(path: Path) -> dict[str, SpecResult]:
    """Read the results in a JSON report of Ginkgo; a run that was killed has no report."""
    if not path.exists():
        return {}
    found = {}
    for suite in json.loads(path.read_text()):
        for spec in suite["SpecReports"] or ():
            if not _was_started(spec):
                continue
            texts = [*(spec["ContainerHierarchyTexts"] or ()), spec["LeafNodeText"]]
            name = " ".join(texts).strip()
            found[name] = SpecResult(
                name=name,
                passed=spec["State"] == "passed",
                took=spec["RunTime"] / 1e9,
                message=(spec.get("Failure") or {}).get("Message", ""),
            )
    return found


def _was_started(spec: Mapping[str, object]) -> bool:
    """Return whether a spec ran; a spec that skips itself has a failure, one that was not chosen has none."""
    is_left_out = spec["State"] in ("skipped", "pending") and not spec.get("Failure")
    return spec["LeafNodeType"] == "It" and not is_left_out


def faults(selection: Selection, results: Mapping[str, SpecResult], least_passed: int) -> list[str]:
    """Return what makes a complete run fail: specs that failed or have no result, too few that passed."""
    found = []
    for spec in selection.run:
        result = results.get(spec)
        if result is None:
            found.append(f"NO RESULT: {spec}")
        elif not result.passed:
            found.append(f"FAILED: {spec}\n    {_trim(result.message)}")
    passed = sum(result.passed for result in results.values())
    if passed < least_passed:
        found.append(f"{passed} specs passed, at least {least_passed} must")
    return found


def _trim(message: str) -> str:
    return " ".join(message.split())[:_TRIMMED]


def table(
    selection: Selection,
    results: Mapping[str, SpecResult],
    unsteady: Iterable[str],
    spec_list: SpecList,
) -> str:
    """Format a run: passed, failed, and the specs that did not run by cause."""
    listed = [*selection.run, *itertools.chain.from_iterable(selection.not_run.values())]
    conformance = [*filter(is_conformance, listed)]
    others = [*itertools.filterfalse(is_conformance, listed)]
    passed = {name for name, result in results.items() if result.passed}
    repeated = list(unsteady)
    rows = [
        (
            "passed: conformance specs",
            len(passed.intersection(conformance)),
            _share(conformance, passed),
        ),
        ("passed: other specs", len(passed.intersection(others)), _share(others, passed)),
        ("failed", sum(not result.passed for result in results.values()), ""),
        ("no result", len(set(selection.run) - set(results)), ""),
    ]
    why = {cause.name: cause.why for cause in spec_list.causes}
    rows += [
        (f"not run: {cause}", len(specs), why[cause])
        for cause, specs in sorted(selection.not_run.items(), key=lambda each: -len(each[1]))
    ]
    rows.append(("all specs", len(listed), ""))
    width = max(len(row[0]) for row in rows)
    lines = [f"{name:<{width}}  {number:>4}  {text}".rstrip() for name, number, text in rows]
    lines += [f"UNSTEADY, failed and then passed alone: {each}" for each in repeated]
    return "\n".join(lines)


def _share(specs: Sequence[str], passed: set[str]) -> str:
    return f"of {len(specs)} ({len(passed.intersection(specs)) / max(len(specs), 1):.0%})"
