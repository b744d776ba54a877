"""Deployment controller: roll out a pod template by one ReplicaSet per revision."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.status import StatusError
from kubeling.apiserver.storage.storage import Object
from kubeling.clock import rfc3339
from kubeling.controllers import controller_ref, rollout
from kubeling.controllers.client import ControllerClient, event_reference, owner_reference
from kubeling.controllers.lister import Lister
from kubeling.controllers.pod_info import seconds
from kubeling.controllers.replicasets import FAILURE
from kubeling.event_recorder import NORMAL, WARNING, EventRecorder

AVAILABLE, PROGRESSING = "Available", "Progressing"
DONE, TIMED_OUT = "NewReplicaSetAvailable", "ProgressDeadlineExceeded"
PAUSED, RESUMED = "DeploymentPaused", "DeploymentResumed"
_COUNTS = ("replicas", "readyReplicas", "availableReplicas")


def condition(status: Mapping[str, Any], kind: str) -> Object | None:
    return next((each for each in status.get("conditions") or () if each["type"] == kind), None)


def set_condition(
    status: Object,
    kind: str,
    holds: str,
    reason: str,
    message: str,
    now: float,
    *,
    renews: bool = False,
) -> None:
    """Set a condition in the given status; an equal condition changes only if this renews it."""
    old = condition(status, kind)
    if old and not renews and (old["status"], old.get("reason")) == (holds, reason):
        return
    moment = rfc3339(now)
    since = old["lastTransitionTime"] if old and old["status"] == holds else moment
    new = {
        "type": kind,
        "status": holds,
        "lastUpdateTime": moment,
        "lastTransitionTime": since,
        "reason": reason,
        "message": message,
    }
    status["conditions"] = [*_without(status, kind), new]


def _without(status: Mapping[str, Any], kind: str) -> list[Object]:
    return [each for each in status.get("conditions") or () if each["type"] != kind]


def calculate_status(
    deployment: Object, new: Object | None, sets: Sequence[Object], now: float
) -> Object:
    """Return the status with the counts of the ReplicaSets and the condition Available."""
    old = deployment.get("status") or {}
    status: Object = {"observedGeneration": deployment["metadata"].get("generation") or 0}
    found = {name: _sum(sets, name) for name in _COUNTS}
    found["updatedReplicas"] = _sum([new] if new else [], "replicas")
    found["unavailableReplicas"] = max(rollout.total(sets) - found["availableReplicas"], 0)
    status |= {name: count for name, count in found.items() if count}
    for part in ("collisionCount", "conditions"):
        if old.get(part):
            status[part] = old[part]
    least = deployment["spec"]["replicas"] - rollout.bounds(deployment)[1]
    if found["availableReplicas"] >= least:
        why = "Deployment has minimum availability."
        set_condition(status, AVAILABLE, "True", "MinimumReplicasAvailable", why, now)
    else:
        why = "Deployment does not have minimum availability."
        set_condition(status, AVAILABLE, "False", "MinimumReplicasUnavailable", why, now)
    return status


def _sum(sets: Sequence[Object], part: str) -> int:
    return sum((each.get("status") or {}).get(part) or 0 for each in sets)


def update_progress(
    deployment: Object, status: Object, new: Object | None, sets: Sequence[Object], now: float
) -> None:
    """Set the condition Progressing: in progress, complete, or past its deadline."""
    known = condition(status, PROGRESSING)
    name = f'ReplicaSet "{new["metadata"]["name"]}"' if new else "Deployment"
    if deployment["spec"].get("progressDeadlineSeconds") is None:
        status["conditions"] = _without(status, PROGRESSING)
    elif not _was_complete(status, known):
        if rollout.is_complete(deployment, status):
            why = f"{name} has successfully progressed."
            set_condition(status, PROGRESSING, "True", DONE, why, now)
        elif _has_progressed(deployment.get("status") or {}, status):
            # The time of its last update restarts the progress deadline.
            why = f"{name} is progressing."
            set_condition(status, PROGRESSING, "True", "ReplicaSetUpdated", why, now, renews=True)
        elif is_timed_out(deployment, status, now):
            why = f"{name} has timed out progressing."
            set_condition(status, PROGRESSING, "False", TIMED_OUT, why, now)
    _copy_failure(status, sets)


def _was_complete(status: Object, known: Object | None) -> bool:
    same = (status.get("replicas") or 0) == (status.get("updatedReplicas") or 0)
    return bool(same and known and known.get("reason") == DONE)


def _has_progressed(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    def left(status: Mapping[str, Any]) -> int:
        return (status.get("replicas") or 0) - (status.get("updatedReplicas") or 0)

    grown = ("updatedReplicas", "readyReplicas", "availableReplicas")
    more = any((new.get(name) or 0) > (old.get(name) or 0) for name in grown)
    return more or left(new) < left(old)


def is_timed_out(deployment: Object, status: Mapping[str, Any], now: float) -> bool:
    """Return whether the progress deadline has passed."""
    known = condition(status, PROGRESSING)
    if known is None or known.get("reason") == DONE:
        return False
    if known.get("reason") == TIMED_OUT:
        return True
    deadline = deployment["spec"].get("progressDeadlineSeconds")
    return deadline is not None and seconds(known.get("lastUpdateTime")) + deadline < now


def seconds_until_timeout(
    deployment: Object, status: Mapping[str, Any], now: float
) -> float | None:
    """Return the seconds until the progress deadline; None if no progress is expected."""
    known = condition(status, PROGRESSING)
    deadline = deployment["spec"].get("progressDeadlineSeconds")
    if known is None or deadline is None or rollout.is_complete(deployment, status):
        return None
    if known.get("reason") in (DONE, TIMED_OUT, PAUSED):
        return None
    return max(seconds(known.get("lastUpdateTime")) + float(deadline) - now, 0.0) + 1


def _copy_failure(status: Object, sets: Sequence[Object]) -> None:
    """Copy the condition ReplicaFailure from a ReplicaSet, because users inspect the Deployment first."""
    failures = [found for each in sets if (found := condition(each.get("status") or {}, FAILURE))]
    others = _without(status, FAILURE)
    if not failures:
        if len(others) != len(status.get("conditions") or ()):
            status["conditions"] = others
        return
    failure = failures[-1]
    known = condition(status, FAILURE)
    if known and known.get("message") == failure.get("message"):
        return
    copied = {**failure, "lastUpdateTime": failure["lastTransitionTime"]}
    status["conditions"] = [*others, copied]


_KIND, _SET = kind_by_name("Deployment"), kind_by_name("ReplicaSet")


class DeploymentController:
    """Reconciles Deployments."""

    def __init__(self, lister: Lister, client: ControllerClient, recorder: EventRecorder) -> None:
        self._lister, self._client, self._recorder = lister, client, recorder

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Reconcile one Deployment; return the requeue delay."""
        before = self._client.store.get(_KIND, namespace, name)
        if before is None:
            return None
        sync = _DeploymentSync(self._lister, self._client, self._recorder, before)
        await sync.run()
        return await sync.report()


class _DeploymentSync:
    """One reconcile of one Deployment. `deployment` is changed in memory and written once, at the end."""

    def __init__(
        self, lister: Lister, client: ControllerClient, recorder: EventRecorder, before: Object
    ) -> None:
        self._lister, self._client, self._recorder = lister, client, recorder
        self._before, self._deployment = before, copy.deepcopy(before)
        self._new: Object | None = None
        self._old: list[Object] = []
        self._rolled = False
        self._changed: set[str] = set()

    @property
    def _all_sets(self) -> list[Object]:
        return [*self._old, *([self._new] if self._new else [])]

    async def run(self) -> None:
        deployment = self._deployment
        sets = await controller_ref.claim_objects(self._client, _SET, _KIND, deployment)
        self._new = rollout.find_new_replica_set(deployment, sets)
        self._old = [each for each in sets if each is not self._new]
        if deployment["metadata"].get("deletionTimestamp"):
            return
        self._set_paused_condition()
        paused = deployment["spec"].get("paused")
        if paused or rollout.is_scaling_event(deployment, sets):
            await self._update_new()
            await self._scale(rollout.scale_all(deployment, self._new, self._old))
            if paused:
                await self._clean_up()
            return
        self._rolled = True
        if rollout.is_rolling(deployment):
            await self._roll()
        else:
            await self._recreate()

    async def _roll(self) -> None:
        new = await self._ensure_new()
        wanted = rollout.new_size(self._deployment, self._all_sets, new)
        if await self._scale({new["metadata"]["name"]: wanted}):
            return
        if await self._scale(rollout.old_sizes(self._deployment, new, self._old)):
            return
        await self._clean_up_if_complete()

    async def _recreate(self) -> None:
        """Create new pods after the last old pod has ended."""
        await self._update_new()
        empty = {each["metadata"]["name"]: 0 for each in self._old if rollout.replicas_of(each)}
        if await self._scale(empty) or self._old_pods_run():
            return
        new = await self._ensure_new()
        await self._scale({new["metadata"]["name"]: self._deployment["spec"]["replicas"]})
        await self._clean_up_if_complete()

    def _old_pods_run(self) -> bool:
        self._lister.sync()
        return any(
            not pod.ended
            for each in self._old
            for pod in self._lister.pods_of(each["metadata"]["uid"])
        )

    def _set_paused_condition(self) -> None:
        deployment, now = self._deployment, self._client.now
        if deployment["spec"].get("progressDeadlineSeconds") is None:
            return
        status = deployment.setdefault("status", {})
        known = condition(status, PROGRESSING) or {}
        if known.get("reason") == TIMED_OUT:
            return
        if deployment["spec"].get("paused"):
            set_condition(status, PROGRESSING, "Unknown", PAUSED, "Deployment is paused", now)
        elif known.get("reason") == PAUSED:
            set_condition(status, PROGRESSING, "Unknown", RESUMED, "Deployment is resumed", now)

    async def _update_new(self) -> None:
        """Update revision and annotations of the new ReplicaSet, if it exists."""
        if self._new is None:
            return
        spec = self._deployment["spec"]
        revision = rollout.next_revision(self._old)
        found = rollout.set_annotations(self._deployment, self._new, revision)
        metadata = self._new["metadata"]
        least = spec.get("minReadySeconds") or 0
        changed = {**self._new["spec"], "minReadySeconds": least}
        if not least:
            changed.pop("minReadySeconds")
        if found != (metadata.get("annotations") or {}) or changed != self._new["spec"]:
            wanted = {
                **self._new,
                "metadata": {**metadata, "annotations": found},
                "spec": changed,
            }
            self._new = await self._client.update(_SET.kind, wanted)
        self._copy_revision(self._new)
        if not condition(self._deployment.get("status") or {}, PROGRESSING):
            why = f'Found new replica set "{metadata["name"]}"'
            self._set_progressing("True", "FoundNewReplicaSet", why)

    def _copy_revision(self, new: Object) -> None:
        metadata = self._deployment["metadata"]
        annotations = dict(metadata.get("annotations") or {})
        annotations[rollout.REVISION] = str(rollout.revision_of(new))
        metadata["annotations"] = annotations

    def _set_progressing(self, holds: str, reason: str, message: str) -> None:
        if self._deployment["spec"].get("progressDeadlineSeconds") is not None:
            status = self._deployment.setdefault("status", {})
            set_condition(status, PROGRESSING, holds, reason, message, self._client.now)

    async def _ensure_new(self) -> Object:
        """Return the ReplicaSet of the current template; create it if it does not exist."""
        await self._update_new()
        if self._new is not None:
            return self._new
        deployment = self._deployment
        count = rollout.new_size(deployment, self._old, None)
        new = rollout.new_replica_set(
            deployment,
            owner_reference(_KIND, deployment),
            self._old,
            replicas=count,
            most=rollout.max_replicas(deployment),
        )
        name = new["metadata"]["name"]
        try:
            self._new = made = await self._client.create(_SET.kind, new)
        except StatusError as exc:
            await self._report_create_failure(name, exc)
            raise
        if count:
            self._record_scaled("up", name, 0, count)
        self._copy_revision(made)
        why = f'Created new replica set "{name}"'
        self._set_progressing("True", "NewReplicaSetCreated", why)
        return made

    async def _report_create_failure(self, name: str, exc: StatusError) -> None:
        # Another template has the same hash: the next reconcile uses the next collision count.
        if exc.reason == "AlreadyExists":
            status = self._deployment.setdefault("status", {})
            status["collisionCount"] = (status.get("collisionCount") or 0) + 1
        else:
            message = f'Failed to create new replica set "{name}": {exc.message}'
            self._set_progressing("False", "ReplicaSetCreateError", message)
            self._recorder.record(
                event_reference(_KIND, self._before), WARNING, "ReplicaSetCreateError", message
            )
        await self._write()

    async def _scale(self, sizes: rollout.Sizes) -> bool:
        """Set the sizes of ReplicaSets; return whether one of them changed."""
        self._changed.clear()
        self._old = [await self._resize(each, sizes) for each in self._old]
        if self._new is not None:
            self._new = await self._resize(self._new, sizes)
        return bool(self._changed)

    async def _resize(self, replica_set: Object, sizes: rollout.Sizes) -> Object:
        metadata = replica_set["metadata"]
        name, now = metadata["name"], rollout.replicas_of(replica_set)
        if name not in sizes:
            return replica_set
        count, annotations = sizes[name], dict(metadata.get("annotations") or {})
        annotations |= rollout.size_annotations(
            self._deployment, rollout.max_replicas(self._deployment)
        )
        if count == now and annotations == metadata.get("annotations"):
            return replica_set
        wanted = {
            **replica_set,
            "metadata": {**metadata, "annotations": annotations},
            "spec": {**replica_set["spec"], "replicas": count},
        }
        changed = await self._client.update(_SET.kind, wanted)
        if count != now:
            self._changed.add(name)
            self._record_scaled("up" if count > now else "down", name, now, count)
        return changed

    def _record_scaled(self, way: str, name: str, before: int, after: int) -> None:
        message = f"Scaled {way} replica set {name} from {before} to {after}"
        self._recorder.record(
            event_reference(_KIND, self._before), NORMAL, "ScalingReplicaSet", message
        )

    async def _clean_up_if_complete(self) -> None:
        counted = calculate_status(self._deployment, self._new, self._all_sets, self._client.now)
        if rollout.is_complete(self._deployment, counted):
            await self._clean_up()

    async def _clean_up(self) -> None:
        for each in rollout.over_history_limit(self._deployment, self._old):
            await self._client.delete_object(_SET.kind, each)

    async def report(self) -> float | None:
        """Write the status; return the seconds until the progress deadline."""
        deployment, now = self._deployment, self._client.now
        status = calculate_status(deployment, self._new, self._all_sets, now)
        if self._rolled:
            update_progress(deployment, status, self._new, self._all_sets, now)
        deployment["status"] = status
        await self._write()
        return seconds_until_timeout(deployment, status, now)

    async def _write(self) -> None:
        if self._deployment != self._before:
            await self._client.update(_KIND.kind, self._deployment, part="status")
