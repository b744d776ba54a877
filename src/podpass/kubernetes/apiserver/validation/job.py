"""Rules for jobs and cron jobs.

Source: k8s.io/kubernetes v1.34 pkg/apis/batch/validation.
"""

import re
from collections.abc import Mapping
from typing import Any

from podpass.kubernetes.apiserver.validation import rules
from podpass.kubernetes.apiserver.validation.rules import Causes
from podpass.kubernetes.apiserver.validation.workload import (
    validate_not_negative,
    validate_selects_template,
    validate_template,
)

Object = Mapping[str, Any]

CONTROLLER_UID, JOB_NAME = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"
_MODES = ("Indexed", "NonIndexed")
_RESTART = ("Never", "OnFailure")
_REPLACEMENT = ("Failed", "TerminatingOrFailed")
_MAX_INDEXES = 100_000
# Fields that the job controller does not support; accepted, they would have no effect without notice.
_UNSUPPORTED = ("podFailurePolicy", "successPolicy", "backoffLimitPerIndex", "maxFailedIndexes")
_IMMUTABLE = ("completions", "selector", "template", "completionMode", "managedBy")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# Minute, hour, day of the month, month, day of the week: bounds, and names that start at the lower bound.
_FIELDS: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, _MONTHS),
    (0, 6, _DAYS),
)
_NAMED = re.compile(r"@(?:yearly|annually|monthly|weekly|daily|midnight|hourly|every \S+)")
_MAX_CRON_NAME = 52


def validate_job(obj: Object) -> Causes:
    """Check a Job."""
    spec, metadata = obj.get("spec") or {}, obj.get("metadata") or {}
    yield from _validate_generated_selector(spec, metadata)
    yield from validate_job_spec(spec, "spec")
    yield from rules.required(spec.get("selector"), "spec.selector")
    yield from rules.selector(spec.get("selector") or {}, "spec.selector")
    yield from validate_selects_template(
        spec.get("selector"), spec.get("template") or {}, "spec.template"
    )
    if spec.get("completionMode") == "Indexed" and (count := spec.get("completions")):
        host = f"{metadata.get('name', '')}-{count - 1}"
        reason = f"the name of its last pod, {host!r}, would not be a valid host name"
        yield from rules.invalid(not rules.is_label(host), "metadata.name", reason)


def _validate_generated_selector(spec: Object, metadata: Object) -> Causes:
    """Check the generated labels and selector; labels from another job would mix the pods of both."""
    if spec.get("manualSelector"):
        return
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    for key, value in ((CONTROLLER_UID, metadata.get("uid")), (JOB_NAME, metadata.get("name"))):
        for name in (key, key.partition("/")[2]):
            wrong = labels.get(name) != value
            reason = f"{name} must be {value!r}: the API server sets it"
            yield from rules.invalid(wrong, "spec.template.metadata.labels", reason)
    expected = {"matchLabels": {CONTROLLER_UID: metadata.get("uid")}}
    wrong = spec.get("selector") != expected
    yield from rules.invalid(
        wrong, "spec.selector", "is set by the API server unless manualSelector is true"
    )


def validate_job_spec(spec: Object, here: str) -> Causes:
    """Check the spec of a job, in a Job or in the template of a CronJob."""
    numbers = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit")
    yield from validate_not_negative(spec, *numbers, "ttlSecondsAfterFinished", here=here)
    if (mode := spec.get("completionMode")) is not None:
        yield from rules.one_of(mode, _MODES, f"{here}.completionMode")
    if mode == "Indexed":
        yield from rules.required(spec.get("completions"), f"{here}.completions")
        parallelism = spec.get("parallelism")
        yield from rules.between(parallelism, 0, _MAX_INDEXES, f"{here}.parallelism")
    for name in _UNSUPPORTED:
        reason = "is not supported by this cluster's job controller"
        yield from rules.forbidden(spec.get(name) is not None, f"{here}.{name}", reason)
    if (policy := spec.get("podReplacementPolicy")) is not None:
        yield from rules.one_of(policy, _REPLACEMENT, f"{here}.podReplacementPolicy")
    yield from validate_template(spec.get("template") or {}, f"{here}.template")
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    at = f"{here}.template.spec.restartPolicy"
    if policy in (None, "", "Always"):
        yield from rules.required(None, at, f"must be one of {', '.join(_RESTART)}")
    else:
        yield from rules.one_of(policy, _RESTART, at)


def validate_job_update(new: Object, old: Object) -> Causes:
    """Check a changed Job."""
    yield from validate_job(new)
    after, before = new.get("spec") or {}, old.get("spec") or {}
    for name in _IMMUTABLE:
        if name == "completions" and _resizes_indexed_job(after, before):
            continue
        if name == "template" and _changes_only_scheduling(after, before, old):
            continue
        yield from rules.immutable(after.get(name), before.get(name), f"spec.{name}")


def _resizes_indexed_job(after: Object, before: Object) -> bool:
    """Return whether an indexed job changes completions and parallelism to the same number."""
    return before.get("completionMode") == "Indexed" and after.get("completions") == after.get(
        "parallelism"
    )


def _changes_only_scheduling(after: Object, before: Object, old: Object) -> bool:
    """Return whether only scheduling fields of the template change, in a job that was never started."""
    if not before.get("suspend") or (old.get("status") or {}).get("startTime"):
        return False
    scheduling_fields = ("nodeSelector", "tolerations", "affinity", "schedulingGates")
    other_fields = [
        {
            name: value
            for name, value in spec["template"]["spec"].items()
            if name not in scheduling_fields
        }
        for spec in (after, before)
    ]
    return bool(other_fields[0] == other_fields[1])


def validate_cron_job(obj: Object) -> Causes:
    """Check a CronJob."""
    spec, name = obj.get("spec") or {}, (obj.get("metadata") or {}).get("name") or ""
    reason = f"must have at parallelism {_MAX_CRON_NAME} characters, because the names of its jobs are longer"
    yield from rules.invalid(len(name) > _MAX_CRON_NAME, "metadata.name", reason)
    schedule = spec.get("schedule") or ""
    yield from rules.required(schedule, "spec.schedule")
    reason = f"{schedule!r} is not a valid schedule with five fields"
    yield from rules.invalid(schedule and not _is_schedule(schedule), "spec.schedule", reason)
    policies = ("Allow", "Forbid", "Replace")
    yield from rules.one_of(spec.get("concurrencyPolicy"), policies, "spec.concurrencyPolicy")
    limits = ("successfulJobsHistoryLimit", "failedJobsHistoryLimit", "startingDeadlineSeconds")
    yield from validate_not_negative(spec, *limits)
    jobs, here = (spec.get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec"
    yield from validate_job_spec(jobs, here)
    reason = "must not be given in the template of a CronJob"
    yield from rules.forbidden(jobs.get("manualSelector"), f"{here}.manualSelector", reason)


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
    """Return whether a text is `*`, `5`, `1-5`, or one of them with a step such as `*/5`."""
    span, slash, step = part.partition("/")
    if slash and not (step.isascii() and step.isdigit() and int(step) > 0):
        return False
    if span in ("*", "?"):
        return True
    numbers = dict(zip(names, range(low, high + 1), strict=False))
    ends = [numbers.get(end.lower(), end) for end in span.split("-")]
    if len(ends) > 2 or not all(str(end).isascii() and str(end).isdigit() for end in ends):
        return False
    return low <= int(ends[0]) <= int(ends[-1]) <= high
