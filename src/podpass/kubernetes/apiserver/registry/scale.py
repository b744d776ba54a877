"""The `scale` of a workload: how many pods it shall have, read and written without the rest of it."""

import copy

from podpass.clock import Clock
from podpass.kubernetes.apiserver import decoding, options
from podpass.kubernetes.apiserver import response as answer
from podpass.kubernetes.apiserver.admission.plugins import UPDATE, Attributes
from podpass.kubernetes.apiserver.kinds import Kind
from podpass.kubernetes.apiserver.patch import json_patch, server_side_apply
from podpass.kubernetes.apiserver.read import listing
from podpass.kubernetes.apiserver.registry import strategies
from podpass.kubernetes.apiserver.registry.store import Resources, unmoved
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.response import Answer
from podpass.kubernetes.apiserver.selectors import written
from podpass.kubernetes.apiserver.status import (
    Cause,
    Why,
    conflict,
    invalid_options,
    not_found,
    unsupported_media_type,
)
from podpass.kubernetes.apiserver.storage.storage import Moved, Object

_GROUP, _VERSION, _KIND = "autoscaling", "autoscaling/v1", "Scale"
_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
_COPIED = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
_TRIES = 8
_MOST = 2**31 - 1


def of(workload: Object) -> Object:
    """Give the scale of a workload."""
    metadata, spec = workload["metadata"], workload["spec"]
    status: Object = {"replicas": (workload.get("status") or {}).get("replicas") or 0}
    if selector := written(spec.get("selector")):
        status["selector"] = selector
    replicas = spec.get("replicas") or 0
    return {
        "kind": _KIND,
        "apiVersion": _VERSION,
        "metadata": {name: metadata[name] for name in _COPIED if name in metadata},
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


class Scales:
    """Answers reads and writes of scales."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._clock: Clock = resources.clock

    async def answer(self, request: Request) -> Answer:
        """Answer a GET, PUT or PATCH.

        Errors:  StatusError 400, 404, 409, 415, 422.
        """
        if request.target.verb == "get":
            return answer.whole(request, of(listing.read(self._resources.store, request)))
        answer.accepted(request)
        return answer.whole(request, of(await self._write(request)))

    async def _write(self, request: Request) -> Object:
        kind = request.kind
        is_patch = request.target.verb == "patch"
        how = options.write(request, "PatchOptions" if is_patch else "UpdateOptions")
        if is_patch and request.content_type not in _PATCHES:
            raise unsupported_media_type(_PATCHES, patch=True)
        body = await request.body() if is_patch else b""
        sent = {} if is_patch else await decoding.named(request, _KIND, _VERSION)
        for _ in range(_TRIES):
            live = self._resources.store.get(kind, *request.place)
            if live is None:
                raise not_found(kind, request.target.name)
            wanted = _patched(request, of(live), body) if is_patch else sent
            unmoved(kind, request.target.name, live, wanted)
            wanted = await self._admitted(request, of(live), wanted, how)
            new = self._scaled(kind, live, wanted, how.manager)
            if how.dry_run or new is live:
                return new
            try:
                return self._resources.store.update(
                    kind, new, int(live["metadata"]["resourceVersion"])
                )
            except Moved:
                continue
        why = "the object is being changed all the time; try again"
        raise conflict(kind, request.target.name, why)

    async def _admitted(
        self, request: Request, old: Object, wanted: Object, how: options.WriteOptions
    ) -> Object:
        attributes = Attributes(
            operation=UPDATE,
            kind=request.kind,
            namespace=request.target.namespace,
            name=request.target.name,
            user=request.user,
            obj=_bare(old | {"spec": wanted.get("spec") or {}}),
            old=_bare(old),
            subresource="scale",
            sub_kind=(_GROUP, "v1", _KIND),
            options=how.body("UpdateOptions"),
            dry_run=how.dry_run,
            warnings=request.warnings,
        )
        await self._resources.webhooks.mutate(attributes, lambda: None)
        await self._resources.webhooks.validate(attributes)
        assert attributes.obj is not None
        return attributes.obj

    def _scaled(self, kind: Kind, live: Object, scale: Object, manager: str) -> Object:
        """Give a workload as its scale wants it; the live one itself if it is so already."""
        replicas = (scale.get("spec") or {}).get("replicas") or 0
        if not 0 <= replicas <= _MOST:
            causes = [Cause(Why.INVALID, f"{replicas} is not a number of pods", "spec.replicas")]
            name = live["metadata"]["name"]
            raise invalid_options(_KIND, causes, name=name, group=_GROUP)
        if replicas == live["spec"].get("replicas"):
            return live
        new = copy.deepcopy(live)
        new["spec"]["replicas"] = replicas
        owners = server_side_apply.track_update(
            kind, live, new, manager, subresource="scale", now=self._clock()
        )
        if owners:
            new["metadata"]["managedFields"] = owners
        strategies.bump(new, live)
        return new


def _patched(request: Request, scale: Object, body: bytes) -> Object:
    parsed, twice = decoding.parse(body, "application/json")
    if request.content_type == _PATCHES[0]:
        changed = json_patch.json_patch(scale, parsed)
    else:  # without lists, the two merges are one
        changed = json_patch.merge_patch(scale, parsed)
    json_patch.check_size(changed)
    return decoding.fitting(request, _KIND, changed, twice)


def _bare(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name not in ("kind", "apiVersion")}
