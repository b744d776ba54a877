"""`podpass doctor`: its output, and its exit codes."""

import json
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner

from podpass.cli import doctor
from podpass.cli.commands import cli
from podpass.diagnose.doctor.model import Diagnosis, Finding, NotChecked, Stage

_FINDING = Finding(
    check="label-missing",
    stage=Stage.ACCOUNT,
    object="pod n/web",
    message="the pod has no label",
    fix="kubectl patch deployment web -n n -p '{\"spec\":{}}'",
)


def _not_checked(*, optional: bool) -> NotChecked:
    return NotChecked(
        check="token-expired", stage=Stage.ASSERTION, reason="no shell", optional=optional
    )


@pytest.mark.parametrize(
    ("diagnosis", "code"),
    [
        (Diagnosis(workload="pod n/web"), 0),
        (Diagnosis(workload="pod n/web", not_checked=[_not_checked(optional=True)]), 0),
        (Diagnosis(workload="pod n/web", not_checked=[_not_checked(optional=False)]), 3),
        (
            Diagnosis(
                workload="pod n/web",
                findings=[_FINDING],
                not_checked=[_not_checked(optional=False)],
            ),
            1,
        ),
    ],
    ids=["healthy", "image without a shell", "unread", "wrong"],
)
def test_exit_code_follows_the_result(
    monkeypatch: pytest.MonkeyPatch, diagnosis: Diagnosis, code: int
) -> None:
    done = _run(monkeypatch, diagnosis, "-o", "json")
    assert done.return_value == code
    [shown] = json.loads(done.stdout)["workloads"]
    assert shown["healthy"] is (not diagnosis.findings)
    assert shown["workload"] == "pod n/web"


def _run(
    monkeypatch: pytest.MonkeyPatch, diagnosis: Diagnosis | list[Diagnosis], *arguments: str
) -> Any:
    async def found(*_: object) -> list[Diagnosis]:
        return diagnosis if isinstance(diagnosis, list) else [diagnosis]

    monkeypatch.setattr(doctor, "_diagnose", found)
    return CliRunner().invoke(
        cli, ["doctor", "web", *arguments], standalone_mode=False, catch_exceptions=False
    )


def test_text_names_stage_check_object_and_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    diagnosis = Diagnosis(
        workload="pod n/web",
        findings=[_FINDING],
        not_checked=[_not_checked(optional=True)],
        passed=["pod-missing"],
    )
    assert _run(monkeypatch, diagnosis).stdout == (
        "pod n/web: 1 problem, 1 check passed\n"
        "  account: label-missing\n"
        "    pod n/web: the pod has no label\n"
        f"    fix: {_FINDING.fix}\n"
        "  not checked (token-expired): no shell\n"
    )


def test_control_characters_of_an_object_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = Finding(
        check="label-missing",
        stage=Stage.ACCOUNT,
        object="pod n/web",
        message="waiting: \x1b[2J\n",
        fix="run \x07",
    )
    text = _run(monkeypatch, Diagnosis(workload="pod n/web", findings=[hostile])).stdout
    assert "\x1b" not in text
    assert "\x07" not in text


def _without_label(name: str) -> Diagnosis:
    finding = replace(_FINDING, object=f"pod n/{name}", fix=f"kubectl delete pod {name} -n n")
    return Diagnosis(workload=f"pod n/{name}", findings=[finding])


def test_workloads_with_the_same_result_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace with many pods of one Deployment prints the same fix once."""
    same = [_without_label(f"web-{number}") for number in range(6)]
    other = Diagnosis(workload="pod n/api")
    shown = _run(monkeypatch, [*same, other]).stdout
    assert shown == (
        "pod n/web-0: 1 problem, 0 checks passed\n"
        "  account: label-missing\n"
        "    pod n/web-0: the pod has no label\n"
        "    fix: kubectl delete pod web-0 -n n\n"
        "  the same for pod n/web-1, pod n/web-2, pod n/web-3 and 2 others\n"
        "pod n/api: nothing wrong, 0 checks passed\n"
    )
    document = _run(monkeypatch, [*same, other], "-o", "json").stdout
    assert len(json.loads(document)["workloads"]) == 7
