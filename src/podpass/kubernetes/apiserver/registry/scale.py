"""The `scale` subresource: read and write the number of replicas of a workload."""

import copy

from podpass.clock import Clock
from podpass.kubernetes.apiserver import decoding, options, response, worker
from podpass.kubernetes.apiserver.admission.plugins import UPDATE, AdmissionAttributes
from podpass.kubernetes.apiserver.kinds import Kind
from podpass.kubernetes.apiserver.patch import json_patch, server_side_apply
from podpass.kubernetes.apiserver.read import listing
from podpass.kubernetes.apiserver.registry import strategies
from podpass.kubernetes.apiserver.registry.preconditions import check_preconditions
from podpass.kubernetes.apiserver.registry.store import Registry
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.response import Response
from podpass.kubernetes.apiserver.selectors import format_selector
from podpass.kubernetes.apiserver.status import (
    Cause,
    CauseType,
    conflict,
    invalid_options,
    not_found,
    unsupported_media_type,
)
from podpass.kubernetes.apiserver.storage.storage import Object, RevisionConflict

_GROUP, _VERSION, _KIND = "autoscaling", "autoscaling/v1", "Scale"
_COPIED = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
_MAX_ATTEMPTS = 8
_MAX_REPLICAS = 2**31 - 1


def scale_of(workload: Object) -> Object:
    """Return the Scale of a workload."""
    metadata, spec = workload["metadata"], workload["spec"]
    status: Object = {"replicas": (workload.get("status") or {}).get("replicas") or 0}
    if selector := format_selector(spec.get("selector")):
        status["selector"] = selector
    replicas = spec.get("replicas") or 0
    return {
        "kind": _KIND,
        "apiVersion": _VERSION,
        "metadata": {name: metadata[name] for name in _COPIED if name in metadata},
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


class ScaleHandler:
    """Reads and writes scales."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._clock: Clock = registry.clock

    async def handle(self, request: Request) -> Response:
        """Handle a GET, PUT or PATCH request.

        Errors:  StatusError 400, 404, 409, 415, 422.
        """
        if request.info.verb == "get":
            return response.encode(
                request, scale_of(listing.get_object(self._registry.store, request))
            )
        response.negotiate(request)
        return response.encode(request, scale_of(await self._write(request)))

    async def _write(self, request: Request) -> Object:
        kind = request.kind
        is_patch = request.info.verb == "patch"
        write_options = options.parse_write_options(
            request, "PatchOptions" if is_patch else "UpdateOptions"
        )
        if is_patch and request.content_type not in json_patch.MEDIA_TYPES:
            raise unsupported_media_type(json_patch.MEDIA_TYPES, patch=True)
        body = await request.body() if is_patch else b""
        scale = {} if is_patch else await decoding.decode_type(request, _KIND, _VERSION)
        for _ in range(_MAX_ATTEMPTS):
            live = self._registry.store.get(kind, *request.namespaced_name)
            if live is None:
                raise not_found(kind, request.info.name)
            requested = scale
            if is_patch:
                requested = await worker.run(
                    request.size, _patch_scale, request, scale_of(live), body
                )
            check_preconditions(kind, request.info.name, live, requested)
            requested = await self._admit(request, scale_of(live), requested, write_options)
            new = self._with_replicas(kind, live, requested, write_options.manager)
            if write_options.dry_run or new is live:
                return new
            try:
                return self._registry.store.update(
                    kind, new, int(live["metadata"]["resourceVersion"])
                )
            except RevisionConflict:
                continue
        reason = "the object was changed too often during the update; try again"
        raise conflict(kind, request.info.name, reason)

    async def _admit(
        self, request: Request, old: Object, requested: Object, write_options: options.WriteOptions
    ) -> Object:
        attributes = AdmissionAttributes(
            operation=UPDATE,
            kind=request.kind,
            namespace=request.info.namespace,
            name=request.info.name,
            user=request.user,
            obj=_without_type_meta(old | {"spec": requested.get("spec") or {}}),
            old=_without_type_meta(old),
            subresource="scale",
            sub_kind=(_GROUP, "v1", _KIND),
            options=write_options.body("UpdateOptions"),
            dry_run=write_options.dry_run,
            warnings=request.warnings,
        )
        await self._registry.webhooks.mutate(attributes, lambda: None)
        await self._registry.webhooks.validate(attributes)
        assert attributes.obj is not None
        return attributes.obj

    def _with_replicas(self, kind: Kind, live: Object, scale: Object, manager: str) -> Object:
        """Return a workload with the replicas of a scale; the live object itself if nothing changes."""
        replicas = (scale.get("spec") or {}).get("replicas") or 0
        if not 0 <= replicas <= _MAX_REPLICAS:
            causes = [
                Cause(
                    CauseType.INVALID,
                    f"{replicas} is not a valid number of replicas",
                    "spec.replicas",
                )
            ]
            name = live["metadata"]["name"]
            raise invalid_options(_KIND, causes, name=name, group=_GROUP)
        if replicas == live["spec"].get("replicas"):
            return live
        new = copy.deepcopy(live)
        new["spec"]["replicas"] = replicas
        managed = server_side_apply.track_update(
            kind, live, new, manager, subresource="scale", now=self._clock()
        )
        if managed:
            new["metadata"]["managedFields"] = managed
        strategies.increment_generation(new, live)
        return new


def _patch_scale(request: Request, scale: Object, body: bytes) -> Object:
    parsed, duplicates = decoding.parse(body, "application/json")
    if request.content_type == json_patch.MEDIA_TYPES[0]:
        changed = json_patch.json_patch(scale, parsed)
    else:  # a Scale has no lists, so both merge patches give the same result
        changed = json_patch.merge_patch(scale, parsed)
    json_patch.check_size(changed)
    return decoding.check_fields(request, _KIND, changed, duplicates)


def _without_type_meta(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name not in ("kind", "apiVersion")}
