"""The `scale` subresource: read and write the number of replicas of a workload."""

import copy
from collections.abc import Mapping
from typing import Any

from kubeling.apiserver import decoding, options, response, strict_decoding, worker
from kubeling.apiserver.admission.plugins import UPDATE, AdmissionAttributes
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.patch import json_patch, server_side_apply
from kubeling.apiserver.read import listing
from kubeling.apiserver.registry import preconditions, strategies
from kubeling.apiserver.registry.preconditions import check_preconditions
from kubeling.apiserver.registry.store import APPLY, PATCHES, Registry
from kubeling.apiserver.request import Request
from kubeling.apiserver.response import Response
from kubeling.apiserver.selectors import format_selector, get_path, workload_selector
from kubeling.apiserver.status import (
    Cause,
    CauseType,
    conflict,
    invalid,
    invalid_options,
    not_found,
    unsupported_media_type,
)
from kubeling.apiserver.storage.storage import Object, RevisionConflict
from kubeling.clock import Clock

_GROUP, _VERSION, _KIND = "autoscaling", "autoscaling/v1", "Scale"
_BUILT_IN_PATHS = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
}
_COPIED = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
_MAX_ATTEMPTS = 8
_MAX_REPLICAS = 2**31 - 1


def scale_of(kind: Kind, workload: Object) -> Object:
    """Return the Scale of a workload or of a custom resource."""
    metadata, paths = workload["metadata"], _paths(kind)
    status: Object = {"replicas": _number(get_path(workload, paths["statusReplicasPath"]))}
    if selector := _selector(kind, workload):
        status["selector"] = selector
    replicas = _number(get_path(workload, paths["specReplicasPath"]))
    return {
        "kind": _KIND,
        "apiVersion": _VERSION,
        "metadata": {name: metadata[name] for name in _COPIED if name in metadata},
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


def _paths(kind: Kind) -> Mapping[str, str]:
    given = _BUILT_IN_PATHS if kind.custom is None else kind.custom.scale_paths
    return {name: path.removeprefix(".") for name, path in given.items()}


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _selector(kind: Kind, workload: Object) -> str:
    """Return the selector of a scale; a custom resource has it as text."""
    if kind.custom is None:
        return format_selector(workload_selector(kind, workload))
    path = _paths(kind).get("labelSelectorPath")
    found = get_path(workload, path) if path else None
    return found if isinstance(found, str) else ""


class ScaleHandler:
    """Reads and writes scales."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._clock: Clock = registry.clock

    async def handle(self, request: Request) -> Response:
        """Handle a GET, PUT or PATCH request. Raises StatusError 400, 404, 409, 415, 422."""
        if request.info.verb == "get":
            return response.encode(
                request, scale_of(request.kind, listing.get_object(self._registry.store, request))
            )
        response.negotiate(request)
        return response.encode(request, scale_of(request.kind, await self._write(request)))

    async def _write(self, request: Request) -> Object:
        kind = request.kind
        is_patch = request.info.verb == "patch"
        is_apply = is_patch and request.content_type == APPLY
        write_options = options.parse_write_options(
            request, "PatchOptions" if is_patch else "UpdateOptions", apply=is_apply
        )
        accepted = PATCHES if kind.custom is None else preconditions.PATCHES
        if is_patch and request.content_type not in accepted:
            raise unsupported_media_type(accepted, patch=kind.custom is None)
        body = await request.body() if is_patch else b""
        scale = {} if is_patch else await decoding.decode_type(request, _KIND, _VERSION)
        for _ in range(_MAX_ATTEMPTS):
            live = self._registry.store.get(kind, *request.namespaced_name)
            if live is None:
                raise not_found(kind, request.info.name)
            current = scale_of(kind, live)
            requested = scale
            if is_patch:
                requested = await worker.run(request.size, _patch_scale, request, current, body)
            check_preconditions(kind, request.info.name, live, requested)
            requested = await self._admit(request, current, requested, write_options)
            new = self._with_replicas(kind, live, requested, write_options, is_apply=is_apply)
            if write_options.dry_run or new == live:
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
        attributes = AdmissionAttributes.of(
            request,
            UPDATE,
            _without_type_meta(old | {"spec": requested.get("spec") or {}}),
            old=_without_type_meta(old),
            sub_kind=(_GROUP, "v1", _KIND),
            options=write_options.body("UpdateOptions"),
            dry_run=write_options.dry_run,
        )
        await self._registry.webhooks.admit(attributes)
        assert attributes.obj is not None
        return attributes.obj

    def _with_replicas(
        self,
        kind: Kind,
        live: Object,
        scale: Object,
        write_options: options.WriteOptions,
        *,
        is_apply: bool,
    ) -> Object:
        """Return a workload with the replicas of a scale.

        Raises StatusError 409 if an apply has conflicts; 422.
        """
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
        path = _paths(kind)["specReplicasPath"]
        if replicas == get_path(live, path) and not is_apply:
            return live
        new = {} if is_apply else copy.deepcopy(live)
        _set_path(new, path, replicas)
        if is_apply:
            new = server_side_apply.apply(
                kind,
                live,
                new,
                write_options.manager,
                force=write_options.force,
                now=self._clock(),
                subresource="scale",
            )
        if kind.custom is not None and (causes := list(kind.custom.validate(new, live))):
            raise invalid(kind, live["metadata"]["name"], causes)
        if not is_apply:
            managed = server_side_apply.track_update(
                kind, live, new, write_options.manager, subresource="scale", now=self._clock()
            )
            if managed:
                new["metadata"]["managedFields"] = managed
        strategies.increment_generation(kind, new, live)
        return new


def _set_path(obj: Object, path: str, value: int) -> None:
    *parents, name = path.split(".")
    for part in parents:
        if not isinstance(obj.get(part), dict):
            obj[part] = {}
        obj = obj[part]
    obj[name] = value


def _patch_scale(request: Request, scale: Object, body: bytes) -> Object:
    is_apply = request.content_type == APPLY
    parsed, duplicates = decoding.parse(
        body, "application/yaml" if is_apply else "application/json"
    )
    if is_apply:
        in_patch = strict_decoding.problems(parsed, duplicates)
        changed = decoding.with_type_meta(parsed, _KIND, _VERSION)
    elif request.content_type == json_patch.MEDIA_TYPES[0]:
        in_patch = strict_decoding.json_patch_problems(parsed, duplicates)
        changed = json_patch.json_patch(scale, parsed)
    else:  # a Scale has no lists, so both merge patches give the same result
        in_patch = strict_decoding.problems(parsed, duplicates)
        changed = json_patch.merge_patch(scale, parsed)
    json_patch.check_size(changed)
    return decoding.check_patched_fields(request, _KIND, changed, in_patch)


def _without_type_meta(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name not in ("kind", "apiVersion")}
