"""Owners of applications and service principals, and the objects that a principal owns."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from podpass.directory.graph import (
    applications,
    directory_objects,
    identity_writer,
    lookup,
    paging,
    principals,
    wire,
)
from podpass.directory.graph.errors import InvalidRequest, QuotaExceeded, not_found
from podpass.directory.graph.filters import FilterSchema
from podpass.directory.graph.model import GraphRequest, GraphResponse, JsonObject
from podpass.directory.graph.paging import IdentityCollection
from podpass.directory.graph.properties import unknown_property
from podpass.directory.model import Identity

MAX_OWNERS = 100
_PRINCIPALS_PREFIX = "principals:"
_NOUN = FilterSchema(name="directoryObject", scanned=frozenset({"id", "displayName"}))
# Terraform (azuread) treats a response with this text, up to the colon, as success.
_EXISTS = "One or more added object references already exist: the object already has this owner."


async def list_of_application(request: GraphRequest) -> GraphResponse:
    return await _list(
        request, lookup.owner_ids((await lookup.require_application(request)).document)
    )


async def list_of_principal(request: GraphRequest) -> GraphResponse:
    found = await lookup.find_principal(request, request.keys[0])
    if found is None:
        raise not_found(request.keys[0].value)
    lookup.require_readable(request, found)
    return await _list(
        request, lookup.owner_ids(found.principal) if isinstance(found, Identity) else []
    )


async def add_to_application(request: GraphRequest) -> GraphResponse:
    return await _add(request, await lookup.require_application(request), "document")


async def add_to_principal(request: GraphRequest) -> GraphResponse:
    return await _add(request, await lookup.require_principal(request), "principal")


async def remove_from_application(request: GraphRequest) -> GraphResponse:
    return await _remove(request, await lookup.require_application(request), "document")


async def remove_from_principal(request: GraphRequest) -> GraphResponse:
    return await _remove(request, await lookup.require_principal(request), "principal")


async def _list(request: GraphRequest, ids: Sequence[str]) -> GraphResponse:
    found = [
        item for each in ids if (item := await directory_objects.find(request, each)) is not None
    ]
    return paging.list_items(request, found, _NOUN, "directoryObjects")


async def _add(request: GraphRequest, found: Identity, properties_field: str) -> GraphResponse:
    for name in request.body:
        if name != "@odata.id" and not name.startswith("@odata"):
            raise unknown_property(name)
    owner = lookup.parse_reference(request.body.get("@odata.id"))
    if await directory_objects.find(request, owner) is None:
        raise not_found(owner)

    def step(old: Identity) -> Identity:
        current = lookup.owner_ids(getattr(old, properties_field))
        if owner in current:
            raise InvalidRequest(_EXISTS)
        if len(current) >= MAX_OWNERS:
            raise QuotaExceeded(f"An object has at most {MAX_OWNERS} owners.")
        return _with_owners(old, properties_field, [*current, owner])

    await identity_writer.update(request, found, step)
    return 204, None


async def _remove(request: GraphRequest, found: Identity, properties_field: str) -> GraphResponse:
    owner = request.keys[1].value.lower()

    def step(old: Identity) -> Identity:
        current = lookup.owner_ids(getattr(old, properties_field))
        if owner not in current:
            raise not_found(owner)
        return _with_owners(old, properties_field, [each for each in current if each != owner])

    await identity_writer.update(request, found, step)
    return 204, None


def _with_owners(old: Identity, properties_field: str, owners: Sequence[str]) -> Identity:
    document: dict[str, Any] = {**getattr(old, properties_field), "owners": list(owners)}
    if properties_field == "document":
        return replace(old, document=document)
    return replace(old, principal=document)


async def list_owned_by_user(request: GraphRequest) -> GraphResponse:
    return await _list_owned(request, request.caller.object_id)


async def list_applications_of_user(request: GraphRequest) -> GraphResponse:
    return await paging.list_identities(request, _applications(request, request.caller.object_id))


async def list_principals_of_user(request: GraphRequest) -> GraphResponse:
    return await paging.list_identities(request, _principals(request, request.caller.object_id))


async def list_owned_by_principal(request: GraphRequest) -> GraphResponse:
    found = await lookup.find_principal(request, request.keys[0])
    if found is None:
        raise not_found(request.keys[0].value)
    if isinstance(found, Identity) and found.client_id != request.caller.app_id:
        lookup.require_readable(request, found)
    return await _list_owned(
        request, found.object_id if isinstance(found, Identity) else str(found["id"])
    )


async def _list_owned(request: GraphRequest, owner: str) -> GraphResponse:
    """List the objects that a principal owns: applications, then service principals on separate pages.

    The store has no index of owners, so a page scans a bounded number of objects and links to the next page.
    """
    after = request.options.after
    if after is not None and after.startswith(_PRINCIPALS_PREFIX):
        begin = after.removeprefix(_PRINCIPALS_PREFIX) or None
        principals_request = replace(request, options=replace(request.options, after=begin))
        return await paging.list_identities(
            principals_request, replace(_principals(request, owner), prefix=_PRINCIPALS_PREFIX)
        )
    status, body = await paging.list_identities(request, _applications(request, owner))
    if isinstance(body, dict) and "@odata.nextLink" not in body:
        body["@odata.nextLink"] = wire.next_link(
            request.address, request.options, _PRINCIPALS_PREFIX
        )
    return status, body


def _applications(request: GraphRequest, owner: str) -> IdentityCollection:
    return _filtered(
        applications.collection(request),
        "#microsoft.graph.application",
        lambda one: owner in lookup.owner_ids(one.document),
    )


def _principals(request: GraphRequest, owner: str) -> IdentityCollection:
    of_all = replace(principals.collection(request), builtin=())
    return _filtered(
        of_all,
        "#microsoft.graph.servicePrincipal",
        lambda one: owner in lookup.owner_ids(one.principal),
    )


def _filtered(
    collection: IdentityCollection, kind: str, is_included: Callable[[Identity], bool]
) -> IdentityCollection:
    def to_json(identity: Identity) -> JsonObject:
        return {"@odata.type": kind, **collection.show(identity)}

    return replace(collection, context="directoryObjects", show=to_json, is_included=is_included)
