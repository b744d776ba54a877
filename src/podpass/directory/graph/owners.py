"""Owners of applications and service principals, and what somebody owns."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from podpass.directory.graph import (
    applications,
    objects,
    paging,
    principals,
    targets,
    wire,
    writing,
)
from podpass.directory.graph.calls import Answer, Call, Item
from podpass.directory.graph.filters import Noun
from podpass.directory.graph.members import unknown
from podpass.directory.graph.paging import Source
from podpass.directory.graph.refusals import BadRequest, QuotaExceeded, missing
from podpass.directory.model import Identity

MAX_OWNERS = 100
_SECOND = "principals:"
_NOUN = Noun(name="directoryObject", looked_at=frozenset({"id", "displayName"}))
# Terraform (azuread) takes an answer with this, up to the colon, for a success.
_EXISTS = "One or more added object references already exist: the object has this owner."


async def of_application(call: Call) -> Answer:
    return await _list(call, targets.owners((await targets.application(call)).document))


async def of_principal(call: Call) -> Answer:
    found = await targets.find_principal(call, call.keys[0])
    if found is None:
        raise missing(call.keys[0].value)
    targets.check_readable(call, found)
    return await _list(call, targets.owners(found.principal) if isinstance(found, Identity) else [])


async def add_to_application(call: Call) -> Answer:
    return await _add(call, await targets.application(call), "document")


async def add_to_principal(call: Call) -> Answer:
    return await _add(call, await targets.principal(call), "principal")


async def remove_from_application(call: Call) -> Answer:
    return await _remove(call, await targets.application(call), "document")


async def remove_from_principal(call: Call) -> Answer:
    return await _remove(call, await targets.principal(call), "principal")


async def _list(call: Call, ids: Sequence[str]) -> Answer:
    found = [item for each in ids if (item := await objects.find(call, each)) is not None]
    return paging.listed(call, found, _NOUN, "directoryObjects")


async def _add(call: Call, found: Identity, where: str) -> Answer:
    for name in call.body:
        if name != "@odata.id" and not name.startswith("@odata"):
            raise unknown(name)
    owner = targets.reference(call.body.get("@odata.id"))
    if await objects.find(call, owner) is None:
        raise missing(owner)

    def step(old: Identity) -> Identity:
        held = targets.owners(getattr(old, where))
        if owner in held:
            raise BadRequest(_EXISTS)
        if len(held) >= MAX_OWNERS:
            raise QuotaExceeded(f"An object has at most {MAX_OWNERS} owners.")
        return _with(old, where, [*held, owner])

    await writing.change(call, found, step)
    return 204, None


async def _remove(call: Call, found: Identity, where: str) -> Answer:
    owner = call.keys[1].value.lower()

    def step(old: Identity) -> Identity:
        held = targets.owners(getattr(old, where))
        if owner not in held:
            raise missing(owner)
        return _with(old, where, [each for each in held if each != owner])

    await writing.change(call, found, step)
    return 204, None


def _with(old: Identity, where: str, owners: Sequence[str]) -> Identity:
    document: dict[str, Any] = {**getattr(old, where), "owners": list(owners)}
    if where == "document":
        return replace(old, document=document)
    return replace(old, principal=document)


async def owned_by_me(call: Call) -> Answer:
    return await _owned(call, call.caller.object_id)


async def applications_of_me(call: Call) -> Answer:
    return await paging.answer(call, _applications(call, call.caller.object_id))


async def principals_of_me(call: Call) -> Answer:
    return await paging.answer(call, _principals(call, call.caller.object_id))


async def owned_by_principal(call: Call) -> Answer:
    found = await targets.find_principal(call, call.keys[0])
    if found is None:
        raise missing(call.keys[0].value)
    if isinstance(found, Identity) and found.client_id != call.caller.app_id:
        targets.check_readable(call, found)
    return await _owned(call, found.object_id if isinstance(found, Identity) else str(found["id"]))


async def _owned(call: Call, owner: str) -> Answer:
    """List what somebody owns: applications first, then service principals on pages of their own.

    No index knows owners, so a page looks at a bounded number of objects and says where the next begins.
    """
    after = call.options.after
    if after is not None and after.startswith(_SECOND):
        begin = after.removeprefix(_SECOND) or None
        later = replace(call, options=replace(call.options, after=begin))
        return await paging.answer(later, replace(_principals(call, owner), prefix=_SECOND))
    status, body = await paging.answer(call, _applications(call, owner))
    if isinstance(body, dict) and "@odata.nextLink" not in body:
        body["@odata.nextLink"] = wire.next_link(call.address, call.options, _SECOND)
    return status, body


def _applications(call: Call, owner: str) -> Source:
    return _of(
        applications.source(call),
        "#microsoft.graph.application",
        lambda one: owner in targets.owners(one.document),
    )


def _principals(call: Call, owner: str) -> Source:
    of_all = replace(principals.source(call), builtin=())
    return _of(
        of_all,
        "#microsoft.graph.servicePrincipal",
        lambda one: owner in targets.owners(one.principal),
    )


def _of(source: Source, kind: str, also: Callable[[Identity], bool]) -> Source:
    def show(identity: Identity) -> Item:
        return {"@odata.type": kind, **source.show(identity)}

    return replace(source, context="directoryObjects", show=show, also=also)
