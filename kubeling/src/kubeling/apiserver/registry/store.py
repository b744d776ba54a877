"""The generic registry: creates, updates, patches and applies objects of every kind.

It takes an authorized request and returns the stored object. Objects in this module have no `kind` and
`apiVersion`. Webhooks take time, so a write compares the revision that it read with the current revision
when it commits. If they differ and the client named no revision, the write is retried.
"""

import dataclasses
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from kubeling.apiserver import decoding, options, strict_decoding, worker
from kubeling.apiserver.admission import plugins, resource_quota
from kubeling.apiserver.admission.plugins import CREATE, UPDATE, AdmissionAttributes
from kubeling.apiserver.admission.webhook_dispatcher import WebhookDispatcher
from kubeling.apiserver.auth import rbac
from kubeling.apiserver.auth.rbac import RbacAuthorizer, authorizer_attributes
from kubeling.apiserver.customresources.served_kinds import ServedKinds
from kubeling.apiserver.defaulting import defaults
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.options import WriteOptions
from kubeling.apiserver.patch import json_patch, server_side_apply
from kubeling.apiserver.registry import preconditions, strategies
from kubeling.apiserver.release import NEWEST
from kubeling.apiserver.request import Request
from kubeling.apiserver.status import (
    StatusError,
    already_exists,
    bad_request,
    conflict,
    invalid,
    not_found,
    unsupported_media_type,
)
from kubeling.apiserver.storage.storage import (
    AlreadyExists,
    Object,
    ObjectStore,
    RevisionConflict,
    StoredObject,
)
from kubeling.apiserver.strict_decoding import DuplicateKeys
from kubeling.apiserver.validation import validate
from kubeling.clock import Clock, rfc3339

APPLY = "application/apply-patch+yaml"
PATCHES = (*json_patch.MEDIA_TYPES, APPLY)
_MAX_ATTEMPTS = 8

UpdateFunc = Callable[[Object], Object]
"""Returns the requested object for a live object."""


class Registry:
    """The generic registry of every kind.

    Without controllers, namespaces have no ServiceAccount `default`, and pods do not need it.
    """

    def __init__(
        self,
        store: ObjectStore,
        rbac: RbacAuthorizer,
        webhooks: WebhookDispatcher,
        clock: Clock,
        release: str = NEWEST,
        *,
        has_controllers: bool = True,
    ) -> None:
        self.store, self._has_controllers = store, has_controllers
        self.kinds = ServedKinds(store, release)
        self.rbac = rbac
        self.webhooks = webhooks
        self.clock = clock

    async def create(self, request: Request) -> Object:
        """Create the object in a request's body. Raises StatusError."""
        write_options = options.parse_write_options(request, "CreateOptions")
        obj = await decoding.decode_object(request, request.kind)
        return await self.create_object(request, obj, write_options)

    async def create_object(
        self,
        request: Request,
        obj: Object,
        write_options: WriteOptions,
        *,
        track_fields: bool = True,
    ) -> Object:
        """Create an object; with `track_fields` false its managedFields are already complete."""
        kind = request.kind
        metadata = obj.setdefault("metadata", {})
        preconditions.check_not_terminating(kind, metadata.get("name") or "")
        _remove_type_meta(obj)
        preconditions.set_namespace(request, metadata)
        if metadata.pop("resourceVersion", "") and not write_options.dry_run:
            # The real API server passes on this error of its storage with status 500.
            raise StatusError(500, "", "resourceVersion should not be set on objects to be created")
        strategies.wipe_system_fields(metadata)
        strategies.set_requester(kind, obj, request.user)
        size = worker.size_of(obj)
        await worker.run(size, defaults.set_defaults, kind, defaults.prepare_for_create(kind, obj))
        if track_fields:
            await worker.run(size, self._track_fields, request, None, obj, write_options)
        admission = self._attributes(request, obj, None, write_options, "CreateOptions")
        obj = await self.admit(admission)
        for _ in range(_MAX_ATTEMPTS):
            made = self._prepare(kind, obj)
            if causes := await worker.run(size, validate.create, kind, made):
                raise invalid(kind, made["metadata"].get("name", ""), causes)
            rbac.check_escalation(self.rbac, request.user, kind, made, None)
            request.warnings += await worker.run(size, validate.warnings, kind, made)
            request.warnings += validate.creation_warnings(kind)
            name = admission.name or made["metadata"]["name"]
            await self.webhooks.validate(dataclasses.replace(admission, obj=made, name=name))
            quotas = resource_quota.check(self.store, self.kinds.stored, kind, made, None)
            if write_options.dry_run:
                of = made["metadata"]
                if self.store.get_stored(kind, of.get("namespace", ""), of["name"]):
                    raise already_exists(kind, of["name"])
                return made
            try:
                created = self.store.create(kind, made)
            except AlreadyExists as exc:
                if metadata.get("name") or not metadata.get("generateName"):
                    raise already_exists(kind, made["metadata"]["name"]) from exc
            except RevisionConflict as exc:
                raise conflict(kind, made["metadata"]["name"], exc.message) from exc
            else:
                resource_quota.store_all(self.store, quotas)
                return created
        raise StatusError(500, "ServerTimeout", "no free name was generated", retry_after=1)

    def _prepare(self, kind: Kind, obj: Object) -> Object:
        """Set name, uid and creation time, and the fields that the strategy of the kind sets."""
        made = {**obj, "metadata": dict(obj["metadata"])}
        metadata = made["metadata"]
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"][: 63 - 5] + plugins.random_suffix()
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = rfc3339(self.clock())
        if metadata.get("name"):
            strategies.prepare_for_create(kind, made, self.store)
        return made

    def _track_fields(
        self, request: Request, old: Object | None, new: Object, write_options: WriteOptions
    ) -> None:
        """Update managedFields: record the field manager of each field that changes."""
        managed = server_side_apply.track_update(
            request.kind,
            old,
            new,
            write_options.manager,
            subresource=request.info.subresource,
            now=self.clock(),
        )
        new["metadata"].pop("managedFields", None)
        if managed:
            new["metadata"]["managedFields"] = managed

    async def admit(self, attributes: AdmissionAttributes) -> Object:
        """Run the admission plugins and the mutating webhooks on an object, and return the result.

        Raises StatusError.
        """
        admit = partial(
            plugins.admit, attributes, self.store, has_controllers=self._has_controllers
        )
        admit()
        await self.webhooks.mutate(attributes, admit)
        assert attributes.obj is not None
        return attributes.obj

    def _attributes(
        self,
        request: Request,
        obj: Object,
        old: Object | None,
        write_options: WriteOptions,
        body: str,
    ) -> AdmissionAttributes:
        return AdmissionAttributes.of(
            request,
            CREATE if old is None else UPDATE,
            obj,
            name=request.info.name or obj["metadata"].get("name", ""),
            old=old,
            options=write_options.body(body),
            dry_run=write_options.dry_run,
        )

    async def update(self, request: Request) -> tuple[Object, bool]:
        """Replace an object with the one in the body; return the object, and whether it was created.

        Raises StatusError.
        """
        write_options = options.parse_write_options(request, "UpdateOptions")
        sent = _remove_type_meta(await decoding.decode_object(request, request.kind))
        metadata = sent.setdefault("metadata", {})
        name = metadata.get("name") or ""
        if name != request.info.name:
            raise bad_request(
                f"the name of the object ({name}) does not match the name on the URL "
                f"({request.info.name})"
            )
        preconditions.set_namespace(request, metadata)
        exists = self.store.get_stored(request.kind, *request.namespaced_name) is not None
        if exists:
            preconditions.check_has_revision(request.kind, name, metadata)
        # A write of a subresource is authorized for that subresource, so it must not create the object.
        can_create = (
            request.kind.type_name in strategies.CREATED_BY_UPDATE and not request.info.subresource
        )
        if can_create and not exists:
            metadata.pop("resourceVersion", None)
            self._require_create(request)
            return await self.create_object(request, sent, write_options), True
        return await self.guaranteed_update(
            request, lambda _: sent, write_options, "UpdateOptions"
        ), False

    async def patch(self, request: Request) -> tuple[Object, bool]:
        """Patch an object by the body's media type; return the object, and whether it was created.

        Raises StatusError.
        """
        media_type = request.content_type
        accepted = PATCHES if request.kind.custom is None else preconditions.PATCHES
        if media_type not in accepted:
            raise unsupported_media_type(accepted, patch=request.kind.custom is None)
        write_options = options.parse_write_options(
            request, "PatchOptions", apply=media_type == APPLY
        )
        body_type = "application/yaml" if media_type == APPLY else "application/json"
        parsed, duplicates = await decoding.read_value(request, body_type)
        if media_type == APPLY:
            return await self._apply(request, parsed, duplicates, write_options)
        kind = request.kind
        is_json = media_type == json_patch.MEDIA_TYPES[0]
        find = strict_decoding.json_patch_problems if is_json else strict_decoding.problems
        in_patch = find(parsed, duplicates)

        def change(live: Object) -> Object:
            whole = {"kind": kind.kind, "apiVersion": kind.api_version, **live}
            patched = json_patch.apply_patch(kind, media_type, whole, parsed)
            return preconditions.check_identity(
                request,
                live,
                _remove_type_meta(decoding.check_patched(request, kind, patched, in_patch)),
            )

        return await self.guaranteed_update(request, change, write_options, "UpdateOptions"), False

    async def _apply(
        self,
        request: Request,
        parsed: Any,
        duplicates: DuplicateKeys,
        write_options: WriteOptions,
    ) -> tuple[Object, bool]:
        kind, target = request.kind, request.info
        preconditions.check_declared(kind, target.name, parsed)
        config = await worker.run(
            request.size, decoding.check_applied, request, kind, parsed, duplicates
        )
        metadata = config.setdefault("metadata", {})
        if metadata.setdefault("name", target.name) != target.name:
            raise bad_request(f"the name in the body is not that of the URL ({target.name})")
        preconditions.set_namespace(request, metadata)

        def merge(live: Object | None) -> Object:
            made = server_side_apply.apply(
                kind,
                live,
                config,
                write_options.manager,
                force=write_options.force,
                now=self.clock(),
                subresource=target.subresource,
            )
            json_patch.check_size(made)
            return _remove_type_meta(made)

        if target.subresource or self.store.get_stored(kind, *request.namespaced_name) is not None:
            made = await self.guaranteed_update(
                request, merge, write_options, "UpdateOptions", track_fields=False
            )
            return made, False
        if metadata.get("uid") or metadata.get("resourceVersion"):
            raise conflict(kind, target.name, "the object to apply to does not exist")
        self._require_create(request)
        return await self.create_object(
            request,
            await worker.run(request.size, merge, None),
            write_options,
            track_fields=False,
        ), True

    def _require_create(self, request: Request) -> None:
        """Refuse to create an object for a user who may only change existing objects."""
        attributes = dataclasses.replace(authorizer_attributes(request.info), verb="create")
        self.rbac.check(request.user, attributes)

    async def guaranteed_update(
        self,
        request: Request,
        update: UpdateFunc,
        write_options: WriteOptions,
        options_kind: str,
        *,
        track_fields: bool = True,
    ) -> Object:
        """Update a live object; retry after a conflict if the client named no revision.

        Raises StatusError.
        """
        kind, name = request.kind, request.info.name
        for _ in range(_MAX_ATTEMPTS):
            stored = self.store.get_stored(kind, *request.namespaced_name)
            if stored is None:
                raise not_found(kind, name)
            live, size = _in_version(kind, stored), request.size + len(stored.raw)
            sent = await worker.run(size, update, live)
            preconditions.check_preconditions(kind, name, live, sent)
            warning_count = len(request.warnings)
            try:
                return await self._update_once(
                    request,
                    live,
                    sent,
                    write_options,
                    options_kind,
                    size,
                    track_fields=track_fields,
                )
            except RevisionConflict:
                del request.warnings[warning_count:]
        raise preconditions.modified_conflict(kind, name)

    async def _update_once(
        self,
        request: Request,
        live: Object,
        sent: Object,
        write_options: WriteOptions,
        options_kind: str,
        size: int,
        *,
        track_fields: bool,
    ) -> Object:
        kind, subresource = request.kind, request.info.subresource

        def prepare() -> Object:
            new = strategies.prepare_for_update(kind, live, sent, subresource)
            defaults.set_defaults(kind, new)
            if track_fields:
                self._track_fields(request, live, new, write_options)
            strategies.increment_generation(kind, new, live)
            return new

        new = await worker.run(size, prepare)
        admission = self._attributes(request, new, live, write_options, options_kind)
        new = await self.admit(admission)
        strategies.increment_generation(kind, new, live)
        if causes := await worker.run(
            size, validate.update, kind, new, live, subresource=subresource
        ):
            raise invalid(kind, request.info.name, causes)
        strategies.allocate(kind, new, self.store)
        rbac.check_escalation(self.rbac, request.user, kind, new, live)
        request.warnings += await worker.run(size, validate.warnings, kind, new)
        await self.webhooks.validate(dataclasses.replace(admission, obj=new))
        new["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
        if strategies.is_unchanged(new, live):
            return live
        quotas: list[Object] = []
        if not subresource:
            quotas = resource_quota.check(self.store, self.kinds.stored, kind, new, live)
        if write_options.dry_run:
            return new
        read_revision = int(live["metadata"]["resourceVersion"])
        if is_ready_to_remove(kind, new):
            return self.store.delete(kind, new, read_revision)
        updated = self.store.update(kind, new, read_revision)
        resource_quota.store_all(self.store, quotas)
        return updated


def _in_version(kind: Kind, stored: StoredObject) -> Object:
    """Return a stored object in the version of a built-in kind; custom kinds convert when they write."""
    obj, conversion = stored.object(), kind.conversion
    return obj if conversion is None or kind.custom else conversion.from_storage(obj)


def is_ready_to_remove(kind: Kind, obj: Object) -> bool:
    """Return whether a deleted object has no finalizers and no grace period left."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if metadata.get("deletionGracePeriodSeconds"):
        return False
    return kind.type_name != "Namespace" or not (obj.get("spec") or {}).get("finalizers")


def _remove_type_meta(obj: Object) -> Object:
    obj.pop("kind", None)
    obj.pop("apiVersion", None)
    return obj
