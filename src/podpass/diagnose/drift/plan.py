"""Decide which pods differ from what admission would give them now, and which controllers to restart. Pure.

A pod is compared with the answer of admission to the same pod with the labels, annotations and ServiceAccount
of its controller's template. So a label that was added to the template later counts, too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from podpass import names
from podpass.diagnose.drift.comparison import (
    MIRROR,
    Drift,
    find_drift,
    find_template,
    is_injected,
    without_injection,
)
from podpass.kubernetes.objects import RESTARTABLE, controller_of, has_ended, matches

Object = Mapping[str, Any]
_REVISIONS = ("pod-template-hash", "controller-revision-hash")
_ON_DELETE = "OnDelete"


@dataclass(frozen=True, slots=True, order=True)
class ControllerRef:
    """A workload that creates pods; a pod without one has the kind `Pod`."""

    namespace: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodDrift:
    """A pod that differs; `differs` is what differs, from the pod to what admission would set now."""

    namespace: str
    name: str
    controller: ControllerRef
    differs: tuple[Drift, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UncheckedPod:
    """A pod that could not be compared, and why."""

    namespace: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """The pods that differ, and those that could not be compared."""

    checked: int = 0
    pods: Sequence[PodDrift] = ()
    unchecked: Sequence[UncheckedPod] = ()

    @property
    def controllers(self) -> list[ControllerRef]:
        """Return the controllers of the pods that differ, sorted."""
        return sorted({each.controller for each in self.pods})


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """The controllers of the namespaces that were read.

    `templates` are the controllers of `RESTARTABLE` as the API server returned them; `deployments` maps a
    ReplicaSet to its Deployment, None for one without.
    """

    templates: Mapping[ControllerRef, Object] = field(default_factory=dict)
    deployments: Mapping[tuple[str, str], str | None] = field(default_factory=dict)

    def controller_of(self, pod: Object) -> ControllerRef:
        """Return the workload whose template defines a pod, or the pod itself."""
        metadata = pod.get("metadata") or {}
        namespace = str(metadata.get("namespace", ""))
        if owner := controller_of(pod):
            kind, name = str(owner.get("kind", "")), str(owner.get("name", ""))
            deployment = self.deployments.get((namespace, name))
            if kind == "ReplicaSet" and deployment:
                return ControllerRef(namespace, "Deployment", deployment)
            return ControllerRef(namespace, kind, name)
        return ControllerRef(namespace, "Pod", str(metadata.get("name", "")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A pod that may differ; pods with the same `revision` need only one answer of admission.

    `sent` is the pod as a client would send it now.
    """

    pod: Object
    controller: ControllerRef
    revision: tuple[str, ...]
    sent: dict[str, Any]

    @property
    def wants_identity(self) -> bool:
        """Return whether admission should inject an identity into the pod."""
        labels = self.sent["metadata"].get("labels") or {}
        return labels.get(names.USE_LABEL) == "true"


def find_candidates(pods: Iterable[Object], owners: Owners) -> list[Candidate]:
    """Return the running pods that have an identity, or whose controller requests one."""
    found = []
    for pod in pods:
        annotations = (pod.get("metadata") or {}).get("annotations") or {}
        if has_ended(pod) or MIRROR in annotations:
            continue
        controller = owners.controller_of(pod)
        candidate = Candidate(
            pod=pod,
            controller=controller,
            revision=_revision(pod, controller),
            sent=_as_sent(pod, owners.templates.get(controller)),
        )
        if candidate.wants_identity or is_injected(pod):
            found.append(candidate)
    return found


def _revision(pod: Object, controller: ControllerRef) -> tuple[str, ...]:
    metadata = pod.get("metadata") or {}
    labels = metadata.get("labels") or {}
    hashes = tuple(str(labels[each]) for each in _REVISIONS if each in labels)
    # Without a hash of its template, a pod may have been changed by its creator.
    own = () if hashes and controller.kind in RESTARTABLE else (str(metadata.get("name", "")),)
    return (controller.namespace, controller.kind, controller.name, *hashes, *own)


def _as_sent(pod: Object, controller: Object | None) -> dict[str, Any]:
    sent = without_injection(pod, find_template(pod, controller))
    sent["metadata"]["generateName"] = "podpass-drift-"
    if controller is None:
        return sent
    template = (controller.get("spec") or {}).get("template") or {}
    about = template.get("metadata") or {}
    for name in ("labels", "annotations"):
        sent["metadata"].pop(name, None)
        if about.get(name):
            sent["metadata"][name] = dict(about[name])
    account = (template.get("spec") or {}).get("serviceAccountName")
    if account:
        sent["spec"]["serviceAccountName"] = account
    return sent


def compare(candidate: Candidate, answer: Object | str) -> PodDrift | UncheckedPod | None:
    """Compare a pod with the answer of admission, or with the reason why there is none.

    None if nothing differs.
    """
    metadata = candidate.pod.get("metadata") or {}
    namespace, name = str(metadata.get("namespace", "")), str(metadata.get("name", ""))
    if isinstance(answer, str):
        return UncheckedPod(namespace=namespace, name=name, reason=answer)
    if candidate.wants_identity and not is_injected(answer):
        # A restart would remove the identity: the webhook is unavailable, and its failures are ignored.
        return UncheckedPod(
            namespace=namespace,
            name=name,
            reason="admission injects no identity now: the webhook is not registered, does not answer, or"
            " exempts the namespace; run podpass doctor",
        )
    differs = find_drift(candidate.pod, answer)
    if not differs:
        return None
    return PodDrift(
        namespace=namespace, name=name, controller=candidate.controller, differs=differs
    )


def find_obstacle(
    kind: str, controller: Object, budgets: Sequence[Object], pods: int
) -> str | None:
    """Return why a controller is not restarted; None if it can be.

    `budgets` are the PodDisruptionBudgets that select its pods; `pods` is their number.
    """
    spec = controller.get("spec") or {}
    if kind == "Deployment" and spec.get("paused"):
        return "its rollout is paused; run kubectl rollout resume, then this command again"
    strategy = spec.get("updateStrategy") or spec.get("strategy") or {}
    if strategy.get("type") == _ON_DELETE:
        return "its update strategy is OnDelete: delete its pods one after another"
    rolling = strategy.get("rollingUpdate") or {}
    if kind == "StatefulSet" and rolling.get("partition"):
        return f"its partition {rolling['partition']} keeps pods below that number unchanged"
    unavailable = _max_unavailable(kind, strategy, pods)
    for budget in budgets:
        name = str((budget.get("metadata") or {}).get("name", ""))
        status = budget.get("status") or {}
        healthy, desired = status.get("currentHealthy"), status.get("desiredHealthy")
        if healthy is None or desired is None:
            return f"the PodDisruptionBudget {name} has no status yet"
        allowed = max(int(healthy) - int(desired), 0)
        if unavailable > allowed:
            return (
                f"its rollout may make {unavailable} pods unavailable at once, and the PodDisruptionBudget"
                f" {name} allows {allowed} of {healthy} healthy ones"
            )
    return None


def _max_unavailable(kind: str, strategy: Object, pods: int) -> int:
    """Return how many pods of a controller its rollout may make unavailable at the same time."""
    if strategy.get("type") == "Recreate":
        return pods
    rolling = strategy.get("rollingUpdate") or {}
    # A Deployment rounds a percentage of unavailable pods down, a DaemonSet up.
    default = {"Deployment": "25%", "DaemonSet": 1, "StatefulSet": 1}.get(kind, 1)
    given = rolling.get("maxUnavailable")
    return _count(default if given is None else given, pods, up=kind != "Deployment")


def _count(value: object, pods: int, *, up: bool) -> int:
    text = str(value)
    if not text.endswith("%"):
        return int(text) if text.isdecimal() else 1
    percent = int(text[:-1]) if text[:-1].isdecimal() else 0
    return -(-pods * percent // 100) if up else pods * percent // 100


def is_selected(budget: Object, labels: Mapping[str, str]) -> bool:
    """Return whether a PodDisruptionBudget selects pods with these labels."""
    return matches((budget.get("spec") or {}).get("selector"), labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutState:
    """How far a rollout is: `failure` says why it cannot end, `progress` what it waits for."""

    is_done: bool = False
    failure: str = ""
    progress: str = ""


def read_rollout(kind: str, controller: Object) -> RolloutState:
    """Return how far the rollout of a controller's present template is."""
    generation = int((controller.get("metadata") or {}).get("generation") or 0)
    status = controller.get("status") or {}
    if int(status.get("observedGeneration") or 0) < generation:
        return RolloutState(progress="its controller has not observed the change yet")
    if kind == "DaemonSet":
        wanted = int(status.get("desiredNumberScheduled") or 0)
        updated = int(status.get("updatedNumberScheduled") or 0)
        available = int(status.get("numberAvailable") or 0)
        return _compare_counts(wanted, updated, available, updated)
    for each in status.get("conditions") or ():
        if each.get("reason") == "ProgressDeadlineExceeded":
            return RolloutState(failure=str(each.get("message") or "it exceeded its deadline"))
    spec = controller.get("spec") or {}
    wanted = int(spec["replicas"] if spec.get("replicas") is not None else 1)
    updated = int(status.get("updatedReplicas") or 0)
    if kind == "StatefulSet":
        if status.get("updateRevision") == status.get("currentRevision"):
            updated = wanted
        return _compare_counts(wanted, updated, int(status.get("readyReplicas") or 0), updated)
    available = int(status.get("availableReplicas") or 0)
    return _compare_counts(wanted, updated, available, int(status.get("replicas") or 0))


def _compare_counts(wanted: int, updated: int, available: int, present: int) -> RolloutState:
    if updated < wanted:
        return RolloutState(progress=f"{updated} of {wanted} pods are new")
    if present > updated:
        return RolloutState(progress=f"{present - updated} old pods are still there")
    if available < wanted:
        return RolloutState(progress=f"{available} of {wanted} new pods are ready")
    return RolloutState(is_done=True)
