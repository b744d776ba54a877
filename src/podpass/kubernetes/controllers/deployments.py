"""Deployments: a template rolled out by replica sets, one for each template there has been."""

import copy

from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.apiserver.status import StatusError
from podpass.kubernetes.apiserver.storage.storage import Object
from podpass.kubernetes.controllers import (
    controller_ref,
    revisions,
    rollout,
    rollout_status,
)
from podpass.kubernetes.controllers.client import Writer, owner_reference
from podpass.kubernetes.controllers.event_recorder import NORMAL, WARNING, Notes
from podpass.kubernetes.controllers.lister import View
from podpass.kubernetes.controllers.pod_info import controller
from podpass.kubernetes.controllers.rollout_status import (
    PAUSED,
    PROGRESSING,
    RESUMED,
    TIMED_OUT,
    condition,
    set_condition,
)

_KIND, _SET = named("Deployment"), named("ReplicaSet")


class Deployments:
    """Looks after deployments."""

    def __init__(self, view: View, writer: Writer) -> None:
        self._view, self._writer = view, writer
        self._notes = Notes(writer, "deployment-controller")

    async def look(self, namespace: str, name: str) -> float | None:
        """Bring a deployment one step further; say when to look again.

        Errors:  StatusError.
        """
        before = self._writer.store.get(_KIND, namespace, name)
        if before is None:
            return None
        round_ = _Round(self._view, self._writer, self._notes, before)
        await round_.run()
        return await round_.report()


class _Round:
    """One look at one deployment.

    Shapes:  `deployment` is changed in memory and written once, at the end.
    """

    def __init__(self, view: View, writer: Writer, notes: Notes, before: Object) -> None:
        self._view, self._writer, self._notes = view, writer, notes
        self._before, self._deployment = before, copy.deepcopy(before)
        self._new: Object | None = None
        self._olds: list[Object] = []
        self._rolled = False
        self._changed: set[str] = set()

    @property
    def _every(self) -> list[Object]:
        return [*self._olds, *([self._new] if self._new else [])]

    async def run(self) -> None:
        deployment = self._deployment
        sets = await self._sets()
        self._new = revisions.newest(deployment, sets)
        self._olds = [each for each in sets if each is not self._new]
        if deployment["metadata"].get("deletionTimestamp"):
            return
        self._note_pause()
        paused = deployment["spec"].get("paused")
        if paused or rollout.was_resized(deployment, sets):
            await self._number_new()
            await self._scale(rollout.resized(deployment, self._new, self._olds))
            if paused:
                await self._forget()
            return
        self._rolled = True
        if rollout.is_rolling(deployment):
            await self._roll()
        else:
            await self._recreate()

    async def _roll(self) -> None:
        new = await self._ensure_new()
        wanted = rollout.new_size(self._deployment, self._every, new)
        if await self._scale({new["metadata"]["name"]: wanted}):
            return
        if await self._scale(rollout.old_sizes(self._deployment, new, self._olds)):
            return
        await self._forget_if_done()

    async def _recreate(self) -> None:
        """Make new pods when the last old one is gone."""
        await self._number_new()
        gone = {each["metadata"]["name"]: 0 for each in self._olds if rollout.size(each)}
        if await self._scale(gone) or self._old_pods_run():
            return
        new = await self._ensure_new()
        await self._scale({new["metadata"]["name"]: self._deployment["spec"]["replicas"]})
        await self._forget_if_done()

    def _old_pods_run(self) -> bool:
        self._view.catch_up()
        return any(
            not pod.ended
            for each in self._olds
            for pod in self._view.pods_of(each["metadata"]["uid"])
        )

    async def _sets(self) -> list[Object]:
        """Give the deployment's replica sets, after taking in strays that its selector finds."""
        uid = self._before["metadata"]["uid"]
        found = controller_ref.finds(self._before["spec"]["selector"])
        kept = []
        for entry in self._writer.store.entries(_SET, self._before["metadata"]["namespace"]):
            each = entry.object()
            owner = controller(each["metadata"]).get("uid", "")
            fits = found(each["metadata"].get("labels") or {})
            going = each["metadata"].get("deletionTimestamp")
            if owner == uid and (fits or going):
                kept.append(each)
            elif owner == uid:
                await self._own(each, adopt=False)
            elif not owner and fits and not going and not self._is_going():
                kept.append(await self._own(each, adopt=True))
        return kept

    def _is_going(self) -> bool:
        return bool(self._before["metadata"].get("deletionTimestamp"))

    async def _own(self, replica_set: Object, *, adopt: bool) -> Object:
        uid = self._before["metadata"]["uid"]
        metadata = dict(replica_set["metadata"])
        others = [each for each in metadata.get("ownerReferences") or () if each["uid"] != uid]
        mine = [owner_reference(_KIND, self._before)] if adopt else []
        metadata["ownerReferences"] = [*others, *mine]
        return await self._writer.update(_SET.kind, {**replica_set, "metadata": metadata})

    def _note_pause(self) -> None:
        deployment, now = self._deployment, self._writer.now
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

    async def _number_new(self) -> None:
        """Give the new replica set, if it is there, its revision and the deployment's annotations."""
        if self._new is None:
            return
        spec = self._deployment["spec"]
        revision = revisions.next_number(self._olds)
        found = revisions.annotations(self._deployment, self._new, revision)
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
            self._new = await self._writer.update(_SET.kind, wanted)
        self._take_revision(self._new)
        if not condition(self._deployment.get("status") or {}, PROGRESSING):
            why = f'Found new replica set "{metadata["name"]}"'
            self._say("True", "FoundNewReplicaSet", why)

    def _take_revision(self, new: Object) -> None:
        metadata = self._deployment["metadata"]
        annotations = dict(metadata.get("annotations") or {})
        annotations[revisions.REVISION] = str(revisions.number(new))
        metadata["annotations"] = annotations

    def _say(self, holds: str, reason: str, message: str) -> None:
        if self._deployment["spec"].get("progressDeadlineSeconds") is not None:
            status = self._deployment.setdefault("status", {})
            set_condition(status, PROGRESSING, holds, reason, message, self._writer.now)

    async def _ensure_new(self) -> Object:
        """Give the replica set of the deployment's template, and make it if there is none."""
        await self._number_new()
        if self._new is not None:
            return self._new
        deployment = self._deployment
        count = rollout.new_size(deployment, self._olds, None)
        new = revisions.made(
            deployment,
            owner_reference(_KIND, deployment),
            self._olds,
            replicas=count,
            most=rollout.most(deployment),
        )
        name = new["metadata"]["name"]
        try:
            self._new = made = await self._writer.create(_SET.kind, new)
        except StatusError as exc:
            await self._not_made(name, exc)
            raise
        if count:
            await self._tell_scaled("up", name, 0, count)
        self._take_revision(made)
        why = f'Created new replica set "{name}"'
        self._say("True", "NewReplicaSetCreated", why)
        return made

    async def _not_made(self, name: str, exc: StatusError) -> None:
        if (
            exc.reason == "AlreadyExists"
        ):  # of another template with the same hash: try the next one
            status = self._deployment.setdefault("status", {})
            status["collisionCount"] = (status.get("collisionCount") or 0) + 1
        else:
            told = f'Failed to create new replica set "{name}": {exc.message}'
            self._say("False", "ReplicaSetCreateError", told)
            await self._notes.record(
                _KIND.kind, self._before, WARNING, "ReplicaSetCreateError", told
            )
        await self._write()

    async def _scale(self, sizes: rollout.Sizes) -> bool:
        """Give replica sets their sizes, and tell whether one of them changed."""
        self._changed.clear()
        self._olds = [await self._resize(each, sizes) for each in self._olds]
        if self._new is not None:
            self._new = await self._resize(self._new, sizes)
        return bool(self._changed)

    async def _resize(self, replica_set: Object, sizes: rollout.Sizes) -> Object:
        metadata = replica_set["metadata"]
        name, now = metadata["name"], rollout.size(replica_set)
        if name not in sizes:
            return replica_set
        count, annotations = sizes[name], dict(metadata.get("annotations") or {})
        annotations |= revisions.sized(self._deployment, rollout.most(self._deployment))
        if count == now and annotations == metadata.get("annotations"):
            return replica_set
        wanted = {
            **replica_set,
            "metadata": {**metadata, "annotations": annotations},
            "spec": {**replica_set["spec"], "replicas": count},
        }
        changed = await self._writer.update(_SET.kind, wanted)
        if count != now:
            self._changed.add(name)
            await self._tell_scaled("up" if count > now else "down", name, now, count)
        return changed

    async def _tell_scaled(self, way: str, name: str, before: int, after: int) -> None:
        told = f"Scaled {way} replica set {name} from {before} to {after}"
        await self._notes.record(_KIND.kind, self._before, NORMAL, "ScalingReplicaSet", told)

    async def _forget_if_done(self) -> None:
        counted = rollout_status.counted(self._deployment, self._new, self._every, self._writer.now)
        if rollout.is_complete(self._deployment, counted):
            await self._forget()

    async def _forget(self) -> None:
        for each in revisions.forgotten(self._deployment, self._olds):
            metadata = each["metadata"]
            await self._writer.delete(
                _SET.kind, metadata["namespace"], metadata["name"], metadata["uid"]
            )

    async def report(self) -> float | None:
        """Write down what the deployment is at; say when its deadline is."""
        deployment, now = self._deployment, self._writer.now
        status = rollout_status.counted(deployment, self._new, self._every, now)
        if self._rolled:
            rollout_status.progressed(deployment, status, self._new, self._every, now)
        deployment["status"] = status
        await self._write()
        return rollout_status.until_stuck(deployment, status, now)

    async def _write(self) -> None:
        if self._deployment != self._before:
            await self._writer.update(_KIND.kind, self._deployment, part="status")
