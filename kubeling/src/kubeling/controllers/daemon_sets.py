"""DaemonSet controller: one pod on every node that its template fits."""

import copy
from collections.abc import Sequence

from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.storage.storage import Object
from kubeling.controllers import (
    controller_ref,
    controller_revisions,
    daemon_rules,
    replica_status,
)
from kubeling.controllers.client import ControllerClient, event_reference, owner_reference
from kubeling.controllers.lister import Lister
from kubeling.controllers.pod_control import PodControl
from kubeling.controllers.pod_info import PodInfo
from kubeling.controllers.workqueue import RequeueError
from kubeling.event_recorder import NORMAL, WARNING, EventRecorder

_KIND, _NODE = kind_by_name("DaemonSet"), kind_by_name("Node")
_FIRST_BACKOFF, _LONGEST_BACKOFF = 1.0, 900.0


class DaemonSetController:
    """Reconciles DaemonSets."""

    def __init__(self, lister: Lister, client: ControllerClient, recorder: EventRecorder) -> None:
        self._lister, self._client, self._recorder = lister, client, recorder
        self._pod_control = PodControl(client, recorder)
        # When the last failed pod of a DaemonSet on a node was deleted, and the delay before the next.
        self._deleted_failed: dict[tuple[str, str, str], tuple[float, float]] = {}

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Create and delete pods of a DaemonSet; return the requeue delay."""
        before = self._client.store.get(_KIND, namespace, name)
        if before is None:
            for key in [key for key in self._deleted_failed if key[:2] == (namespace, name)]:
                del self._deleted_failed[key]
            return None
        daemon_set = copy.deepcopy(before)
        uid = daemon_set["metadata"]["uid"]
        pods = await controller_ref.claim_pods(self._lister, self._client, _KIND, daemon_set)
        revisions = await controller_revisions.sync(
            self._client,
            _KIND,
            daemon_set,
            daemon_set.setdefault("status", {}),
            controller_revisions.REVISION_HASH,
        )
        if not revisions:  # deleted before its first reconcile
            return None
        hash_ = revisions[-1]["metadata"]["labels"][controller_revisions.REVISION_HASH]
        wait, failure = None, ""
        if not daemon_set["metadata"].get("deletionTimestamp"):
            wait = await self._delete_ended(daemon_set, pods)
            failure = await self._sync_pods(daemon_set, pods, hash_)
        self._lister.sync()
        pods = self._lister.pods_of(uid)
        status = daemon_rules.status(
            daemon_set, self._nodes(), _by_node(pods), hash_, self._client.now
        )
        if status != before.get("status"):
            await self._client.update(_KIND.kind, {**daemon_set, "status": status}, part="status")
        used = {pod.labels.get(controller_revisions.REVISION_HASH) for pod in pods} | {hash_}
        labels = controller_revisions.REVISION_HASH
        names = {
            each["metadata"]["name"]
            for each in revisions
            if each["metadata"]["labels"].get(labels) in used
        }
        await controller_revisions.truncate(self._client, daemon_set, revisions, names)
        if failure:
            raise RequeueError(failure)
        least = daemon_set["spec"].get("minReadySeconds") or 0
        until = replica_status.seconds_until_available(pods, least, self._client.now)
        return min((each for each in (wait, until) if each is not None), default=None)

    def _nodes(self) -> list[Object]:
        return [entry.object() for entry in self._client.store.list_stored(_NODE)]

    async def _sync_pods(self, daemon_set: Object, pods: list[PodInfo], hash_: str) -> str:
        """Delete surplus and outdated pods and create missing ones; return the first failure message."""
        nodes, by_node = self._nodes(), _by_node(pods)
        surplus, missing = daemon_rules.surplus_and_missing(daemon_set, nodes, by_node)
        if (daemon_set["spec"].get("updateStrategy") or {}).get("type") != "OnDelete":
            outdated, added = daemon_rules.replaced(
                daemon_set, nodes, by_node, hash_, self._client.now
            )
            surplus += [pod for pod in outdated if pod not in surplus]
            missing += [node for node in added if node not in missing]
        reference = owner_reference(_KIND, daemon_set)
        failure = await self._pod_control.create(
            _KIND,
            daemon_set,
            len(missing),
            lambda at: daemon_rules.new_pod(daemon_set, missing[at], hash_, reference),
        )
        await self._pod_control.delete(_KIND, daemon_set, surplus)
        return failure

    async def _delete_ended(self, daemon_set: Object, pods: Sequence[PodInfo]) -> float | None:
        """Delete pods that have ended, failed ones with backoff; return the seconds until the next."""
        waits = []
        for pod in pods:
            if not pod.ended or pod.deleting:
                continue
            failed = pod.phase == "Failed"
            if failed and (wait := self._backoff(daemon_set, pod.node)) > 0:
                waits.append(wait)
                continue
            state, does = (
                ("failed", "try to kill it") if failed else ("succeeded", "try to delete it")
            )
            reason = "FailedDaemonPod" if failed else "SucceededDaemonPod"
            message = f"Found {state} daemon pod {pod.namespace}/{pod.name} on node {pod.node}, will {does}"
            self._recorder.record(
                event_reference(_KIND, daemon_set), WARNING if failed else NORMAL, reason, message
            )
            await self._pod_control.delete(_KIND, daemon_set, [pod])
        return min(waits, default=None)

    def _backoff(self, daemon_set: Object, node: str) -> float:
        """Return the seconds until a failed pod may be deleted; zero starts a longer backoff for the next."""
        now, metadata = self._client.now, daemon_set["metadata"]
        key = (metadata["namespace"], metadata["name"], node)
        at, delay = self._deleted_failed.get(key, (0.0, 0.0))
        if (left := at + delay - now) > 0:
            return left
        expired = now - at > 2 * _LONGEST_BACKOFF
        longer = _FIRST_BACKOFF if expired or not delay else min(2 * delay, _LONGEST_BACKOFF)
        self._deleted_failed[key] = (now, longer)
        return 0.0


def _by_node(pods: Sequence[PodInfo]) -> dict[str, list[PodInfo]]:
    """Return the pods by node, the oldest first."""
    found: dict[str, list[PodInfo]] = {}
    for pod in sorted(pods, key=lambda each: (each.created, each.name)):
        found.setdefault(pod.node, []).append(pod)
    return found
