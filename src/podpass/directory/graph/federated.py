"""Federated identity credentials of applications.

Source: https://learn.microsoft.com/graph/api/resources/federatedidentitycredential
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from podpass.directory import rules
from podpass.directory.graph import paging, targets, writing
from podpass.directory.graph.calls import Answer, Call, Item
from podpass.directory.graph.filters import Noun
from podpass.directory.graph.members import (
    items,
    or_null,
    read_members,
    read_only,
    required,
    text,
    wrong,
)
from podpass.directory.graph.paths import Key
from podpass.directory.graph.refusals import BadRequest, Taken, missing
from podpass.directory.model import FederatedCredential, Identity

KIND = "federatedIdentityCredential"
NOUN = Noun(name=KIND, looked_at=frozenset({"id", "name", "issuer", "subject", "description"}))
_RESOURCE = "FederatedIdentityCredential"
# Longer than the directory takes, which says so in its own words.
_TEXT = text(4096)
_MEMBERS = {
    "name": text(512),
    "issuer": _TEXT,
    "subject": _TEXT,
    "description": or_null(_TEXT),
    "audiences": items(_TEXT, limit=20),
}


def show(one: FederatedCredential) -> Item:
    """Show a federated credential as Graph does."""
    return {
        "id": one.id,
        "name": one.name,
        "issuer": one.issuer,
        "subject": one.subject,
        "description": one.description or None,
        "audiences": list(one.audiences),
    }


async def list_all(call: Call) -> Answer:
    found = await targets.application(call)
    shown = [_shown(call, one) for one in found.credentials]
    return paging.listed(call, shown, NOUN, _context(found))


async def get(call: Call) -> Answer:
    found = await targets.application(call)
    one = _find(found, call.keys[1])
    if one is None:
        raise missing(call.keys[1].value)
    return paging.one(call, _shown(call, one), KIND, _context(found))


async def create(call: Call) -> Answer:
    return await _create(call, await targets.application(call), _read(call, call.body))


async def update(call: Call) -> Answer:
    found = await targets.application(call)
    key = call.keys[1]
    one = _find(found, key)
    given = _read(call, call.body, one)
    if one is None:
        if not call.create_if_missing or key.name != "name":
            raise missing(key.value)
        if given.setdefault("name", key.value) != key.value:
            raise read_only("name")
        return await _create(call, found, given)
    if given.get("name", one.name) != one.name:
        raise read_only("name")
    await writing.change(call, found, _changing(key, given))
    return 204, None


async def delete(call: Call) -> Answer:
    found = await targets.application(call)
    key = call.keys[1]

    def step(old: Identity) -> Identity:
        gone = _find(old, key)
        if gone is None:
            raise missing(key.value)
        kept = tuple(one for one in old.credentials if one.name != gone.name)
        return replace(old, credentials=kept)

    await writing.change(call, found, step)
    return 204, None


async def _create(call: Call, found: Identity, given: Mapping[str, Any]) -> Answer:
    for name in ("name", "issuer", "subject", "audiences"):
        if not given.get(name):
            raise _required(name)
    one = FederatedCredential(
        id=str(uuid.uuid4()),
        name=given["name"],
        issuer=given["issuer"],
        subject=given["subject"],
        audiences=tuple(given["audiences"]),
        description=given.get("description") or "",
        created=call.now,
    )

    def step(old: Identity) -> Identity:
        if any(each.name == one.name for each in old.credentials):
            raise Taken(f"The application has a federated credential {one.name} already.")
        _refuse_same_trust(old, one)
        return replace(old, credentials=(*old.credentials, one))

    await writing.change(call, found, step)
    return paging.one(call, _shown(call, one), KIND, _context(found), status=201)


def _changing(key: Key, given: Mapping[str, Any]) -> Callable[[Identity], Identity]:
    def step(old: Identity) -> Identity:
        one = _find(old, key)
        if one is None:
            raise missing(key.value)
        new = replace(
            one,
            issuer=given.get("issuer", one.issuer),
            subject=given.get("subject", one.subject),
            audiences=tuple(given.get("audiences", one.audiences)),
            description=given.get("description", one.description) or "",
        )
        _refuse_same_trust(old, new)
        return replace(old, credentials=rules.replaced(old.credentials, new))

    return step


def _refuse_same_trust(old: Identity, new: FederatedCredential) -> None:
    for one in old.credentials:
        if one.name != new.name and (one.issuer, one.subject) == (new.issuer, new.subject):
            raise BadRequest(
                f"The application trusts issuer {new.issuer} with subject {new.subject} already, by its"
                f" credential {one.name}.",
                wire_code="InvalidFederatedIdentityCredentialValue",
            )


def _read(
    call: Call, body: Mapping[str, Any], one: FederatedCredential | None = None
) -> dict[str, Any]:
    body = dict(body)
    expression = body.pop("claimsMatchingExpression", None) if call.beta else None
    if expression is not None:
        raise BadRequest(
            "claimsMatchingExpression is not in podpass: Entra takes expressions for a few issuers only, of"
            " which no Kubernetes cluster is one. Name each subject in a credential of its own.",
            wire_code="InvalidFederatedIdentityCredentialValue",
        )
    current = None if one is None else show(one)
    found = read_members(body, _MEMBERS, frozenset({"id"}), current)
    if "audiences" in found and len(found["audiences"]) != 1:
        raise BadRequest(
            "A federated credential has exactly one audience.",
            wire_code="InvalidFederatedIdentityCredentialValue",
        )
    return found


def _required(name: str) -> BadRequest:
    if name == "audiences":
        return wrong(name, "a list of exactly one audience")
    return required(name)


def _find(identity: Identity, key: Key) -> FederatedCredential | None:
    """By id or by name: what stands behind the slash may be either."""
    if key.name not in ("id", "name"):
        return None
    by_id = {one.id: one for one in identity.credentials} if key.name == "id" else {}
    by_name = {one.name: one for one in identity.credentials}
    return by_id.get(key.value.lower()) or by_name.get(key.value)


def _shown(call: Call, one: FederatedCredential) -> Item:
    return show(one) | ({"claimsMatchingExpression": None} if call.beta else {})


def _context(identity: Identity) -> str:
    return f"applications('{identity.application_id}')/federatedIdentityCredentials"
