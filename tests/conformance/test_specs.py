"""The selection of conformance specs, and what makes a run of them fail."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.conformance import instance
from tests.conformance.report import SpecResult, faults, read_report, table
from tests.conformance.runner import divide
from tests.conformance.specs import (
    Cause,
    ListIsWrong,
    SpecList,
    is_serial,
    parse_list,
    read_spec_list,
    select,
)

A, B, C = (f"[sig-x] {name} works [Conformance]" for name in ("A", "B", "C"))
LIST = f"""The following spec names can be used:
    /src/x.go:1: {B}
    /src/x.go:2: [sig-x] D is no conformance test
    /src/y.go:3: {A}
    /src/y.go:4: {C}
    /src/y.go:5: [sig-x] D is slow [Slow]
"""


def cause(*names: str) -> Cause:
    return Cause(name="cause", why="why", names=names)


def result(name: str, *, passed: bool = True) -> SpecResult:
    return SpecResult(name=name, passed=passed, took=1, message="the  message")


def test_conformance_specs_are_read_from_the_list() -> None:
    assert parse_list(LIST) == [A, B, C]
    assert parse_list(LIST, ["[sig-x] D is"]) == [A, B, C, "[sig-x] D is no conformance test"]
    with pytest.raises(ListIsWrong):
        parse_list(LIST, ["[sig-x] D is slow"])


def test_spec_listed_under_a_cause_is_not_run() -> None:
    selection = select([A, B, C], [cause("[sig-x] B "), cause(C)])
    assert selection.run == (A,)
    assert set(selection.not_run["cause"]) == {C}


@pytest.mark.parametrize("names", [("[sig-x] E",), (A, "[sig-x] A ")], ids=["unknown", "twice"])
def test_list_entry_that_is_unknown_or_duplicate_is_an_error(names: tuple[str, ...]) -> None:
    with pytest.raises(ListIsWrong):
        select([A, B, C], [cause(*names)])


def test_every_cause_in_the_list_has_a_reason_and_spec_names() -> None:
    """The names themselves are checked by each run: only e2e.test knows them."""
    spec_list = read_spec_list()
    assert spec_list.least_passed > 100
    assert all(each.why and each.names for each in spec_list.causes)
    assert len({each.name for each in spec_list.causes}) == len(spec_list.causes)
    assert all(name.startswith("[sig-") for each in spec_list.causes for name in each.names)


def test_run_fails_for_a_failed_or_missing_spec_or_too_few_passed_specs() -> None:
    selection = select([A, B, C], [])
    passed = {name: result(name) for name in (A, B, C)}
    assert faults(selection, passed, 3) == []
    assert faults(selection, passed, 4) == ["3 specs passed, at least 4 must"]
    failed, missing = faults(selection, {A: result(A), B: result(B, passed=False)}, 1)
    assert failed == f"FAILED: {B}\n    the message"
    assert missing == f"NO RESULT: {C}"


def test_table_counts_conformance_specs_other_specs_and_those_of_each_cause() -> None:
    causes, other = [cause(C)], "[sig-x] D is no conformance test"
    found = table(
        select([A, B, C, other], causes),
        {name: result(name) for name in (A, other)},
        [B],
        SpecList(least_passed=1, others=(), causes=tuple(causes)),
    )
    assert [" ".join(line.split()) for line in found.splitlines()] == [
        *("passed: conformance specs 1 of 3 (33%)", "passed: other specs 1 of 1 (100%)"),
        *("failed 0", "no result 1", "not run: cause 1 why"),
        *("all specs 4", f"UNSTEADY, failed and then passed alone: {B}"),
    ]


def test_report_has_specs_that_ran_or_skipped_themselves(tmp_path: Path) -> None:
    def spec(name: str, state: str, **more: object) -> dict[str, object]:
        return {
            "LeafNodeType": "It",
            "LeafNodeText": f"{name} works [Conformance]",
            "ContainerHierarchyTexts": ["[sig-x]"],
            "State": state,
            "RunTime": 2e9,
            **more,
        }

    specs = [
        spec(
            "A",
            "passed",
            ContainerHierarchyTexts=["[sig-x]"],
            LeafNodeText="A works [Conformance] ",
        ),
        spec("B", "skipped", Failure={"Message": "not here"}),
        spec("C", "skipped"),
        spec("D", "passed") | {"LeafNodeType": "BeforeSuite"},
    ]
    path = tmp_path / "report.json"
    path.write_text(json.dumps([{"SpecReports": specs}]))
    found = read_report(path)
    assert {name: each.passed for name, each in found.items()} == {A: True, B: False}
    assert found[A].took == 2
    assert read_report(tmp_path / "none") == {}


def test_spec_that_relies_on_a_missing_file_runs_in_a_cluster_of_its_own() -> None:
    spec = "[sig-node] Probing container should override timeoutGracePeriodSeconds when StartupProbe field"
    assert [is_serial(each) for each in (spec, f"{A} [Serial]", B)] == [True, True, False]


def test_specs_that_share_a_port_run_in_one_process() -> None:
    hooks = [f"[sig-api-machinery] AdmissionWebhook {at}" for at in range(3)]
    assert divide([*hooks, A, B, C], 2) == [hooks, [A, C], [B]]


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_instance_of_a_checkout_in_the_temporary_folder_sees_its_programs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fails if the empty /tmp of the pods covers the program of the instance itself."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        checkout, logs, agnhost, other = (
            Path(name, each) for each in ("a", "b", "agnhost", "other")
        )
        checkout.mkdir()
        logs.mkdir()
        files = [checkout / "program", agnhost, other]
        for path in files:
            path.write_text(path.name)
        monkeypatch.setattr(instance, "_CHECKOUT", checkout)
        prefix = instance._with_files({"/agnhost": agnhost}, logs)
        shown = subprocess.run([*prefix, "cat", *files], capture_output=True, check=False)
    assert shown.stdout == b"programagnhost"
