"""Parts of a pod that are no objects of their own: its binding to a node, its eviction."""

from podpass.clock import Clock, rfc3339
from podpass.kubernetes.apiserver import decoding, options
from podpass.kubernetes.apiserver.admission.plugins import CREATE, Attributes
from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.apiserver.options import WriteOptions
from podpass.kubernetes.apiserver.registry import eviction as disruption
from podpass.kubernetes.apiserver.registry.deletion import Deletions
from podpass.kubernetes.apiserver.registry.store import Resources
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.status import (
    Body,
    Cause,
    StatusError,
    Why,
    bad_request,
    conflict,
    invalid_options,
    not_found,
    success,
)
from podpass.kubernetes.apiserver.storage.storage import Moved, Object

_SCHEDULED = "PodScheduled"
_BINDING, _EVICTION = ("", "v1", "Binding"), ("policy", "v1", "Eviction")


class Subresources:
    """Binds and evicts pods."""

    def __init__(self, resources: Resources, deletions: Deletions) -> None:
        self._resources = resources
        self._deletions = deletions

    async def bind(self, request: Request) -> Body:
        """Bind a pod to the node the body names.

        Errors:  StatusError 400, 404, 409, 422.
        """
        how = options.write(request, "CreateOptions")
        binding = await decoding.named(request, "Binding", "v1")
        target = binding.get("target") or {}
        if causes := _target_causes(target):
            raise invalid_options("Binding", causes, group="", name=request.target.name)
        await self._admit(request, binding, how, _BINDING)
        while True:
            pod = self._pod(request)
            _bindable(request, pod)
            seen = int(pod["metadata"]["resourceVersion"])
            _bound(pod, binding, self._resources.clock)
            if how.dry_run:
                return success(201)
            try:
                self._resources.store.update(request.kind, pod, seen)
            except Moved:
                continue
            return success(201)

    async def evict(self, request: Request) -> Body:
        """Delete a pod as a disruption, if its budget has one left.

        Errors:  StatusError 400, 404, 409, 429.
        """
        how = options.write(request, "CreateOptions")
        eviction = await decoding.named(request, "Eviction", "policy/v1")
        name = (eviction.get("metadata") or {}).get("name") or request.target.name
        if name != request.target.name:
            raise bad_request("name in URL does not match name in Eviction object")
        given = dict(eviction.get("deleteOptions") or {})
        if how.dry_run:
            given["dryRun"] = ["All"]
        await self._admit(request, eviction, how, _EVICTION)
        self._spend(self._pod(request), dry_run=bool(given.get("dryRun")))
        await self._deletions.named(request, *request.place, options.delete_of(given))
        return success(201)

    def _spend(self, pod: Object, *, dry_run: bool) -> None:
        """Take a disruption from the pod's budget before the pod goes, so that two evictions need two."""
        if disruption.needs_no_budget(pod):
            return
        kind, metadata = named("PodDisruptionBudget"), pod["metadata"]
        store = self._resources.store
        entries = store.entries(kind, metadata["namespace"])
        budget = disruption.of(pod, [entry.object() for entry in entries])
        if budget is None or not disruption.is_spent(budget, pod):
            return
        spent = disruption.spend(budget, metadata["name"], self._resources.clock())
        if not dry_run:
            seen = int(budget["metadata"]["resourceVersion"])
            store.update(kind, {**budget, "status": spent}, seen)

    def _pod(self, request: Request) -> Object:
        pod = self._resources.store.get(request.kind, *request.place)
        if pod is None:
            raise not_found(request.kind, request.target.name)
        return pod

    async def _admit(
        self, request: Request, obj: Object, how: WriteOptions, sub_kind: tuple[str, str, str]
    ) -> None:
        shown = {name: value for name, value in obj.items() if name not in ("kind", "apiVersion")}
        attributes = Attributes(
            operation=CREATE,
            kind=request.kind,
            namespace=request.target.namespace,
            name=request.target.name,
            user=request.user,
            obj=shown,
            subresource=request.target.subresource,
            sub_kind=sub_kind,
            options=how.body("CreateOptions"),
            dry_run=how.dry_run,
            warnings=request.warnings,
        )
        await self._resources.webhooks.mutate(attributes, lambda: None)
        await self._resources.webhooks.validate(attributes)


def _target_causes(target: Object) -> list[Cause]:
    causes = []
    if target.get("kind") not in (None, "", "Node"):
        causes.append(Cause(Why.NOT_SUPPORTED, 'supported values: "Node"', "target.kind"))
    if not target.get("name"):
        causes.append(Cause(Why.REQUIRED, "must be given", "target.name"))
    return causes


def _bindable(request: Request, pod: Object) -> None:
    name = request.target.name
    if pod["metadata"].get("deletionTimestamp"):
        raise _refused(request, f"pod {name} is being deleted, cannot be assigned to a host")
    if node := pod["spec"].get("nodeName"):
        raise _refused(request, f'pod {name} is already assigned to node "{node}"')


def _refused(request: Request, why: str) -> StatusError:
    return conflict(request.kind, request.target.name, why, details_kind="pods/binding")


def _bound(pod: Object, binding: Object, clock: Clock) -> None:
    pod["spec"]["nodeName"] = binding["target"]["name"]
    if annotations := (binding.get("metadata") or {}).get("annotations"):
        pod["metadata"]["annotations"] = (pod["metadata"].get("annotations") or {}) | annotations
    status = pod.setdefault("status", {})
    others = [each for each in status.get("conditions") or () if each["type"] != _SCHEDULED]
    scheduled = {
        "type": _SCHEDULED,
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": rfc3339(clock()),
    }
    status["conditions"] = [*others, scheduled]
