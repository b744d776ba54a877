"""Grants of delegated permissions to applications (`oauth2PermissionGrants`): stored and returned.

Grants have no effect, because an instance never asks a user for consent. A grant is stored with the service
principal of its client, and is deleted with the service principal.
"""

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from podpass.crypto import jose
from podpass.directory.graph import filters, identity_writer, lookup, paging
from podpass.directory.graph.errors import DuplicateKey, InvalidRequest, QuotaExceeded, not_found
from podpass.directory.graph.filter_parser import And, Comparison, Expression
from podpass.directory.graph.filters import FilterSchema
from podpass.directory.graph.model import GraphRequest, GraphResponse, JsonObject
from podpass.directory.graph.paths import ObjectKey
from podpass.directory.graph.properties import (
    guid,
    missing_property,
    nullable,
    one_of,
    parse_properties,
    text,
)
from podpass.directory.model import Identity

KIND = "oAuth2PermissionGrant"
SET = "oauth2PermissionGrants"
GRANTS_PROPERTY = "grants"
MAX_GRANTS = 100
_MEMBERS = {
    "clientId": guid,
    "consentType": one_of("AllPrincipals", "Principal"),
    "principalId": nullable(guid),
    "resourceId": guid,
    "scope": nullable(text(3850)),
    "startTime": nullable(text(40)),
    "expiryTime": nullable(text(40)),
}
_STORED = ("consentType", "principalId", "resourceId", "scope")
_NOUN = FilterSchema(
    name=KIND,
    scanned=frozenset({"id", "clientId", "consentType", "principalId", "resourceId", "scope"}),
)


async def list_grants(request: GraphRequest) -> GraphResponse:
    """List the grants of one client, or scan a bounded number of clients for the grants of all."""
    client = _client_of(request.options.filter)
    if client is not None:
        found = await lookup.find_principal(request, ObjectKey(name="id", value=client))
        return paging.list_items(request, _list_to_json(found), _NOUN, SET)
    return await _list_all(request)


async def list_of_principal(request: GraphRequest) -> GraphResponse:
    found = await lookup.find_principal(request, request.keys[0])
    if found is None:
        raise not_found(request.keys[0].value)
    return paging.list_items(request, _list_to_json(found), _NOUN, SET)


async def get(request: GraphRequest) -> GraphResponse:
    _, one = await _find(request)
    return paging.object_response(request, one, KIND, SET)


async def create(request: GraphRequest) -> GraphResponse:
    given = parse_properties(request.body, _MEMBERS, frozenset({"id"}))
    for name in ("clientId", "consentType", "resourceId"):
        if name not in given:
            raise missing_property(name)
    if (given["consentType"] == "Principal") is not bool(given.get("principalId")):
        raise InvalidRequest(
            "principalId is required for consentType Principal, and invalid for any other."
        )
    client = await lookup.find_principal(request, ObjectKey(name="id", value=given["clientId"]))
    resource = await lookup.find_principal(request, ObjectKey(name="id", value=given["resourceId"]))
    if not isinstance(client, Identity) or resource is None:
        raise not_found(given["clientId" if resource is not None else "resourceId"])
    one = {name: given.get(name) for name in _STORED} | {"id": _new_id(client.object_id)}

    def step(old: Identity) -> Identity:
        grants = _grants_of(old)
        if any(all(each[name] == one[name] for name in _STORED[:3]) for each in grants):
            raise DuplicateKey(
                "The client already has a grant for this resource: change the 'scope' of that grant."
            )
        if len(grants) >= MAX_GRANTS:
            raise QuotaExceeded(f"An application can have at most {MAX_GRANTS} permission grants.")
        return _with_grants(old, [*grants, one])

    stored = await identity_writer.update(request, client, step)
    return paging.object_response(request, _to_json(stored, one), KIND, SET, status=201)


async def update(request: GraphRequest) -> GraphResponse:
    client, one = await _find(request)
    given = parse_properties(
        request.body, {"scope": _MEMBERS["scope"]}, frozenset(one) - {"scope"}, one
    )

    def step(old: Identity) -> Identity:
        changed = [each | given if each["id"] == one["id"] else each for each in _grants_of(old)]
        return _with_grants(old, changed)

    await identity_writer.update(request, client, step)
    return 204, None


async def delete(request: GraphRequest) -> GraphResponse:
    client, one = await _find(request)

    def step(old: Identity) -> Identity:
        return _with_grants(old, [each for each in _grants_of(old) if each["id"] != one["id"]])

    await identity_writer.update(request, client, step)
    return 204, None


async def _list_all(request: GraphRequest) -> GraphResponse:
    expression = request.options.filter
    if expression is not None:
        expression = filters.normalize_names(expression, _NOUN)
        filters.validate(expression, _NOUN)
    found: list[JsonObject] = []
    after, scanned = request.options.after, 0
    while scanned < paging.MAX_SCANNED:
        want = paging.MAX_SCANNED - scanned
        rows = await request.directory.identities.page(
            request.context.tenant_id, principals=True, after=after, limit=want
        )
        for row in rows:
            scanned, after = scanned + 1, row.client_id
            found += [item for item in _list_to_json(row) if filters.matches(expression, item)]
            # A page ends between two clients, so it may exceed $top by the grants of one client.
            if len(found) >= request.options.top:
                return 200, _page(request, found, after)
        if len(rows) < want:
            return 200, _page(request, found, None)
    return 200, _page(request, found, after)


def _page(request: GraphRequest, found: list[JsonObject], after: str | None) -> JsonObject:
    return paging.CollectionPage(items=found, after=after, count=None).to_body(request, KIND, SET)


def _client_of(expr: Expression | None) -> str | None:
    parts = expr.parts if isinstance(expr, And) else (expr,)
    for part in parts:
        if isinstance(part, Comparison) and (part.path, part.op) == (("clientId",), "eq"):
            return str(part.value)
    return None


async def _find(request: GraphRequest) -> tuple[Identity, JsonObject]:
    """Find a grant and its client; the grant's id begins with the client's id, so no scan is needed."""
    grant_id = request.keys[0].value
    try:
        client = str(uuid.UUID(bytes=jose.b64decode(grant_id)[:16]))
    except (jose.MalformedToken, ValueError) as exc:
        raise not_found(grant_id) from exc
    found = await lookup.find_principal(request, ObjectKey(name="id", value=client))
    one = next((each for each in _list_to_json(found) if each["id"] == grant_id), None)
    if one is None or not isinstance(found, Identity):
        raise not_found(grant_id)
    return found, one


def _list_to_json(found: Identity | Mapping[str, Any] | None) -> list[JsonObject]:
    return (
        [_to_json(found, each) for each in _grants_of(found)] if isinstance(found, Identity) else []
    )


def _grants_of(identity: Identity) -> list[dict[str, Any]]:
    return [dict(each) for each in identity.principal.get(GRANTS_PROPERTY, ())]


def _with_grants(old: Identity, grants: list[dict[str, Any]]) -> Identity:
    return replace(old, principal={**old.principal, GRANTS_PROPERTY: grants})


def _to_json(client: Identity, one: Mapping[str, Any]) -> JsonObject:
    return {
        "id": one["id"],
        "clientId": client.object_id,
        **{name: one[name] for name in _STORED},
    }


def _new_id(client_id: str) -> str:
    return jose.b64encode(uuid.UUID(client_id).bytes + secrets.token_bytes(16))
