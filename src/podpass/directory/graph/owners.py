"""Owners of applications and service principals, and what somebody owns."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from podpass.directory.graph import applications, objects, paging, targets, writing
from podpass.directory.graph.calls import Answer, Call
from podpass.directory.graph.filters import Noun
from podpass.directory.graph.members import unknown
from podpass.directory.graph.refusals import BadRequest, QuotaExceeded, missing
from podpass.directory.model import Identity, IdentityKind
from podpass.directory.queries import Condition

MAX_OWNERS = 100
_NOUN = Noun(name="directoryObject", looked_at=frozenset({"id", "displayName"}))
_EXISTS = "One or more added object references already exist for the following modified properties: 'owners'."


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
    return await _owned(call, call.caller.object_id, IdentityKind.APPLICATION)


async def owned_by_principal(call: Call) -> Answer:
    found = await targets.find_principal(call, call.keys[0])
    if found is None:
        raise missing(call.keys[0].value)
    if isinstance(found, Identity) and found.client_id != call.caller.app_id:
        targets.check_readable(call, found)
    owner = found.object_id if isinstance(found, Identity) else str(found["id"])
    return await _owned(call, owner, IdentityKind.APPLICATION)


async def _owned(call: Call, owner: str, kind: IdentityKind) -> Answer:
    """List the applications somebody owns: no index knows, so a page looks at a bounded number."""
    of_all = applications.source(call)
    identities, tenant_id = call.directory.identities, call.place.tenant_id

    async def fetch(
        where: Sequence[Condition], after: str | None, limit: int
    ) -> Sequence[Identity]:
        return await identities.page(tenant_id, kind=kind, where=where, after=after, limit=limit)

    def show(identity: Identity) -> dict[str, Any]:
        return {"@odata.type": "#microsoft.graph.application"} | of_all.show(identity)

    owned = replace(
        of_all,
        context="directoryObjects",
        fetch=fetch,
        show=show,
        also=lambda identity: owner in targets.owners(identity.document),
    )
    return await paging.answer(call, owned)
