"""Delegated permissions given to applications (`oauth2PermissionGrants`): kept and shown.

They decide nothing here: users of an instance are asked for no consent. They are kept with the service
principal of the application that they are given to, and go with it.
"""

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from podpass.crypto import jose
from podpass.directory.graph import filters, paging, targets, writing
from podpass.directory.graph.calls import Answer, Call, Item
from podpass.directory.graph.filters import Noun
from podpass.directory.graph.members import guid, one_of, or_null, read_members, required, text
from podpass.directory.graph.paths import Key
from podpass.directory.graph.query import Both, Compare, Expr
from podpass.directory.graph.refusals import BadRequest, QuotaExceeded, Taken, missing
from podpass.directory.model import Identity

KIND = "oAuth2PermissionGrant"
SET = "oauth2PermissionGrants"
MEMBER = "grants"
MAX_GRANTS = 100
_MEMBERS = {
    "clientId": guid,
    "consentType": one_of("AllPrincipals", "Principal"),
    "principalId": or_null(guid),
    "resourceId": guid,
    "scope": or_null(text(3850)),
    "startTime": or_null(text(40)),
    "expiryTime": or_null(text(40)),
}
_KEPT = ("consentType", "principalId", "resourceId", "scope")
_NOUN = Noun(
    name=KIND,
    looked_at=frozenset({"id", "clientId", "consentType", "principalId", "resourceId", "scope"}),
)


async def list_all(call: Call) -> Answer:
    """List grants: those of one client at once, those of all by looking at a bounded number of clients."""
    client = _client_of(call.options.filter)
    if client is not None:
        found = await targets.find_principal(call, Key(name="id", value=client))
        return paging.listed(call, _of(found), _NOUN, SET)
    return await _of_all(call)


async def of_principal(call: Call) -> Answer:
    found = await targets.find_principal(call, call.keys[0])
    if found is None:
        raise missing(call.keys[0].value)
    return paging.listed(call, _of(found), _NOUN, SET)


async def get(call: Call) -> Answer:
    _, one = await _find(call)
    return paging.one(call, one, KIND, SET)


async def create(call: Call) -> Answer:
    given = read_members(call.body, _MEMBERS, frozenset({"id"}))
    for name in ("clientId", "consentType", "resourceId"):
        if name not in given:
            raise required(name)
    if (given["consentType"] == "Principal") is not bool(given.get("principalId")):
        raise BadRequest("principalId goes with consentType Principal, and with no other.")
    client = await targets.find_principal(call, Key(name="id", value=given["clientId"]))
    resource = await targets.find_principal(call, Key(name="id", value=given["resourceId"]))
    if not isinstance(client, Identity) or resource is None:
        raise missing(given["clientId" if resource is not None else "resourceId"])
    one = {name: given.get(name) for name in _KEPT} | {"id": _new_id(client.object_id)}

    def step(old: Identity) -> Identity:
        held = _held(old)
        if any(all(each[name] == one[name] for name in _KEPT[:3]) for each in held):
            raise Taken(
                "The client has a grant for this resource already: change the 'scope' of that."
            )
        if len(held) >= MAX_GRANTS:
            raise QuotaExceeded(
                f"An application is given at most {MAX_GRANTS} sets of permissions."
            )
        return _with(old, [*held, one])

    kept = await writing.change(call, client, step)
    return paging.one(call, _show(kept, one), KIND, SET, status=201)


async def update(call: Call) -> Answer:
    client, one = await _find(call)
    given = read_members(call.body, {"scope": _MEMBERS["scope"]}, frozenset(one) - {"scope"}, one)

    def step(old: Identity) -> Identity:
        changed = [each | given if each["id"] == one["id"] else each for each in _held(old)]
        return _with(old, changed)

    await writing.change(call, client, step)
    return 204, None


async def delete(call: Call) -> Answer:
    client, one = await _find(call)

    def step(old: Identity) -> Identity:
        return _with(old, [each for each in _held(old) if each["id"] != one["id"]])

    await writing.change(call, client, step)
    return 204, None


async def _of_all(call: Call) -> Answer:
    asked = call.options.filter
    if asked is not None:
        asked = filters.spelled(asked, _NOUN)
        filters.check(asked, _NOUN)
    found: list[Item] = []
    after, looked = call.options.after, 0
    while looked < paging.LOOKED_AT:
        want = paging.LOOKED_AT - looked
        rows = await call.directory.identities.page(
            call.place.tenant_id, principals=True, after=after, limit=want
        )
        for row in rows:
            looked, after = looked + 1, row.client_id
            found += [item for item in _of(row) if filters.matches(asked, item)]
            # Between two clients only, so a page may be longer than asked by what one client has.
            if len(found) >= call.options.top:
                return 200, _page(call, found, after)
        if len(rows) < want:
            return 200, _page(call, found, None)
    return 200, _page(call, found, after)


def _page(call: Call, found: list[Item], after: str | None) -> Item:
    return paging.Slice(items=found, after=after, count=None).shown(call, KIND, SET)


def _client_of(expr: Expr | None) -> str | None:
    parts = expr.parts if isinstance(expr, Both) else (expr,)
    for part in parts:
        if isinstance(part, Compare) and (part.path, part.op) == (("clientId",), "eq"):
            return str(part.value)
    return None


async def _find(call: Call) -> tuple[Identity, Item]:
    """A grant's id begins with its client's, so that it is found without looking through all."""
    grant_id = call.keys[0].value
    try:
        client = str(uuid.UUID(bytes=jose.b64decode(grant_id)[:16]))
    except (jose.MalformedToken, ValueError) as exc:
        raise missing(grant_id) from exc
    found = await targets.find_principal(call, Key(name="id", value=client))
    one = next((each for each in _of(found) if each["id"] == grant_id), None)
    if one is None or not isinstance(found, Identity):
        raise missing(grant_id)
    return found, one


def _of(found: Identity | Mapping[str, Any] | None) -> list[Item]:
    return [_show(found, each) for each in _held(found)] if isinstance(found, Identity) else []


def _held(identity: Identity) -> list[dict[str, Any]]:
    return [dict(each) for each in identity.principal.get(MEMBER, ())]


def _with(old: Identity, held: list[dict[str, Any]]) -> Identity:
    return replace(old, principal={**old.principal, MEMBER: held})


def _show(client: Identity, one: Mapping[str, Any]) -> Item:
    return {
        "id": one["id"],
        "clientId": client.object_id,
        **{name: one[name] for name in _KEPT},
    }


def _new_id(client_id: str) -> str:
    return jose.b64encode(uuid.UUID(client_id).bytes + secrets.token_bytes(16))
