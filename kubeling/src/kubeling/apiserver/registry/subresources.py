"""The `binding` and `eviction` subresources of pods."""

from kubeling.apiserver import decoding, options
from kubeling.apiserver.admission.plugins import CREATE, AdmissionAttributes
from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.options import WriteOptions
from kubeling.apiserver.registry import eviction
from kubeling.apiserver.registry.deletion import DeletionHandler
from kubeling.apiserver.registry.store import Registry
from kubeling.apiserver.request import Request
from kubeling.apiserver.status import (
    Body,
    Cause,
    CauseType,
    StatusError,
    bad_request,
    conflict,
    invalid_options,
    not_found,
    success_status,
)
from kubeling.apiserver.storage.storage import Object, RevisionConflict
from kubeling.clock import Clock, rfc3339

_SCHEDULED, _DISRUPTED = "PodScheduled", "DisruptionTarget"
_BINDING, _EVICTION = ("", "v1", "Binding"), ("policy", "v1", "Eviction")


class PodSubresources:
    """Binds and evicts pods."""

    def __init__(self, registry: Registry, deletion_handler: DeletionHandler) -> None:
        self._registry = registry
        self._deletion_handler = deletion_handler

    async def bind(self, request: Request) -> Body:
        """Bind a pod to the node in the body. Raises StatusError 400, 404, 409, 422."""
        write_options = options.parse_write_options(request, "CreateOptions")
        binding = await decoding.decode_type(request, "Binding", "v1")
        target = binding.get("target") or {}
        if causes := _target_causes(target):
            raise invalid_options("Binding", causes, group="", name=request.info.name)
        await self._admit(request, binding, write_options, _BINDING)
        while True:
            pod = self._pod(request)
            name = request.info.name
            if pod["metadata"].get("deletionTimestamp"):
                raise _binding_conflict(
                    request, f"pod {name} is being deleted, cannot be assigned to a host"
                )
            if node := pod["spec"].get("nodeName"):
                raise _binding_conflict(request, f'pod {name} is already assigned to node "{node}"')
            read_revision = int(pod["metadata"]["resourceVersion"])
            _set_node(pod, binding, self._registry.clock)
            if write_options.dry_run:
                return success_status(201)
            try:
                self._registry.store.update(request.kind, pod, read_revision)
            except RevisionConflict:
                continue
            return success_status(201)

    async def evict(self, request: Request) -> Body:
        """Evict a pod: delete it if its disruption budget allows that.

        Raises StatusError 400, 404, 409, 429.
        """
        write_options = options.parse_write_options(request, "CreateOptions")
        body = await decoding.decode_type(request, "Eviction", "policy/v1", "policy/v1beta1")
        name = (body.get("metadata") or {}).get("name") or request.info.name
        if name != request.info.name:
            raise bad_request("name in URL does not match name in Eviction object")
        given = dict(body.get("deleteOptions") or {})
        if write_options.dry_run:
            given["dryRun"] = ["All"]
        await self._admit(request, body, write_options, _EVICTION)
        dry_run = bool(given.get("dryRun"))
        self._use_disruption(self._pod(request), dry_run=dry_run)
        if not dry_run:
            self._report_disruption(request, given)
        await self._deletion_handler.delete_named(
            request, *request.namespaced_name, options.parse_delete_options(given)
        )
        return success_status(201)

    def _use_disruption(self, pod: Object, *, dry_run: bool) -> None:
        """Decrement the budget before the pod is deleted, so that two evictions need two disruptions."""
        if eviction.can_ignore_budget(pod):
            return
        kind, metadata = kind_by_name("PodDisruptionBudget"), pod["metadata"]
        store = self._registry.store
        entries = store.list_stored(kind, metadata["namespace"])
        budget = eviction.find_budget(pod, [entry.object() for entry in entries])
        if budget is None or not eviction.needs_disruption(budget, pod):
            return
        status = eviction.check_and_decrement(budget, metadata["name"], self._registry.clock())
        if not dry_run:
            read_revision = int(budget["metadata"]["resourceVersion"])
            store.update(kind, {**budget, "status": status}, read_revision)

    def _report_disruption(self, request: Request, delete_options: Object) -> None:
        """Set the condition of an evicted pod, which a Job's podFailurePolicy reads."""
        pod = self._pod(request)
        required = delete_options.get("preconditions") or {}
        if any(pod["metadata"].get(name) != value for name, value in required.items()):
            return  # the deletion is refused
        why = {"reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}
        _set_condition(pod, _DISRUPTED, self._registry.clock, **why)
        read_revision = int(pod["metadata"]["resourceVersion"])
        updated = self._registry.store.update(request.kind, pod, read_revision)
        if "resourceVersion" in required:
            revision = updated["metadata"]["resourceVersion"]
            delete_options["preconditions"] = {**required, "resourceVersion": revision}

    def _pod(self, request: Request) -> Object:
        pod = self._registry.store.get(request.kind, *request.namespaced_name)
        if pod is None:
            raise not_found(request.kind, request.info.name)
        return pod

    async def _admit(
        self,
        request: Request,
        obj: Object,
        write_options: WriteOptions,
        sub_kind: tuple[str, str, str],
    ) -> None:
        attributes = AdmissionAttributes.of(
            request,
            CREATE,
            {name: value for name, value in obj.items() if name not in ("kind", "apiVersion")},
            sub_kind=sub_kind,
            options=write_options.body("CreateOptions"),
            dry_run=write_options.dry_run,
        )
        await self._registry.webhooks.admit(attributes)


def _target_causes(target: Object) -> list[Cause]:
    causes = []
    if target.get("kind") not in (None, "", "Node"):
        causes.append(Cause(CauseType.NOT_SUPPORTED, 'supported values: "Node"', "target.kind"))
    if not target.get("name"):
        causes.append(Cause(CauseType.REQUIRED, "Required value", "target.name"))
    return causes


def _binding_conflict(request: Request, reason: str) -> StatusError:
    return conflict(request.kind, request.info.name, reason, details_kind="pods/binding")


def _set_node(pod: Object, binding: Object, clock: Clock) -> None:
    pod["spec"]["nodeName"] = binding["target"]["name"]
    if annotations := (binding.get("metadata") or {}).get("annotations"):
        pod["metadata"]["annotations"] = (pod["metadata"].get("annotations") or {}) | annotations
    _set_condition(pod, _SCHEDULED, clock)


def _set_condition(pod: Object, kind: str, clock: Clock, **more: str) -> None:
    """Set a condition of a pod to true."""
    status = pod.setdefault("status", {})
    others = [each for each in status.get("conditions") or () if each.get("type") != kind]
    moment = rfc3339(clock())
    made = {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": moment}
    status["conditions"] = [*others, made | more]
