"""The operations that objects of every kind have: list, delete, recover, purge, back up, restore."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from podpass.database import decode_rows
from podpass.lab.services.vault import errors, wire
from podpass.lab.services.vault.model import (
    SECRETS,
    TYPE,
    Kind,
    ObjectState,
    ObjectVersion,
    backup_owner,
    recovery_policy,
)
from podpass.lab.services.vault.request import Operation, Paths, VaultRequest, VaultResponse
from podpass.lab.services.vault.store import Restored


class Item(Protocol):
    """Returns the JSON of a version in a list, with the ID of the version or that of the object."""

    def __call__(
        self, site: wire.VaultContext, found: ObjectVersion, /, *, version: bool
    ) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How objects of a kind are shown.

    `item` is for lists, `bundle` for answers about one object. `views` returns the collections with the views
    of an object, which are deleted with it; `prepare` returns what to write for a backup. `unissued` returns
    what is shown of an object without versions, if the kind has such objects; None for one with versions.
    """

    kind: Kind
    item: Item
    bundle: Callable[[wire.VaultContext, ObjectVersion], dict[str, Any]]
    views: Callable[[VaultRequest], Sequence[str]] = lambda _: ()
    prepare: Callable[[VaultRequest], Callable[[Sequence[ObjectVersion]], Restored]] | None = None
    unissued: Callable[[ObjectState], ObjectVersion | None] | None = None


class _Common:
    """The operations of one kind."""

    def __init__(self, view: View) -> None:
        self._view = view

    async def list(self, request: VaultRequest) -> VaultResponse:
        found, last = await self._find_page(request)
        items = [self._view.item(request.context, one, version=False) for one in found]
        return _page(request, items, last, request.kind.plural)

    async def list_deleted(self, request: VaultRequest) -> VaultResponse:
        found, last = await self._find_page(request, deleted=True)
        items = [
            wire.deleted(request.context, one, self._view.item(request.context, one, version=False))
            for one in found
        ]
        return _page(request, items, last, f"deleted{request.kind.plural}")

    async def _find_page(
        self, request: VaultRequest, *, deleted: bool = False
    ) -> tuple[Sequence[ObjectVersion], str | None]:
        """List the latest versions, and at the caller's request the objects without versions.

        Also return the name of the last one if there is another page.
        """
        limit, after = wire.parse_page(request.query)
        unissued, collection = self._view.unissued, request.collection
        more = limit + 1
        if unissued is None or request.query.get("includePending", "").lower() != "true":
            found = await request.store.page(collection, after=after, limit=more, deleted=deleted)
            return found[:limit], _last(found, limit)
        # States are read first: otherwise an operation that another request completes in between would have
        # neither a version nor an operation.
        states = await request.store.page_states(
            collection, after=after, limit=more, deleted=deleted
        )
        found = await request.store.page(collection, after=after, limit=more, deleted=deleted)
        by_name = {each.name: each for each in found}
        shown = decode_rows(states[:limit], lambda each: by_name.get(each.name) or unissued(each))
        return [each for each in shown if each is not None], _last(states, limit)

    def _require(
        self, request: VaultRequest, found: ObjectVersion | ObjectState | None
    ) -> ObjectVersion:
        """Return a version that was found, or what is shown of an object without versions.

        Raises ObjectNotFound.
        """
        if isinstance(found, ObjectState):
            unissued = self._view.unissued
            found = None if unissued is None else unissued(found)
        return request.require_found(found)

    async def versions(self, request: VaultRequest) -> VaultResponse:
        """List versions; the list is empty, and not an error, for an object that does not exist."""
        limit, after = wire.parse_page(request.query)
        if after and not after.isdigit():
            raise errors.BadParameter("The $skiptoken is invalid.")
        ordinal = int(after[:18] or 0)
        found = await request.store.page_versions(
            request.collection, request.name, after=ordinal, limit=limit + 1
        )
        items = [self._view.item(request.context, one, version=True) for one in found[:limit]]
        last = str(found[limit - 1].ordinal) if len(found) > limit else None
        name = found[0].name if found else request.name
        address = f"{request.base}/{request.kind.plural}/{name}/versions"
        return VaultResponse(body=wire.page(items, address, request.query, last))

    async def delete(self, request: VaultRequest) -> VaultResponse:
        deleted = await request.store.delete(
            request.collection,
            request.name,
            request.now,
            recovery_policy(request.vault),
            request.audit,
            views=self._view.views(request),
        )
        return self._deleted(request, self._require(request, deleted))

    async def get_deleted(self, request: VaultRequest) -> VaultResponse:
        store, collection, name = request.store, request.collection, request.name
        found = await store.get_deleted(collection, name) or await store.find(
            collection, name, deleted=True
        )
        return self._deleted(request, self._require(request, found))

    def _deleted(self, request: VaultRequest, found: ObjectVersion) -> VaultResponse:
        bundle = self._view.bundle(request.context, found)
        return VaultResponse(body=wire.deleted(request.context, found, bundle))

    async def recover(self, request: VaultRequest) -> VaultResponse:
        recovered = await request.store.recover(
            request.collection, request.name, request.audit, views=self._view.views(request)
        )
        found = self._require(request, recovered)
        return VaultResponse(body=self._view.bundle(request.context, found))

    async def purge(self, request: VaultRequest) -> VaultResponse:
        store, name = request.store, request.name
        if request.vault.purge_protection:
            if await store.find(request.collection, name, deleted=True) is None:
                raise errors.not_found(request.kind, name)
            raise errors.purge_protected(request.vault, request.kind)
        views = self._view.views(request)
        if not await store.purge(request.collection, name, request.audit, views=views):
            raise errors.not_found(request.kind, name)
        return VaultResponse(status=204)

    async def backup(self, request: VaultRequest) -> VaultResponse:
        owner = backup_owner(request.vault, request.kind)
        async with request.slot(request.limits.backups):
            blob = await request.store.backup(request.collection, request.name, owner)
        if blob is None:
            raise errors.not_found(request.kind, request.name)
        return VaultResponse(body=wire.backup(blob))

    async def restore(self, request: VaultRequest) -> VaultResponse:
        blob = wire.parse_restore(request.body)
        prepare = self._view.prepare
        async with request.slot(request.limits.backups):
            restored = await request.store.restore(
                request.collection,
                blob,
                backup_owner(request.vault, request.kind),
                request.audit,
                prepare=None if prepare is None else prepare(request),
            )
        return VaultResponse(body=self._view.bundle(request.context, restored))


def _last(found: Sequence[ObjectState | ObjectVersion], limit: int) -> str | None:
    return found[limit - 1].name if len(found) > limit else None


def _page(
    request: VaultRequest, items: Sequence[dict[str, Any]], last: str | None, collection: str
) -> VaultResponse:
    address = f"{request.base}/{collection}"
    return VaultResponse(body=wire.page(items, address, request.query, last))


def paths(view: View) -> Paths:
    """Return the paths of the operations of a kind."""
    kind, served = view.kind, _Common(view)
    noun, plural = kind.noun, kind.plural
    prefix = f"{TYPE}/{plural}"
    # Secrets have two actions to read: this one is without the value.
    read = f"{prefix}/readMetadata/action" if kind is SECRETS else f"{prefix}/read"

    def reading(title: str, permission: str, run: Any) -> dict[str, Operation]:
        return {
            "GET": Operation(title=title, action=read, permission=permission, run=run, kind=kind)
        }

    def changing(
        method: str, title: str, permission: str, run: Any, **more: Any
    ) -> dict[str, Operation]:
        action = f"{prefix}/{permission}" + ("" if permission == "delete" else "/action")
        made = Operation(
            title=f"{title} {noun}",
            action=action,
            permission=permission,
            run=run,
            kind=kind,
            **more,
        )
        return {method: made}

    deleted = f"deleted{plural}"
    return {
        (plural,): reading(f"list {plural}", "list", served.list),
        (plural, "*"): changing("DELETE", "delete", "delete", served.delete, changes=True),
        (plural, "restore"): changing(
            "POST",
            "restore",
            "restore",
            served.restore,
            changes=True,
            max_body=wire.MAX_BACKUP_BODY,
        ),
        (plural, "*", "versions"): reading(f"list versions of {noun}", "list", served.versions),
        (plural, "*", "backup"): changing("POST", "back up", "backup", served.backup),
        (deleted,): reading(f"list deleted {plural}", "list", served.list_deleted),
        (deleted, "*"): {
            **reading(f"get deleted {noun}", "get", served.get_deleted),
            **changing("DELETE", "purge", "purge", served.purge, changes=True),
        },
        (deleted, "*", "recover"): changing(
            "POST", "recover", "recover", served.recover, changes=True
        ),
    }


def merge(*tables: Mapping[tuple[str, ...], Mapping[str, Operation]]) -> Paths:
    """Return the operations of several tables."""
    merged: Paths = {}
    for table in tables:
        for path, methods in table.items():
            merged.setdefault(path, {}).update(methods)
    return merged
