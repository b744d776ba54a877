"""The one path every kind is written by: create, update, patch, apply.

What enters is a request that was let through; what leaves is the object as it is stored now. Objects in
here carry no `kind` and `apiVersion`. Webhooks take time, so a write compares the revision it started
from when it commits, and starts over where the client did not insist on one.
"""

import dataclasses
import uuid
from collections.abc import Callable
from typing import Any

from podpass.clock import Clock, rfc3339
from podpass.kubernetes.apiserver import decoding, options
from podpass.kubernetes.apiserver.admission import plugins
from podpass.kubernetes.apiserver.admission.plugins import CREATE, UPDATE, Attributes
from podpass.kubernetes.apiserver.admission.webhook_dispatcher import Webhooks
from podpass.kubernetes.apiserver.auth import escalation
from podpass.kubernetes.apiserver.auth.rbac import Rbac, asked
from podpass.kubernetes.apiserver.defaulting import defaults
from podpass.kubernetes.apiserver.kinds import Kind
from podpass.kubernetes.apiserver.options import WriteOptions
from podpass.kubernetes.apiserver.patch import json_patch as patch
from podpass.kubernetes.apiserver.patch import server_side_apply
from podpass.kubernetes.apiserver.registry import strategies
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.status import (
    StatusError,
    already_exists,
    bad_request,
    conflict,
    invalid,
    not_found,
    unsupported_media_type,
)
from podpass.kubernetes.apiserver.storage.storage import Moved, Object, Store, Taken
from podpass.kubernetes.apiserver.validation import rules, validate

APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"
_STRATEGIC = "application/strategic-merge-patch+json"
PATCHES = (_JSON_PATCH, _MERGE, _STRATEGIC, APPLY)
_TRIES = 8

Change = Callable[[Object], Object]
"""From the live object to what the client wants it to be."""


class Resources:
    """Writes objects of every kind."""

    def __init__(self, store: Store, rbac: Rbac, webhooks: Webhooks, clock: Clock) -> None:
        self.store = store
        self.rbac = rbac
        self.webhooks = webhooks
        self.clock = clock

    async def create(self, request: Request) -> Object:
        """Make the object in a request's body.

        Errors:  StatusError.
        """
        how = options.write(request, "CreateOptions")
        obj = await decoding.obj(request, request.kind)
        return await self.insert(request, obj, how)

    async def insert(
        self, request: Request, obj: Object, how: WriteOptions, *, owners: bool = True
    ) -> Object:
        """Make an object; with `owners` false its managedFields are complete already."""
        kind = request.kind
        metadata = obj.setdefault("metadata", {})
        _bare(obj)
        _in_namespace(request, metadata)
        if metadata.pop("resourceVersion", "") and not how.dry_run:
            # The storage's own complaint, for which the real API server has no code of its own.
            raise StatusError(500, "", "resourceVersion should not be set on objects to be created")
        strategies.wipe(metadata)
        defaults.apply(kind, defaults.at_creation(kind, obj))
        if owners:
            self._own(request, None, obj, how)
        admission = self._attributes(request, obj, None, how, "CreateOptions")
        obj = await self.admitted(admission)
        for _ in range(_TRIES):
            made = self._finish(kind, obj)
            if causes := validate.create(kind, made):
                raise invalid(kind, made["metadata"].get("name", ""), causes)
            escalation.check(self.rbac, request.user, kind, made, None)
            request.warnings += validate.warnings(kind, made)
            named = admission.name or made["metadata"]["name"]
            await self.webhooks.validate(dataclasses.replace(admission, obj=made, name=named))
            if how.dry_run:
                self._free(kind, made)
                return made
            try:
                return self.store.create(kind, made)
            except Taken as exc:
                if metadata.get("name") or not metadata.get("generateName"):
                    raise already_exists(kind, made["metadata"]["name"]) from exc
        raise StatusError(500, "ServerTimeout", "no free name was generated", retry_after=1)

    def _free(self, kind: Kind, obj: Object) -> None:
        metadata = obj["metadata"]
        if self.store.entry(kind, metadata.get("namespace", ""), metadata["name"]):
            raise already_exists(kind, metadata["name"])

    def _finish(self, kind: Kind, obj: Object) -> Object:
        """Set name, uid and time, and what the kind gets from the cluster."""
        made = {**obj, "metadata": dict(obj["metadata"])}
        metadata = made["metadata"]
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"][: 63 - 5] + plugins.suffix()
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = rfc3339(self.clock())
        if metadata.get("name"):
            strategies.before_create(kind, made, self.store)
        return made

    def _own(self, request: Request, old: Object | None, new: Object, how: WriteOptions) -> None:
        """Write down who set which field."""
        owners = server_side_apply.track_update(
            request.kind,
            old,
            new,
            how.manager,
            subresource=request.target.subresource,
            now=self.clock(),
        )
        new["metadata"].pop("managedFields", None)
        if owners:
            new["metadata"]["managedFields"] = owners

    async def admitted(self, attributes: Attributes) -> Object:
        """Run plugins and the webhooks that change over an object, and give what they made of it.

        Errors:  StatusError.
        """
        plugins.admit(attributes, self.store)
        await self.webhooks.mutate(attributes, lambda: plugins.admit(attributes, self.store))
        assert attributes.obj is not None
        return attributes.obj

    def _attributes(
        self, request: Request, obj: Object, old: Object | None, how: WriteOptions, body: str
    ) -> Attributes:
        return Attributes(
            operation=CREATE if old is None else UPDATE,
            kind=request.kind,
            namespace=request.target.namespace,
            name=request.target.name or obj["metadata"].get("name", ""),
            user=request.user,
            obj=obj,
            old=old,
            subresource=request.target.subresource,
            options=how.body(body),
            dry_run=how.dry_run,
            warnings=request.warnings,
        )

    async def update(self, request: Request) -> tuple[Object, bool]:
        """Replace an object by the one in the body; the second value says that it is new.

        Errors:  StatusError.
        """
        how = options.write(request, "UpdateOptions")
        sent = _bare(await decoding.obj(request, request.kind))
        metadata = sent.setdefault("metadata", {})
        name = metadata.get("name") or ""
        if name != request.target.name:
            raise bad_request(
                f"the name of the object ({name}) does not match the name on the URL "
                f"({request.target.name})"
            )
        _in_namespace(request, metadata)
        by_update = request.kind.kind in strategies.CREATED_BY_UPDATE
        if by_update and self.store.entry(request.kind, *request.place) is None:
            metadata.pop("resourceVersion", None)
            self._may_create(request)
            return await self.insert(request, sent, how), True
        return await self.change(request, lambda _: sent, how, "UpdateOptions"), False

    async def patch(self, request: Request) -> tuple[Object, bool]:
        """Patch an object by the body's media type; the second value says that it is new.

        Errors:  StatusError.
        """
        media_type = request.content_type
        if media_type not in PATCHES:
            raise unsupported_media_type(PATCHES, patch=True)
        how = options.write(request, "PatchOptions", apply=media_type == APPLY)
        parsed, twice = decoding.parse(
            await request.body(), "application/yaml" if media_type == APPLY else "application/json"
        )
        if media_type == APPLY:
            return await self._apply(request, parsed, how)
        kind = request.kind

        def change(live: Object) -> Object:
            whole = {"kind": kind.kind, "apiVersion": kind.api_version, **live}
            patched = _patched(kind, media_type, whole, parsed)
            return _in_its_place(
                request, live, _bare(decoding.of_kind(request, kind, patched, twice))
            )

        return await self.change(request, change, how, "UpdateOptions"), False

    async def _apply(self, request: Request, parsed: Any, how: WriteOptions) -> tuple[Object, bool]:
        kind, target = request.kind, request.target
        config = decoding.of_kind(request, kind, parsed)
        metadata = config.setdefault("metadata", {})
        if metadata.setdefault("name", target.name) != target.name:
            raise bad_request(f"the name in the body is not that of the URL ({target.name})")
        _in_namespace(request, metadata)

        def merged(live: Object | None) -> Object:
            made = server_side_apply.server_side_apply(
                kind,
                live,
                config,
                how.manager,
                force=how.force,
                now=self.clock(),
                subresource=target.subresource,
            )
            patch.check_size(made)
            return _bare(made)

        if target.subresource or self.store.entry(kind, *request.place) is not None:
            made = await self.change(request, merged, how, "UpdateOptions", owners=False)
            return made, False
        if metadata.get("uid") or metadata.get("resourceVersion"):
            raise conflict(kind, target.name, "the object to apply to does not exist")
        self._may_create(request)
        return await self.insert(request, merged(None), how, owners=False), True

    def _may_create(self, request: Request) -> None:
        """Refuse to make an object for who may only change those that are there."""
        question = dataclasses.replace(asked(request.target), verb="create")
        self.rbac.check(request.user, question)

    async def change(
        self,
        request: Request,
        wanted: Change,
        how: WriteOptions,
        options_kind: str,
        *,
        owners: bool = True,
    ) -> Object:
        """Change a live object, again if somebody else was faster and the client named no revision.

        Errors:  StatusError.
        """
        kind, name = request.kind, request.target.name
        for _ in range(_TRIES):
            live = self.store.get(kind, *request.place)
            if live is None:
                raise not_found(kind, name)
            sent = wanted(live)
            unmoved(kind, name, live, sent)
            warned = len(request.warnings)
            try:
                return await self._changed(request, live, sent, how, options_kind, owners=owners)
            except Moved:
                del request.warnings[warned:]
        raise _moved(kind, name)

    async def _changed(
        self,
        request: Request,
        live: Object,
        sent: Object,
        how: WriteOptions,
        options_kind: str,
        *,
        owners: bool,
    ) -> Object:
        kind, subresource = request.kind, request.target.subresource
        new = strategies.merge(kind, live, sent, subresource)
        defaults.apply(kind, new)
        if owners:
            self._own(request, live, new, how)
        strategies.bump(new, live)
        admission = self._attributes(request, new, live, how, options_kind)
        new = await self.admitted(admission)
        strategies.bump(new, live)
        if causes := validate.update(kind, new, live, subresource=subresource):
            raise invalid(kind, request.target.name, causes)
        escalation.check(self.rbac, request.user, kind, new, live)
        request.warnings += validate.warnings(kind, new)
        await self.webhooks.validate(dataclasses.replace(admission, obj=new))
        new["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
        if _same(new, live):
            return live
        if how.dry_run:
            return new
        seen = int(live["metadata"]["resourceVersion"])
        if is_finished(new):
            return self.store.delete(kind, new, seen)
        return self.store.update(kind, new, seen)


def is_finished(obj: Object) -> bool:
    """Tell whether an object that is being deleted has nothing left to wait for."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if metadata.get("deletionGracePeriodSeconds"):
        return False
    # Only namespaces have finalizers in their spec.
    return not (obj.get("spec") or {}).get("finalizers")


def _bare(obj: Object) -> Object:
    obj.pop("kind", None)
    obj.pop("apiVersion", None)
    return obj


def _in_namespace(request: Request, metadata: Object) -> None:
    """Put an object where the path says, and refuse one that says it is elsewhere."""
    said, target = metadata.get("namespace") or "", request.place[0]
    if said and said != target:
        raise bad_request(
            f"the namespace of the object ({said}) does not match the namespace on the URL ({target})"
        )
    metadata.pop("namespace", None)
    if target:
        metadata["namespace"] = target


def _in_its_place(request: Request, live: Object, patched: Object) -> Object:
    """Refuse a patch that would make another object of the one it is for."""
    metadata, name = patched.get("metadata") or {}, request.target.name
    if metadata.get("name") != name:
        raise bad_request(f"the name in the patched object is not that of the URL ({name})")
    _in_namespace(request, metadata)
    # In a replacement the uid is a condition (409), in a patch a field like others.
    if uid := metadata.get("uid"):
        causes = list(rules.immutable(uid, live["metadata"]["uid"], "metadata.uid"))
        if causes:
            raise invalid(request.kind, name, causes)
    return patched


def unmoved(kind: Kind, name: str, live: Object, sent: Object) -> None:
    """Refuse a change that was made against another state, or another object of this name."""
    metadata = sent.get("metadata", {})
    if (uid := metadata.get("uid")) and uid != live["metadata"]["uid"]:
        why = f"UID in precondition: {uid}, UID in object meta: {live['metadata']['uid']}"
        raise conflict(kind, name, why)
    given = metadata.get("resourceVersion") or ""
    if given not in ("", "0", live["metadata"]["resourceVersion"]):
        raise _moved(kind, name)


def _moved(kind: Kind, name: str) -> StatusError:
    return conflict(
        kind,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )


def _patched(kind: Kind, media_type: str, obj: Object, parsed: Any) -> Any:
    if media_type == _JSON_PATCH:
        patched = patch.json_patch(obj, parsed)
    elif media_type == _MERGE:
        patched = patch.merge_patch(obj, parsed)
    else:
        patched = patch.strategic_patch(kind, obj, parsed)
    patch.check_size(patched)
    return patched


def _same(new: Object, live: Object) -> bool:
    """Compare two states but for the times at which managers are said to have written."""
    return _timeless(new) == _timeless(live)


def _timeless(obj: Object) -> Object:
    metadata = dict(obj["metadata"])
    if fields := metadata.get("managedFields"):
        metadata["managedFields"] = [
            {name: value for name, value in entry.items() if name != "time"} for entry in fields
        ]
    return {**obj, "metadata": metadata}
