"""Rules for jobs, and for the schedules that make them.

Source: k8s.io/kubernetes v1.34 pkg/apis/batch/validation.
"""

import re
from collections.abc import Mapping
from typing import Any

from podpass.kubernetes.apiserver.validation import rules
from podpass.kubernetes.apiserver.validation.rules import Causes
from podpass.kubernetes.apiserver.validation.workload import chooses, not_negative, template

Object = Mapping[str, Any]

CONTROLLER_UID, JOB_NAME = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"
_MODES = ("Indexed", "NonIndexed")
_RESTART = ("Never", "OnFailure")
_REPLACEMENT = ("Failed", "TerminatingOrFailed")
_MOST_INDEXES = 100_000
# Rules about which failures count; what is not looked at would be silently without effect.
_NOT_HERE = ("podFailurePolicy", "successPolicy", "backoffLimitPerIndex", "maxFailedIndexes")
_FIXED = ("completions", "selector", "template", "completionMode", "managedBy")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# Minute, hour, day of the month, month, day of the week: bounds, and names from the lower bound on.
_FIELDS: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, _MONTHS),
    (0, 6, _DAYS),
)
_NAMED = re.compile(r"@(?:yearly|annually|monthly|weekly|daily|midnight|hourly|every \S+)")
_MAX_CRON_NAME = 52


def job(obj: Object) -> Causes:
    spec, metadata = obj.get("spec") or {}, obj.get("metadata") or {}
    yield from _generated(spec, metadata)
    yield from job_spec(spec, "spec")
    yield from rules.required(spec.get("selector"), "spec.selector")
    yield from rules.selector(spec.get("selector") or {}, "spec.selector")
    yield from chooses(spec.get("selector"), spec.get("template") or {}, "spec.template")
    if spec.get("completionMode") == "Indexed" and (count := spec.get("completions")):
        host = f"{metadata.get('name', '')}-{count - 1}"
        why = f"its last pod could not be called {host!r}"
        yield from rules.invalid(not rules.is_label(host), "metadata.name", why)


def _generated(spec: Object, metadata: Object) -> Causes:
    """Check that a job's pods are its own: labels copied from another job would mix the two."""
    if spec.get("manualSelector"):
        return
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    for key, value in ((CONTROLLER_UID, metadata.get("uid")), (JOB_NAME, metadata.get("name"))):
        for name in (key, key.partition("/")[2]):
            wrong = labels.get(name) != value
            why = f"{name} must be {value!r}: it is set by the API"
            yield from rules.invalid(wrong, "spec.template.metadata.labels", why)
    wanted = {"matchLabels": {CONTROLLER_UID: metadata.get("uid")}}
    wrong = spec.get("selector") != wanted
    yield from rules.invalid(wrong, "spec.selector", "is set by the API unless manualSelector is")


def job_spec(spec: Object, here: str) -> Causes:
    """Check what a job and a schedule's template of jobs have in common."""
    numbers = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit")
    yield from not_negative(spec, *numbers, "ttlSecondsAfterFinished", here=here)
    if (mode := spec.get("completionMode")) is not None:
        yield from rules.one_of(mode, _MODES, f"{here}.completionMode")
    if mode == "Indexed":
        yield from rules.required(spec.get("completions"), f"{here}.completions")
        most = spec.get("parallelism")
        yield from rules.between(most, 0, _MOST_INDEXES, f"{here}.parallelism")
    for name in _NOT_HERE:
        why = "is not looked at by this cluster's job controller"
        yield from rules.forbidden(spec.get(name) is not None, f"{here}.{name}", why)
    if (policy := spec.get("podReplacementPolicy")) is not None:
        yield from rules.one_of(policy, _REPLACEMENT, f"{here}.podReplacementPolicy")
    yield from template(spec.get("template") or {}, f"{here}.template")
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    at = f"{here}.template.spec.restartPolicy"
    if policy in (None, "", "Always"):
        yield from rules.required(None, at, f"must be one of {', '.join(_RESTART)}")
    else:
        yield from rules.one_of(policy, _RESTART, at)


def job_update(new: Object, old: Object) -> Causes:
    yield from job(new)
    after, before = new.get("spec") or {}, old.get("spec") or {}
    for name in _FIXED:
        if name == "completions" and _elastic(after, before):
            continue
        if name == "template" and _may_move(after, before, old):
            continue
        yield from rules.immutable(after.get(name), before.get(name), f"spec.{name}")


def _elastic(after: Object, before: Object) -> bool:
    """Tell an indexed job whose completions grow or shrink together with its parallelism."""
    return before.get("completionMode") == "Indexed" and after.get("completions") == after.get(
        "parallelism"
    )


def _may_move(after: Object, before: Object, old: Object) -> bool:
    """Tell a change of where pods may run, which a job allows that was never started."""
    if not before.get("suspend") or (old.get("status") or {}).get("startTime"):
        return False
    moved = ("nodeSelector", "tolerations", "affinity", "schedulingGates")
    kept = [
        {name: value for name, value in spec["template"]["spec"].items() if name not in moved}
        for spec in (after, before)
    ]
    return bool(kept[0] == kept[1])


def cron_job(obj: Object) -> Causes:
    spec, name = obj.get("spec") or {}, (obj.get("metadata") or {}).get("name") or ""
    why = f"must be of at most {_MAX_CRON_NAME} characters, for its jobs' names are longer"
    yield from rules.invalid(len(name) > _MAX_CRON_NAME, "metadata.name", why)
    schedule = spec.get("schedule") or ""
    yield from rules.required(schedule, "spec.schedule")
    why = f"{schedule!r} is not a schedule of five fields"
    yield from rules.invalid(schedule and not _is_schedule(schedule), "spec.schedule", why)
    policies = ("Allow", "Forbid", "Replace")
    yield from rules.one_of(spec.get("concurrencyPolicy"), policies, "spec.concurrencyPolicy")
    limits = ("successfulJobsHistoryLimit", "failedJobsHistoryLimit", "startingDeadlineSeconds")
    yield from not_negative(spec, *limits)
    jobs, here = (spec.get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec"
    yield from job_spec(jobs, here)
    why = "is set when a job is made"
    yield from rules.forbidden(jobs.get("manualSelector"), f"{here}.manualSelector", why)


def _is_schedule(text: str) -> bool:
    if _NAMED.fullmatch(text.strip()):
        return True
    fields = text.split()
    return len(fields) == len(_FIELDS) and all(
        _is_field(part, *bounds)
        for field, bounds in zip(fields, _FIELDS, strict=True)
        for part in field.split(",")
    )


def _is_field(part: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    """Tell `*`, `5`, `1-5` or one of them with a step, `*/5`."""
    span, sign, step = part.partition("/")
    if sign and not (step.isascii() and step.isdigit() and int(step) > 0):
        return False
    if span in ("*", "?"):
        return True
    numbers = dict(zip(names, range(low, high + 1), strict=False))
    ends = [numbers.get(end.lower(), end) for end in span.split("-")]
    if len(ends) > 2 or not all(str(end).isascii() and str(end).isdigit() for end in ends):
        return False
    return low <= int(ends[0]) <= int(ends[-1]) <= high
