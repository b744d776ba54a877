"""Rules for jobs and cron jobs.

Source: k8s.io/kubernetes v1.34 pkg/apis/batch/validation.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kubeling.apiserver.validation import cron_schedule, rules
from kubeling.apiserver.validation.rules import Causes, ObjectCheck, fields, number
from kubeling.apiserver.validation.workload import validate_selects_template, validate_template

Object = Mapping[str, Any]

CONTROLLER_UID, JOB_NAME = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"
_RESTART = ("Never", "OnFailure")
_MAX_INDEXES = 100_000
_IMMUTABLE = (
    *("completions", "selector", "template", "completionMode", "managedBy"),
    *("podFailurePolicy", "backoffLimitPerIndex", "successPolicy"),
)
_MAX_RULES, _MAX_EXIT_CODES = 20, 255
_INDEXES = re.compile(r"\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*")
_MAX_CRON_NAME = 52


def _not_negative(*names: str) -> ObjectCheck:
    return fields(**dict.fromkeys(names, number(0)))


_JOB_NUMBERS = _not_negative(
    *("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit"),
    "ttlSecondsAfterFinished",
)


def validate_job(obj: Object) -> Causes:
    """Check a Job."""
    spec, metadata = obj.get("spec") or {}, obj.get("metadata") or {}
    yield from _validate_generated_selector(spec, metadata)
    yield from validate_job_spec(spec, "spec")
    yield from rules.required(spec.get("selector"), "spec.selector")
    yield from rules.selector(spec.get("selector"), "spec.selector")
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
    yield from _JOB_NUMBERS(spec, here)
    if spec.get("completionMode") == "Indexed":
        yield from rules.required(spec.get("completions"), f"{here}.completions")
        parallelism = spec.get("parallelism")
        yield from rules.between(parallelism, 0, _MAX_INDEXES, f"{here}.parallelism")
    yield from _validate_index_limits(spec, here)
    yield from _validate_failure_policy(spec, here)
    yield from _validate_success_policy(spec, here)
    yield from validate_template(spec.get("template") or {}, f"{here}.template")
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    at = f"{here}.template.spec.restartPolicy"
    if policy in (None, "", "Always"):
        yield from rules.required(None, at, f"must be one of {', '.join(_RESTART)}")
    else:
        yield from rules.one_of(policy, _RESTART, at)


def _validate_index_limits(spec: Object, here: str) -> Causes:
    limit, most = spec.get("backoffLimitPerIndex"), spec.get("maxFailedIndexes")
    yield from _not_negative("backoffLimitPerIndex", "maxFailedIndexes")(spec, here)
    misplaced = limit is not None and spec.get("completionMode") != "Indexed"
    reason = "needs completionMode Indexed"
    yield from rules.invalid(misplaced, f"{here}.backoffLimitPerIndex", reason)
    if most is not None:
        at = f"{here}.maxFailedIndexes"
        yield from rules.invalid(limit is None, at, "needs backoffLimitPerIndex")
        over = most > (spec.get("completions") or 0)
        yield from rules.invalid(over, at, "must not be more than completions")


def _validate_failure_policy(spec: Object, here: str) -> Causes:
    if (policy := spec.get("podFailurePolicy")) is None:
        return
    here = f"{here}.podFailurePolicy"
    pod = (spec.get("template") or {}).get("spec") or {}
    never = pod.get("restartPolicy") == "Never"
    yield from rules.invalid(not never, here, "needs the restartPolicy Never")
    replaces = spec.get("podReplacementPolicy") not in (None, "Failed")
    yield from rules.invalid(replaces, here, "needs the podReplacementPolicy Failed")
    yield from _validate_rule_count(policy.get("rules") or (), f"{here}.rules")
    names = {
        each.get("name")
        for field in ("containers", "initContainers")
        for each in pod.get(field) or ()
    }
    for index, rule in enumerate(policy.get("rules") or ()):
        at, codes = f"{here}.rules[{index}]", rule.get("onExitCodes")
        fails_index = rule.get("action") == "FailIndex"
        lost = fails_index and spec.get("backoffLimitPerIndex") is None
        yield from rules.invalid(lost, f"{at}.action", "FailIndex needs backoffLimitPerIndex")
        alone = (codes is None) != (not rule.get("onPodConditions"))
        reason = "exactly one of onExitCodes and onPodConditions must be given"
        yield from rules.invalid(not alone, at, reason)
        if codes is not None:
            yield from _validate_exit_codes(codes, names, f"{at}.onExitCodes")


def _validate_exit_codes(codes: Object, names: set[str | None], here: str) -> Causes:
    operator, values = codes.get("operator"), codes.get("values") or []
    count = len(values)
    reason = f"must have 1 to {_MAX_EXIT_CODES} different values"
    fits = 1 <= count <= _MAX_EXIT_CODES and len(set(values)) == count
    yield from rules.invalid(not fits, f"{here}.values", reason)
    zero = operator == "In" and 0 in values
    yield from rules.invalid(zero, f"{here}.values", "must not contain 0 for the operator In")
    name = codes.get("containerName")
    unknown = name is not None and name not in names
    reason = f"the template has no container {name!r}"
    yield from rules.invalid(unknown, f"{here}.containerName", reason)


def _validate_rule_count(given: Sequence[Object], here: str) -> Causes:
    over = len(given) > _MAX_RULES
    yield from rules.invalid(over, here, f"must have at most {_MAX_RULES} rules")


def _validate_success_policy(spec: Object, here: str) -> Causes:
    if (policy := spec.get("successPolicy")) is None:
        return
    here, given = f"{here}.successPolicy", policy.get("rules") or ()
    indexed = spec.get("completionMode") == "Indexed"
    yield from rules.invalid(not indexed, here, "needs completionMode Indexed")
    yield from rules.required(given, f"{here}.rules")
    yield from _validate_rule_count(given, f"{here}.rules")
    most = spec.get("completions") or 0
    for index, rule in enumerate(given):
        at = f"{here}.rules[{index}]"
        text, count = rule.get("succeededIndexes"), rule.get("succeededCount")
        reason = "at least one of succeededCount and succeededIndexes must be given"
        yield from rules.invalid(text is None and count is None, at, reason)
        yield from rules.between(count, 1, most, f"{at}.succeededCount")
        if text is not None:
            valid = _INDEXES.fullmatch(text) and _is_ascending(text, most)
            reason = f"{text!r} is not an ascending list of indexes below completions"
            yield from rules.invalid(not valid, f"{at}.succeededIndexes", reason)


def _is_ascending(text: str, most: int) -> bool:
    numbers = [int(each) for each in text.replace("-", ",").split(",")]
    return numbers[-1] < most and all(low < high for low, high in itertools.pairwise(numbers))


def validate_job_update(new: Object, old: Object) -> Causes:
    """Check that no immutable field of a Job changed."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    for name in _IMMUTABLE:
        reason = "field is immutable"
        if name == "completions" and before.get("completionMode") == "Indexed":
            if after.get("completions") == after.get("parallelism"):
                continue
            reason = "can only be modified in tandem with spec.parallelism"
        if name == "template" and _changes_only_scheduling(after, before, old):
            continue
        yield from rules.immutable(after.get(name), before.get(name), f"spec.{name}", reason)


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
    reason = (
        f"must have at most {_MAX_CRON_NAME} characters, because the names of its jobs are longer"
    )
    yield from rules.invalid(len(name) > _MAX_CRON_NAME, "metadata.name", reason)
    schedule = spec.get("schedule") or ""
    yield from rules.required(schedule, "spec.schedule")
    reason = f"{schedule!r} is not a valid schedule with five fields"
    yield from rules.invalid(schedule and not _is_schedule(schedule), "spec.schedule", reason)
    yield from _validate_time_zone(spec.get("timeZone"))
    limits = ("successfulJobsHistoryLimit", "failedJobsHistoryLimit", "startingDeadlineSeconds")
    yield from _not_negative(*limits)(spec, "spec")
    jobs, here = (spec.get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec"
    yield from validate_job_spec(jobs, here)
    reason = "must not be given in the template of a CronJob"
    yield from rules.forbidden(jobs.get("manualSelector"), f"{here}.manualSelector", reason)


def _validate_time_zone(name: str | None) -> Causes:
    at = "spec.timeZone"
    if name is None:
        return
    try:
        known = bool(name) and name.lower() != "local" and ZoneInfo(name) is not None
    except (ValueError, OSError, ZoneInfoNotFoundError):
        known = False
    yield from rules.invalid(not known, at, f"unknown time zone {name}")


def _is_schedule(text: str) -> bool:
    try:
        cron_schedule.parse(text)
    except ValueError:
        return False
    return True
