"""Job controller: run pods to completion, count them, and finish the Job."""

import copy

from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.options import FOREGROUND
from kubeling.apiserver.storage.storage import Object
from kubeling.clock import rfc3339
from kubeling.controllers import controller_ref, job_rules
from kubeling.controllers.client import ControllerClient, event_reference, owner_reference
from kubeling.controllers.lister import Lister
from kubeling.controllers.pod_control import BURST_REPLICAS, PodControl
from kubeling.controllers.pod_info import TRACKING, PodInfo
from kubeling.controllers.workqueue import RequeueError
from kubeling.event_recorder import NORMAL, WARNING, EventRecorder

_KIND = kind_by_name("Job")


class JobController:
    """Reconciles Jobs, and removes the tracking finalizer from pods of deleted Jobs."""

    def __init__(self, lister: Lister, client: ControllerClient, recorder: EventRecorder) -> None:
        self._lister, self._client = lister, client
        self._recorder = recorder
        self._pod_control = PodControl(client, recorder)

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Count the pods of a Job, create missing pods, or finish it; return the requeue delay."""
        job = self._client.store.get(_KIND, namespace, name)
        if job is None or job["spec"].get("managedBy"):
            return None
        pods = await controller_ref.claim_pods(self._lister, self._client, _KIND, job)
        if job_rules.is_finished(job):
            await self._remove_finalizers(pods, {pod.uid for pod in pods})
            # A finished Job is deleted after its TTL.
            ttl, metadata = job["spec"].get("ttlSecondsAfterFinished"), job["metadata"]
            if ttl is None or metadata.get("deletionTimestamp"):
                return None
            left = job_rules.finished_at(job) + ttl - self._client.now
            if left > 0:
                return float(left)
            await self._client.delete_object(_KIND.kind, job, policy=FOREGROUND)
            return None
        status: Object = copy.deepcopy(job.get("status") or {})
        ignored = job_rules.count_pods(job, status, pods)
        deleting = bool(job["metadata"].get("deletionTimestamp"))
        wait = None if deleting else await self._sync_pods(job, status, pods)
        await self._write_status(job, status)
        await self._remove_finalizers(pods, job_rules.uncounted_uids(status) | ignored)
        return wait

    async def release_orphan(self, namespace: str, name: str) -> float | None:
        """Remove the tracking finalizer of a pod whose Job no longer exists."""
        pod = self._lister.pod(namespace, name)
        if pod is not None and pod.tracked:
            place = self._lister.key_of(pod.controller)
            if place is None or place[0] != _KIND.kind:
                await self._remove_finalizers([pod], {pod.uid})
        return None

    async def _sync_pods(self, job: Object, status: Object, pods: list[PodInfo]) -> float | None:
        """Decide the state of the Job, and create or delete pods."""
        now = self._client.now
        active = [pod for pod in pods if pod.active]
        if not status.get("startTime") and not job["spec"].get("suspend"):
            status["startTime"] = rfc3339(now)
        _set_outcome(job, status, pods, now)
        if decided := _outcome(status):
            await self._pod_control.delete(_KIND, job, active)
            await self._finish(job, status, decided)
            return None
        await self._suspend(job, status)
        return await self._scale(job, status, pods, active)

    async def _finish(self, job: Object, status: Object, decided: Object) -> None:
        """Mark a Job complete or failed after its last pod is counted."""
        self._lister.sync()
        left = self._lister.pods_of(job["metadata"]["uid"])
        if any(not pod.ended for pod in left) or job_rules.uncounted_uids(status):
            return
        now, done = self._client.now, decided["type"] == job_rules.SUCCEEDS
        kind = job_rules.COMPLETE if done else job_rules.FAILED
        reason, message = decided["reason"], decided["message"]
        job_rules.set_condition(status, kind, reason, message, now)
        if done:
            status["completionTime"] = rfc3339(now)
            self._recorder.record(event_reference(_KIND, job), NORMAL, "Completed", "Job completed")
        else:
            self._recorder.record(event_reference(_KIND, job), WARNING, reason, message)

    async def _suspend(self, job: Object, status: Object) -> None:
        now, suspended = self._client.now, job_rules.true_condition(status, job_rules.SUSPENDED)
        kind = job_rules.SUSPENDED
        if job["spec"].get("suspend") and not suspended:
            job_rules.set_condition(status, kind, "JobSuspended", "Job suspended", now)
            status.pop("startTime", None)
            self._recorder.record(event_reference(_KIND, job), NORMAL, "Suspended", "Job suspended")
        elif suspended and not job["spec"].get("suspend"):
            job_rules.set_condition(status, kind, "JobResumed", "Job resumed", now, true=False)
            status["startTime"] = rfc3339(now)
            self._recorder.record(event_reference(_KIND, job), NORMAL, "Resumed", "Job resumed")

    async def _scale(
        self, job: Object, status: Object, pods: list[PodInfo], active: list[PodInfo]
    ) -> float | None:
        now = self._client.now
        missing = job_rules.desired_active(job, status, len(active)) - len(active)
        if missing > 0 and job_rules.waits_for_failed(job):
            missing = max(missing - sum(pod.deleting and not pod.ended for pod in pods), 0)
        until = job_rules.until_deadline(job, status, now)
        if missing < 0:
            surplus = sorted(active, key=lambda pod: (pod.ready, bool(pod.node), pod.created))
            await self._pod_control.delete(_KIND, job, surplus[:-missing])
        elif missing > 0:
            pause, places = _places(job, status, pods, missing, now)
            waits = [each for each in (pause, until) if each]
            if not places:
                return min(waits, default=until)
            if failed := await self._create_pods(job, pods, places):
                await self._write_status(job, status)
                raise RequeueError(failed)
            until = min(waits, default=until)
        return 0.0 if missing > BURST_REPLICAS else until

    async def _create_pods(self, job: Object, pods: list[PodInfo], places: list[int | None]) -> str:
        reference = owner_reference(_KIND, job)
        return await self._pod_control.create(
            _KIND,
            job,
            len(places),
            lambda at: copy.deepcopy(job_rules.new_pod(job, reference, places[at], pods)),
        )

    async def _write_status(self, job: Object, status: Object) -> None:
        """Write the counts of pods into the status."""
        self._lister.sync()
        pods = self._lister.pods_of(job["metadata"]["uid"])
        active = [pod for pod in pods if pod.active]
        status["active"] = len(active)
        status["ready"] = sum(pod.ready for pod in active)
        status["terminating"] = sum(pod.deleting and not pod.ended for pod in pods)
        for name in ("active", "succeeded", "failed"):
            if not status.get(name):
                status.pop(name, None)
        await self._client.write_status(_KIND.kind, job, status)

    async def _remove_finalizers(self, pods: list[PodInfo], counted: set[str]) -> None:
        """Remove the tracking finalizer from counted pods."""
        for pod in pods:
            if pod.tracked and pod.uid in counted:
                await self._client.change_list(
                    "Pod",
                    pod.identity,
                    "finalizers",
                    lambda found: [each for each in found if each != TRACKING],
                )


def _places(
    job: Object, status: Object, pods: list[PodInfo], count: int, now: float
) -> tuple[float, list[int | None]]:
    """Return the backoff before the next pod, and the indexes of the pods to create now, or None for each."""
    if job_rules.limits_indexes(job):
        free = job_rules.free_indexes(job, status, pods, count)
        waits = {index: job_rules.index_backoff(pods, index, now) for index in free}
        pause = min((wait for wait in waits.values() if wait), default=0.0)
        return pause, [index for index in free if not waits[index]]
    if (pause := job_rules.backoff(pods, now)) > 0:
        return pause, []
    if job_rules.is_indexed(job):
        return 0.0, [*job_rules.free_indexes(job, status, pods, count)]
    return 0.0, [None] * count


def _set_outcome(job: Object, status: Object, pods: list[PodInfo], now: float) -> None:
    """Set the outcome of a Job in its status, unless it already has one."""
    if _outcome(status):
        return
    reason, message = job_rules.failure_reason(job, status, pods, now)
    if reason:
        job_rules.set_condition(status, job_rules.FAILS, reason, message, now)
    elif met := job_rules.success(job, status):
        job_rules.set_condition(status, job_rules.SUCCEEDS, "SuccessPolicy", met, now)
    elif job_rules.is_done(job, status, sum(pod.active for pod in pods)):
        why = "Reached expected number of succeeded pods"
        job_rules.set_condition(status, job_rules.SUCCEEDS, "CompletionsReached", why, now)


def _outcome(status: Object) -> Object | None:
    kinds = (job_rules.FAILS, job_rules.SUCCEEDS)
    found = (job_rules.true_condition(status, kind) for kind in kinds)
    return next((each for each in found if each), None)
