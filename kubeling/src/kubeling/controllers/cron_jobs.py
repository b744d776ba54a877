"""CronJob controller: create a Job at each time of a schedule, and delete old finished Jobs."""

import copy
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.status import StatusError
from kubeling.apiserver.storage.storage import Object
from kubeling.apiserver.validation import cron_schedule
from kubeling.apiserver.validation.cron_schedule import Schedule
from kubeling.clock import rfc3339
from kubeling.controllers import job_rules
from kubeling.controllers.client import ControllerClient, event_reference, owner_reference
from kubeling.controllers.lister import Lister
from kubeling.controllers.pod_info import controller, seconds
from kubeling.event_recorder import NORMAL, WARNING, EventRecorder

_KIND, _JOB = kind_by_name("CronJob"), kind_by_name("Job")
_SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_MANY_MISSED = 100
# As in kube-controller-manager: the next reconcile is a little later, so that the time has passed.
_DELTA_SECONDS = 0.1
_RFC1123 = "%a, %d %b %Y %H:%M:%S +0000"


class CronJobController:
    """Reconciles CronJobs."""

    def __init__(self, lister: Lister, client: ControllerClient, recorder: EventRecorder) -> None:
        self._lister, self._client, self._recorder = lister, client, recorder

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Create the Job of the last missed time, if it is due; return the seconds until the next time."""
        before = self._client.store.get(_KIND, namespace, name)
        if before is None:
            return None
        cron_job = copy.deepcopy(before)
        jobs = self._jobs(cron_job)
        self._update_active(cron_job, jobs)
        jobs = await self._delete_old(cron_job, jobs)
        try:
            return await self._start(cron_job, jobs)
        finally:
            if cron_job["status"] != (before.get("status") or {}):
                await self._client.update(_KIND.kind, cron_job, part="status")

    def _jobs(self, cron_job: Object) -> list[Object]:
        """Return the Jobs whose controller is a CronJob."""
        uid, found = cron_job["metadata"]["uid"], []
        for kind, namespace, name in self._lister.dependents(uid):
            job = self._client.store.get(_JOB, namespace, name) if kind == _JOB.kind else None
            if job is not None and controller(job["metadata"]).get("uid") == uid:
                found.append(job)
        return found

    def _update_active(self, cron_job: Object, jobs: Sequence[Object]) -> None:
        """Remove finished and deleted Jobs from the active ones in the status."""
        status = cron_job["status"] = cron_job.get("status") or {}
        by_uid, active = {job["metadata"]["uid"]: job for job in jobs}, []
        for each in status.get("active") or ():
            job = by_uid.get(each["uid"])
            if job is None:
                self._record(
                    cron_job, NORMAL, "MissingJob", f"Active job went missing: {each['name']}"
                )
            elif job_rules.is_finished(job):
                text = f"Saw completed job: {each['name']}, condition: {_outcome(job)}"
                self._record(cron_job, NORMAL, "SawCompletedJob", text)
            else:
                active.append(each)
        _set(status, "active", active)
        done = [
            job["status"]["completionTime"]
            for job in jobs
            if (job.get("status") or {}).get("completionTime")
        ]
        times = [*done, status.get("lastSuccessfulTime")]
        _set(status, "lastSuccessfulTime", max(filter(None, times), key=seconds, default=None))

    async def _delete_old(self, cron_job: Object, jobs: Sequence[Object]) -> list[Object]:
        """Delete finished Jobs over the history limits; return the Jobs that are left."""
        deleted = []
        for outcome, name in (
            (job_rules.COMPLETE, "successfulJobsHistoryLimit"),
            (job_rules.FAILED, "failedJobsHistoryLimit"),
        ):
            limit = cron_job["spec"].get(name)
            ended = sorted((job for job in jobs if _outcome(job) == outcome), key=_started)
            deleted += ended[: max(len(ended) - limit, 0)] if limit is not None else []
        for job in deleted:
            await self._delete(cron_job, job)
        return [job for job in jobs if job not in deleted]

    async def _delete(self, cron_job: Object, job: Object) -> None:
        metadata, status = job["metadata"], cron_job["status"]
        await self._client.delete_object(_JOB.kind, job)
        active = [each for each in status.get("active") or () if each["uid"] != metadata["uid"]]
        _set(status, "active", active)
        self._record(cron_job, NORMAL, "SuccessfulDelete", f"Deleted job {metadata['name']}")

    async def _start(self, cron_job: Object, jobs: Sequence[Object]) -> float | None:
        """Create the Job of the last missed time, unless a rule forbids it; return the requeue delay."""
        spec, now = cron_job["spec"], self._client.now
        if cron_job["metadata"].get("deletionTimestamp") or spec.get("suspend"):
            return None
        try:
            zone: tzinfo = ZoneInfo(spec["timeZone"]) if spec.get("timeZone") else UTC
            schedule = cron_schedule.parse(spec["schedule"])
        except (ValueError, ZoneInfoNotFoundError) as exc:  # stored before validation refused it
            self._record(cron_job, WARNING, "InvalidSchedule", f"invalid schedule: {exc}")
            return None
        upcoming = schedule.next(now, zone)
        wait = None if upcoming is None else upcoming - now + _DELTA_SECONDS
        due, missed = last_missed(cron_job, schedule, zone, now)
        if due is None:
            return wait
        if missed > _MANY_MISSED:
            text = "too many missed start times. Set startingDeadlineSeconds or check the clock"
            self._record(cron_job, WARNING, "TooManyMissedTimes", text)
        status, deadline = cron_job["status"], spec.get("startingDeadlineSeconds")
        if deadline is not None and due + deadline < now:
            moment = datetime.fromtimestamp(due, UTC).strftime(_RFC1123)
            text = f"Missed scheduled time to start a job: {moment}"
            self._record(cron_job, WARNING, "MissSchedule", text)
            return wait
        active = status.get("active") or []
        if active and spec.get("concurrencyPolicy") == "Forbid":
            text = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self._record(cron_job, NORMAL, "JobAlreadyActive", text)
            return wait
        if spec.get("concurrencyPolicy") == "Replace":
            uids = {each["uid"] for each in active}
            for job in jobs:
                if job["metadata"]["uid"] in uids:
                    await self._delete(cron_job, job)
        await self._create(cron_job, due, zone)
        return wait

    async def _create(self, cron_job: Object, due: float, zone: tzinfo) -> None:
        """Create the Job of a time; its name contains the time, so that it is created only once."""
        job, status = new_job(cron_job, due, zone), cron_job["status"]
        metadata = job["metadata"]
        try:
            made = await self._client.create(_JOB.kind, job)
        except StatusError as exc:
            if exc.reason != "AlreadyExists":
                self._record(
                    cron_job, WARNING, "FailedCreate", f"Error creating job: {exc.message}"
                )
                raise
            found = self._client.store.get(_JOB, metadata["namespace"], metadata["name"])
            uid = cron_job["metadata"]["uid"]
            if found is None or controller(found["metadata"]).get("uid") != uid:
                return
            made = found  # created before the status could be written
        else:
            text = f"Created job {metadata['name']}"
            self._record(cron_job, NORMAL, "SuccessfulCreate", text)
        if not job_rules.is_finished(made):
            status["active"] = [*(status.get("active") or ()), _reference(made)]
        status["lastScheduleTime"] = rfc3339(due)

    def _record(self, cron_job: Object, type_: str, reason: str, message: str) -> None:
        self._recorder.record(event_reference(_KIND, cron_job), type_, reason, message)


def last_missed(
    cron_job: Object, schedule: Schedule, zone: tzinfo, now: float
) -> tuple[float | None, int]:
    """Return the last time at which no job was started, and the approximate number of such times."""
    deadline = cron_job["spec"].get("startingDeadlineSeconds")
    since = seconds(
        (cron_job.get("status") or {}).get("lastScheduleTime")
        or cron_job["metadata"]["creationTimestamp"]
    )
    if deadline is not None:
        since = max(since, now - deadline)
    first = schedule.next(since, zone)
    if first is None or first > now:
        return None, 0
    second = schedule.next(first, zone)
    if second is None or second > now:
        return first, 1
    interval = second - first
    missed = int((now - first) // interval) + 1
    # Start a few intervals before now; an irregular schedule may have its last time before that.
    due, at = second, schedule.next(max(first + (missed - 2) * interval, first), zone)
    while at is not None and at <= now:
        due, at = at, schedule.next(at, zone)
    return due, missed


def new_job(cron_job: Object, due: float, zone: tzinfo) -> Object:
    """Build the Job of a scheduled time."""
    template = copy.deepcopy(cron_job["spec"]["jobTemplate"])
    given, metadata = template.get("metadata") or {}, cron_job["metadata"]
    moment = datetime.fromtimestamp(due, zone).isoformat()
    return {
        "metadata": {
            "name": f"{metadata['name']}-{int(due) // 60}",
            "namespace": metadata["namespace"],
            "labels": given.get("labels") or {},
            "annotations": {
                **(given.get("annotations") or {}),
                _SCHEDULED: moment.replace("+00:00", "Z"),
            },
            "ownerReferences": [owner_reference(_KIND, cron_job)],
        },
        "spec": template["spec"],
    }


def _reference(job: Object) -> Object:
    metadata = job["metadata"]
    names = ("namespace", "name", "uid", "resourceVersion")
    found = {name: metadata[name] for name in names}
    return {"kind": _JOB.kind, "apiVersion": _JOB.api_version, **found}


def _outcome(job: Object) -> str:
    """Return the type of the condition with which a Job ended; empty for others."""
    status = job.get("status") or {}
    ends = (job_rules.COMPLETE, job_rules.FAILED)
    return next((kind for kind in ends if job_rules.true_condition(status, kind)), "")


def _started(job: Object) -> tuple[float, str]:
    return seconds((job.get("status") or {}).get("startTime")), job["metadata"]["name"]


def _set(status: Object, name: str, value: object) -> None:
    """Set a field of a status; remove it if the value is empty."""
    status[name] = value
    if not value:
        del status[name]
