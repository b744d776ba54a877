"""DaemonSet controller: one pod on every node that its template fits."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.selectors import Requirement
from kubeling.apiserver.storage.storage import Object
from kubeling.controllers import controller_ref, controller_revisions, replicasets
from kubeling.controllers.client import ControllerClient, event_reference, owner_reference
from kubeling.controllers.controller_revisions import REVISION_HASH
from kubeling.controllers.lister import Lister
from kubeling.controllers.pod_control import PodControl
from kubeling.controllers.pod_info import PodInfo
from kubeling.controllers.replicasets import pod_from_template
from kubeling.controllers.workqueue import RequeueError
from kubeling.event_recorder import NORMAL, WARNING, EventRecorder

_NODE = "node.kubernetes.io"
_TOLERATED = (
    (f"{_NODE}/not-ready", "NoExecute"),
    (f"{_NODE}/unreachable", "NoExecute"),
    (f"{_NODE}/disk-pressure", "NoSchedule"),
    (f"{_NODE}/memory-pressure", "NoSchedule"),
    (f"{_NODE}/pid-pressure", "NoSchedule"),
    (f"{_NODE}/unschedulable", "NoSchedule"),
)

NodePods = Mapping[str, Sequence[PodInfo]]
"""The pods of a DaemonSet by node, the oldest first."""


def new_pod(daemon_set: Object, node: str, hash_: str, reference: Object) -> Object:
    """Build the pod for a node.

    The pod names its node. kube-controller-manager sets a node affinity instead, which the scheduler of this
    cluster does not read.
    """
    made = pod_from_template(daemon_set["spec"]["template"], daemon_set, reference)
    metadata = made["metadata"]
    metadata["labels"] = {**(metadata.get("labels") or {}), REVISION_HASH: hash_}
    made["spec"] = {**made["spec"], "nodeName": node, "tolerations": _tolerations(daemon_set)}
    return made


def _tolerations(daemon_set: Object) -> list[Object]:
    spec = daemon_set["spec"]["template"]["spec"]
    tolerated = [*_TOLERATED]
    if spec.get("hostNetwork"):
        tolerated.append((f"{_NODE}/network-unavailable", "NoSchedule"))
    return [
        *(spec.get("tolerations") or ()),
        *({"key": key, "operator": "Exists", "effect": effect} for key, effect in tolerated),
    ]


def placement(daemon_set: Object, node: Mapping[str, Any]) -> tuple[bool, bool]:
    """Return whether a node gets a pod, and whether a pod that runs there may stay."""
    spec, labels = daemon_set["spec"]["template"]["spec"], node["metadata"].get("labels") or {}
    fits = spec.get("nodeName") in (None, "", node["metadata"]["name"])
    wanted = (spec.get("nodeSelector") or {}).items()
    if not fits or not wanted <= labels.items() or not _fits_affinity(spec, node):
        return False, False
    tolerations = _tolerations(daemon_set)
    repelled = {
        taint.get("effect")
        for taint in (node.get("spec") or {}).get("taints") or ()
        if not any(_tolerates(each, taint) for each in tolerations)
    }
    return not repelled & {"NoSchedule", "NoExecute"}, "NoExecute" not in repelled


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    exists = toleration.get("operator") == "Exists"
    return exists or (toleration.get("value") or "") == (taint.get("value") or "")


def _fits_affinity(spec: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    """Return whether a node matches one of the required terms, if there are any."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    labels = node["metadata"].get("labels") or {}
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(
        (term.get("matchExpressions") or term.get("matchFields"))
        and all(_meets(each, labels) for each in term.get("matchExpressions") or ())
        and all(_meets(each, fields) for each in term.get("matchFields") or ())
        for term in required.get("nodeSelectorTerms") or ()
    )


def _meets(term: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator, values = term["key"], term["operator"], list(term.get("values") or ())
    if operator not in ("Gt", "Lt"):
        return Requirement(key, operator, frozenset(values)).matches(labels)
    try:
        given, bound = int(labels[key]), int(values[0])
    except (KeyError, ValueError, IndexError):
        return False
    return given > bound if operator == "Gt" else given < bound


def _allows_surge(daemon_set: Object) -> bool:
    return _most(daemon_set, "maxSurge", 1) > 0


def _most(daemon_set: Object, name: str, nodes: int) -> int:
    """Return maxSurge or maxUnavailable as a number of nodes; a percentage is rounded up."""
    rolling = (daemon_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    value = rolling.get(name) or 0
    if isinstance(value, str):
        return math.ceil(int(value[:-1]) * nodes / 100)
    return int(value)


def surplus_and_missing(
    daemon_set: Object, nodes: Sequence[Object], by_node: NodePods
) -> tuple[list[PodInfo], list[str]]:
    """Return the running pods to delete, and the nodes that need a pod.

    Pods that have ended are neither; they count for their node until they are deleted.
    """
    surplus: list[PodInfo] = []
    missing: list[str] = []
    for node in nodes:
        name = node["metadata"]["name"]
        runs, stays = placement(daemon_set, node)
        pods = by_node.get(name) or ()
        running = [pod for pod in pods if pod.active]
        if not stays:
            surplus += running
        elif not _allows_surge(daemon_set):
            surplus += running[1:]
            if runs and not pods:
                missing.append(name)
        else:  # an old pod may run until the new one is available
            surplus += running[2:]
            if runs and not running:
                missing.append(name)
    return surplus, missing


def replaced(
    daemon_set: Object, nodes: Sequence[Object], by_node: NodePods, hash_: str, now: float
) -> tuple[list[PodInfo], list[str]]:
    """Return the outdated pods that a rolling update deletes now, and the nodes on which it adds a pod."""
    least = daemon_set["spec"].get("minReadySeconds") or 0
    wanted = {
        each["metadata"]["name"]: by_node.get(each["metadata"]["name"]) or ()
        for each in nodes
        if placement(daemon_set, each)[0]
    }
    surges = _allows_surge(daemon_set)
    room = _most(daemon_set, "maxSurge" if surges else "maxUnavailable", len(wanted))
    deleted: list[PodInfo] = []
    candidates: list[tuple[str, PodInfo]] = []
    added: list[str] = []
    for name, pods in wanted.items():
        active = [pod for pod in pods if pod.active]
        old = [pod for pod in active if pod.labels.get(REVISION_HASH) != hash_]
        new = [pod for pod in active if pod not in old]
        works = any(pod.available(now, least) for pod in new)
        if old and new and works:  # only with surge
            deleted += old
        elif old and not new and not old[0].available(now, least):
            if surges:
                added.append(name)
            else:
                deleted.append(old[0])
                room -= 1
        elif old and not new:
            candidates.append((name, old[0]))
        elif not works and not (surges and not old):
            room -= 1
    chosen = candidates[: max(room, 0)]
    if surges:
        return deleted, [*added, *(name for name, _ in chosen)]
    return [*deleted, *(pod for _, pod in chosen)], []


def daemon_status(
    daemon_set: Object, nodes: Sequence[Object], by_node: NodePods, hash_: str, now: float
) -> Object:
    """Return the status of a DaemonSet."""
    least = daemon_set["spec"].get("minReadySeconds") or 0
    runs = {each["metadata"]["name"]: placement(daemon_set, each)[0] for each in nodes}
    wanted = [name for name, fits in runs.items() if fits]
    # The oldest pod of each node counts, as in kube-controller-manager.
    pods = [by_node[name][0] for name in wanted if by_node.get(name)]
    available = sum(pod.available(now, least) for pod in pods)
    new: Object = {
        "currentNumberScheduled": len(pods),
        "numberMisscheduled": sum(bool(by_node.get(name)) for name in runs if not runs[name]),
        "desiredNumberScheduled": len(wanted),
        "numberReady": sum(pod.ready for pod in pods),
        "observedGeneration": daemon_set["metadata"].get("generation") or 0,
    }
    more = {
        "updatedNumberScheduled": sum(pod.labels.get(REVISION_HASH) == hash_ for pod in pods),
        "numberAvailable": available,
        "numberUnavailable": len(wanted) - available,
    }
    new |= {name: count for name, count in more.items() if count}
    old = daemon_set.get("status") or {}
    return new | {name: old[name] for name in ("collisionCount", "conditions") if old.get(name)}


_KIND, _NODE_KIND = kind_by_name("DaemonSet"), kind_by_name("Node")
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
        status = daemon_status(daemon_set, self._nodes(), _by_node(pods), hash_, self._client.now)
        await self._client.write_status(_KIND.kind, before, status)
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
        until = replicasets.seconds_until_available(pods, least, self._client.now)
        return min((each for each in (wait, until) if each is not None), default=None)

    def _nodes(self) -> list[Object]:
        return [entry.object() for entry in self._client.store.list_stored(_NODE_KIND)]

    async def _sync_pods(self, daemon_set: Object, pods: list[PodInfo], hash_: str) -> str:
        """Delete surplus and outdated pods and create missing ones; return the first failure message."""
        nodes, by_node = self._nodes(), _by_node(pods)
        surplus, missing = surplus_and_missing(daemon_set, nodes, by_node)
        if (daemon_set["spec"].get("updateStrategy") or {}).get("type") != "OnDelete":
            outdated, added = replaced(daemon_set, nodes, by_node, hash_, self._client.now)
            surplus += [pod for pod in outdated if pod not in surplus]
            missing += [node for node in added if node not in missing]
        reference = owner_reference(_KIND, daemon_set)
        failure = await self._pod_control.create(
            _KIND,
            daemon_set,
            len(missing),
            lambda at: new_pod(daemon_set, missing[at], hash_, reference),
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
            state, does = ("failed", "kill") if failed else ("succeeded", "delete")
            reason = f"{state.capitalize()}DaemonPod"
            message = f"Found {state} daemon pod {pod.namespace}/{pod.name} on node {pod.node},"
            message += f" will try to {does} it"
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
