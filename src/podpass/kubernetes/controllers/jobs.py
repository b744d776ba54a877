"""Jobs: pods that run to their end, so many and no more, however they end."""

import copy

from podpass.clock import rfc3339
from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.apiserver.options import FOREGROUND
from podpass.kubernetes.apiserver.status import StatusError
from podpass.kubernetes.apiserver.storage.storage import Object
from podpass.kubernetes.controllers import controller_ref, job_rules
from podpass.kubernetes.controllers.client import Writer, owner_reference
from podpass.kubernetes.controllers.event_recorder import NORMAL, WARNING, Notes
from podpass.kubernetes.controllers.lister import View
from podpass.kubernetes.controllers.pod_control import MOST_AT_ONCE, Maker
from podpass.kubernetes.controllers.pod_info import TRACKING, PodFact
from podpass.kubernetes.controllers.workqueue import Again

_KIND = named("Job")


class Jobs:
    """Looks after jobs, and frees pods of those that are gone."""

    def __init__(self, view: View, writer: Writer) -> None:
        self._view, self._writer = view, writer
        self._notes = Notes(writer, "job-controller")
        self._maker = Maker(writer, self._notes)

    async def look(self, namespace: str, name: str) -> float | None:
        """Count a job's pods, make those that are missing, end it; say when to look again.

        Errors:  StatusError, Again.
        """
        job = self._writer.store.get(_KIND, namespace, name)
        if job is None or job["spec"].get("managedBy"):
            return None
        pods = await controller_ref.pods(self._view, self._writer, _KIND.kind, job)
        if job_rules.is_finished(job):
            await self._free(pods, {pod.uid for pod in pods})
            return await self._outlive(job)
        status: Object = copy.deepcopy(job.get("status") or {})
        job_rules.count(job, status, pods)
        going = bool(job["metadata"].get("deletionTimestamp"))
        wait = None if going else await self._steer(job, status, pods)
        await self._report(job, status)
        await self._free(pods, job_rules.uncounted(status))
        return wait

    async def free(self, namespace: str, name: str) -> float | None:
        """Let a pod go whose job is gone and will not count it any more."""
        pod = self._view.pod(namespace, name)
        if pod is not None and pod.tracked:
            place = self._view.place(pod.controller)
            if place is None or place[0] != _KIND.kind:
                await self._free([pod], {pod.uid})
        return None

    async def _steer(self, job: Object, status: Object, pods: list[PodFact]) -> float | None:
        """Decide what the job is at, and make or delete pods for it."""
        now = self._writer.now
        active = [pod for pod in pods if pod.active]
        self._begin(job, status)
        _decide(job, status, pods, now)
        if decided := _decided(status):
            await self._maker.delete(_KIND.kind, job, active)
            await self._end(job, status, decided)
            return None
        await self._suspend(job, status)
        return await self._fill(job, status, pods, active)

    def _begin(self, job: Object, status: Object) -> None:
        if not status.get("startTime") and not job["spec"].get("suspend"):
            status["startTime"] = rfc3339(self._writer.now)

    async def _end(self, job: Object, status: Object, decided: Object) -> None:
        """Declare a job complete or failed, once the last of its pods is counted."""
        self._view.catch_up()
        left = self._view.pods_of(job["metadata"]["uid"])
        if any(not pod.ended for pod in left) or job_rules.uncounted(status):
            return
        now, done = self._writer.now, decided["type"] == job_rules.SUCCEEDS
        kind = job_rules.COMPLETE if done else job_rules.FAILED
        reason, message = decided["reason"], decided["message"]
        job_rules.set_condition(status, kind, reason, message, now)
        if done:
            status["completionTime"] = rfc3339(now)
            await self._notes.record(_KIND.kind, job, NORMAL, "Completed", "Job completed")
        else:
            await self._notes.record(_KIND.kind, job, WARNING, reason, message)

    async def _suspend(self, job: Object, status: Object) -> None:
        now, held = self._writer.now, job_rules.holds(status, job_rules.SUSPENDED)
        kind = job_rules.SUSPENDED
        if job["spec"].get("suspend") and not held:
            job_rules.set_condition(status, kind, "JobSuspended", "Job suspended", now)
            status.pop("startTime", None)
            await self._notes.record(_KIND.kind, job, NORMAL, "Suspended", "Job suspended")
        elif held and not job["spec"].get("suspend"):
            job_rules.set_condition(status, kind, "JobResumed", "Job resumed", now, true=False)
            status["startTime"] = rfc3339(now)
            await self._notes.record(_KIND.kind, job, NORMAL, "Resumed", "Job resumed")

    async def _fill(
        self, job: Object, status: Object, pods: list[PodFact], active: list[PodFact]
    ) -> float | None:
        now = self._writer.now
        missing = job_rules.wanted_active(job, status, len(active)) - len(active)
        until = job_rules.until_deadline(job, status, now)
        if missing < 0:
            surplus = sorted(active, key=lambda pod: (pod.ready, bool(pod.node), pod.created))
            await self._maker.delete(_KIND.kind, job, surplus[:-missing])
        elif missing > 0:
            if (pause := job_rules.backoff(pods, now)) > 0:
                return pause if until is None else min(pause, until)
            if failed := await self._make(job, status, active, missing):
                await self._report(job, status)
                raise Again(failed)
        return 0.0 if missing > MOST_AT_ONCE else until

    async def _make(self, job: Object, status: Object, active: list[PodFact], count: int) -> str:
        reference = owner_reference(_KIND, job)
        places: list[int | None] = [None] * count
        if job_rules.is_indexed(job):
            places = list(job_rules.free_indexes(job, status, active, count))
        return await self._maker.create(
            _KIND.kind,
            job,
            len(places),
            lambda at: copy.deepcopy(job_rules.pod(job, reference, places[at])),
        )

    async def _report(self, job: Object, status: Object) -> None:
        """Write down what has become of the pods."""
        self._view.catch_up()
        pods = self._view.pods_of(job["metadata"]["uid"])
        active = [pod for pod in pods if pod.active]
        status["active"] = len(active)
        status["ready"] = sum(pod.ready for pod in active)
        status["terminating"] = sum(pod.deleting and not pod.ended for pod in pods)
        for name in ("active", "succeeded", "failed"):
            if not status.get(name):
                status.pop(name, None)
        if status != (job.get("status") or {}):
            await self._writer.update(_KIND.kind, {**job, "status": status}, part="status")

    async def _free(self, pods: list[PodFact], counted: set[str]) -> None:
        """Take the finalizer from pods that are written down."""
        for pod in pods:
            if pod.tracked and pod.uid in counted:
                try:
                    await self._writer.change("Pod", pod.namespace, pod.name, _untracked)
                except StatusError as exc:
                    if exc.status != 404:
                        raise

    async def _outlive(self, job: Object) -> float | None:
        """Delete a job that has been finished for as long as it wants to be kept."""
        keep, metadata = job["spec"].get("ttlSecondsAfterFinished"), job["metadata"]
        if keep is None or metadata.get("deletionTimestamp"):
            return None
        left = job_rules.finished_at(job) + keep - self._writer.now
        if left > 0:
            return float(left)
        await self._writer.delete(
            _KIND.kind, metadata["namespace"], metadata["name"], metadata["uid"], policy=FOREGROUND
        )
        return None


def _untracked(pod: Object) -> Object:
    finalizers = [each for each in pod["metadata"].get("finalizers") or () if each != TRACKING]
    return {**pod, "metadata": {**pod["metadata"], "finalizers": finalizers}}


def _decide(job: Object, status: Object, pods: list[PodFact], now: float) -> None:
    """Note in place that a job has failed, or has all it wants; what is noted once stays."""
    if _decided(status):
        return
    reason, message = job_rules.failure(job, status, pods, now)
    if reason:
        job_rules.set_condition(status, job_rules.FAILS, reason, message, now)
    elif job_rules.is_done(job, status, sum(pod.active for pod in pods)):
        why = "Reached expected number of succeeded pods"
        job_rules.set_condition(status, job_rules.SUCCEEDS, "CompletionsReached", why, now)


def _decided(status: Object) -> Object | None:
    kinds = (job_rules.FAILS, job_rules.SUCCEEDS)
    return next((held for kind in kinds if (held := job_rules.holds(status, kind))), None)
