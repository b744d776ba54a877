"""All checks in one table, in the order of the stages, and the function that runs them. Pure."""

from collections.abc import Sequence

from podpass.diagnose.doctor import account_checks, cloud_checks, pod_checks, webhook_checks
from podpass.diagnose.doctor.model import (
    Diagnosis,
    DoctorCheck,
    Facts,
    Finding,
    NotChecked,
    Stage,
)
from podpass.facts import FactUnread

_ORDER = list(Stage)
CHECKS: Sequence[DoctorCheck] = sorted(
    (
        *account_checks.CHECKS,
        *webhook_checks.CHECKS,
        *pod_checks.CHECKS,
        *cloud_checks.CHECKS,
    ),
    key=lambda each: _ORDER.index(each.stage),
)


def examine(facts: Facts) -> Diagnosis:
    """Run every check; the first finding is the first problem on the token's path, symptoms are last."""
    findings: list[Finding] = []
    symptoms: list[Finding] = []
    not_checked, passed = [], []
    for check in CHECKS:
        try:
            problem = check.run(facts)
        except FactUnread as exc:
            not_checked.append(
                NotChecked(
                    check=check.id, stage=check.stage, reason=exc.message, optional=check.optional
                )
            )
            continue
        if problem is None:
            passed.append(check.id)
        else:
            (symptoms if check.is_symptom else findings).append(
                Finding(
                    check=check.id,
                    stage=check.stage,
                    object=problem.object,
                    message=problem.message,
                    fix=problem.fix,
                )
            )
    return Diagnosis(
        workload=facts.cluster.workload,
        findings=[*findings, *symptoms],
        not_checked=not_checked,
        passed=passed,
    )
