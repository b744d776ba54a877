"""Plain resource types: a declaration gives a type its routes, paging, tags, ETags, location and errors.

The resources are rows of one table, with a document of JSON that only the type understands.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from podpass.directory import resource_ids
from podpass.directory.errors import InUse
from podpass.directory.model import OtherResource, WriteResult
from podpass.directory.resource_manager import errors, paging, resources, scopes, wire
from podpass.directory.resource_manager.model import (
    ManagerOperation,
    ManagerResponse,
    OperationContext,
    ResourceProvider,
    ResourceType,
    Route,
    crud_routes,
)

Show = Callable[[OperationContext, OtherResource], Awaitable[Mapping[str, Any]]]
Store = Callable[[OperationContext, OtherResource], Awaitable[WriteResult]]
CheckName = Callable[[OperationContext, str], Awaitable[None]]


async def _show_document(_context: OperationContext, found: OtherResource) -> Mapping[str, Any]:
    properties = {**found.document.get("properties", {}), "provisioningState": "Succeeded"}
    return {**found.document, "properties": properties}


async def _store(context: OperationContext, new: OtherResource) -> WriteResult:
    return await context.directory.other_resources.put(new)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainType:
    """The declaration of a type.

    `validate` is pure: from the name and the body of a request it returns the document that is stored, or
    raises ManagerError. A type with a `location` is only there, others in any region. The resources of a type
    with a `parent` are parts of a resource of that type. A `versioned` type has ETags, and PATCH changes its
    tags. `show` returns the members of a response that not every type has; `store` replaces how a resource is
    written, and `check_new` rejects the name of a new one. Resources have names in lower case with `lowers`.
    """

    name: str
    noun: str
    versions: tuple[str, ...]
    validate: Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
    location: str = ""
    parent: "PlainType | None" = None
    versioned: bool = False
    lowers: bool = False
    created_status: int = 201
    show: Show = _show_document
    store: Store = _store
    check_new: CheckName | None = None

    @property
    def path(self) -> str:
        """Return the pattern of the paths of all resources of a group or of a parent."""
        if self.parent is None:
            return f"{_GROUP}/providers/{self.name}"
        return f"{self.parent.path}/{{parent}}/{self.name.rpartition('/')[2]}"

    def etag(self, found: OtherResource) -> str:
        """Return the ETag of a resource."""
        return wire.etag({**resources.plain_to_json(found), "document": found.document})

    async def to_json(self, context: OperationContext, found: OtherResource) -> dict[str, Any]:
        """Return a resource as a response body."""
        etag = {"etag": self.etag(found)} if self.versioned else {}
        return {**resources.plain_to_json(found), **etag, **await self.show(context, found)}

    async def find(self, context: OperationContext, name: str = "") -> OtherResource | None:
        """Return the resource in the path, or None. Raises ManagerError if its group does not exist."""
        resource_id = await self._resource_id(context, name or context.name)
        return await context.directory.other_resources.get(resource_id)

    async def require(self, context: OperationContext) -> OtherResource:
        """Return the resource in the path. Raises ManagerError."""
        found = await self.find(context)
        if found is None:
            raise errors.resource_not_found(self.name, context.name, context.group)
        return found

    async def require_parent(
        self, context: OperationContext, name: str, noun: str
    ) -> OtherResource:
        """Return the resource of this type that a path names as the parent of another; `noun` is the other.

        Raises ManagerError, ParentResourceNotFound.
        """
        found = await self.find(context, name)
        if found is None:
            text = f"There is no {self.noun} '{name}' in resource group '{context.group}' for the {noun}."
            raise errors.not_found("ParentResourceNotFound", text)
        return found

    async def _resource_id(self, context: OperationContext, name: str) -> str:
        name = name.lower() if self.lowers else name
        if self.parent is not None:
            parent = await self.parent.require_parent(context, context.params["parent"], self.noun)
            return f"{parent.resource_id}/{self.name.rpartition('/')[2]}/{name}"
        group = await resources.parent_group(context)
        group_id = resource_ids.group_id(context.subscription_id, group)
        return f"{group_id}/providers/{self.name}/{name}"

    # Operations

    async def _put(self, context: OperationContext) -> ManagerResponse:
        name = context.name.lower() if self.lowers else context.name
        document = self.validate(name, context.body)
        location = self._parse_location(context)
        old = await self.find(context)
        if self.versioned:
            wire.check_etag(context, f"The {self.noun}", None if old is None else self.etag(old))
        if old is None and self.check_new is not None:
            await self.check_new(context, name)
        if old is not None:
            wire.require_same_location("resource", old.name, old.location, location)
        new = OtherResource(
            resource_id=old.resource_id if old else await self._resource_id(context, name),
            type=self.name,
            name=old.name if old else name,
            location=location,
            tags=wire.tags(context.body) or {},
            document=document,
        )
        return await self._write(context, new)

    def _parse_location(self, context: OperationContext) -> str:
        if not self.location:
            return wire.location(context.body, self.name)
        if (wire.text(context.body, "location") or "").lower() != self.location:
            text = f"The 'location' of a {self.noun} must be '{self.location}'."
            raise errors.bad_request("LocationNotAvailableForResourceType", text)
        return self.location

    async def _write(self, context: OperationContext, new: OtherResource) -> ManagerResponse:
        change = await self.store(context, new)
        status = self.created_status if change is WriteResult.CREATED else 200
        return ManagerResponse(status=status, body=await self.to_json(context, new))

    async def _patch(self, context: OperationContext) -> ManagerResponse:
        old = await self.require(context)
        wire.check_etag(context, f"The {self.noun}", self.etag(old))
        tags = wire.tags(context.body)
        return await self._write(context, old if tags is None else replace(old, tags=tags))

    async def _get(self, context: OperationContext) -> ManagerResponse:
        return ManagerResponse(body=await self.to_json(context, await self.require(context)))

    async def _delete(self, context: OperationContext) -> ManagerResponse:
        old = await self.find(context)
        if old is None:
            return ManagerResponse(status=204)
        if self.versioned:
            wire.check_etag(context, f"The {self.noun}", self.etag(old))
        try:
            existed = await context.directory.other_resources.delete(old.resource_id)
        except InUse as exc:
            text = f"The {self.noun} '{old.name}' has nested resources. Delete them first."
            raise errors.conflict("CannotDeleteResource", text) from exc
        return ManagerResponse(status=200 if existed else 204)

    async def _list(self, context: OperationContext) -> ManagerResponse:
        context.query.filter.require_known(frozenset())
        group = await resources.parent_group(context) if context.group else None
        parent = context.params.get("parent")
        below = None
        if self.parent is not None and parent is not None:
            below = (await self.parent.require_parent(context, parent, self.noun)).resource_id

        fetch = partial(
            context.directory.other_resources.page,
            context.subscription_id,
            group=group,
            type_=self.name,
            below=below,
        )
        found = await paging.collect_page(context, fetch)
        shown = {one.resource_id: await self.to_json(context, one) for one in found.items}
        return wire.page_response(context, found, lambda one: shown[one.resource_id])

    def routes(self) -> tuple[Route, ...]:
        """Return the routes of all operations."""
        listing = ManagerOperation(
            title=f"list {self.noun}s", action=f"{self.name}/read", run=self._list
        )
        paths = [self.path] if self.parent else [f"{_SUB}/providers/{self.name}", self.path]
        return (
            *(Route(method="GET", path=path, operation=listing) for path in paths),
            *crud_routes(
                f"{self.path}/{{name}}",
                self.name,
                self.noun,
                get=self._get,
                put=self._put,
                patch=self._patch if self.versioned else None,
                delete=self._delete,
            ),
        )


def create_provider(*types: PlainType, routes: tuple[Route, ...] = ()) -> ResourceProvider:
    """Return the provider of plain types, with further routes of the service."""
    return ResourceProvider(
        types=tuple(
            ResourceType(
                name=each.name,
                versions=each.versions,
                find=None if each.parent else scopes.find_stored(each.name),
            )
            for each in types
        ),
        routes=(*(route for each in types for route in each.routes()), *routes),
    )


_SUB = "/subscriptions/{subscription}"
_GROUP = f"{_SUB}/resourceGroups/{{group}}"
