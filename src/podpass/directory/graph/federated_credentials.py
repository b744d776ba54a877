"""Federated identity credentials of applications.

Source: https://learn.microsoft.com/graph/api/resources/federatedidentitycredential
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from podpass.directory import rules
from podpass.directory.claims_expression import LANGUAGE_VERSION
from podpass.directory.graph import identity_writer, lookup, paging
from podpass.directory.graph.errors import DuplicateKey, InvalidRequest, not_found
from podpass.directory.graph.filters import FilterSchema
from podpass.directory.graph.model import GraphRequest, GraphResponse, JsonObject
from podpass.directory.graph.paths import ObjectKey
from podpass.directory.graph.properties import (
    invalid_value,
    list_of,
    missing_property,
    nullable,
    parse_properties,
    read_only_property,
    text,
)
from podpass.directory.model import FederatedCredential, Identity

KIND = "federatedIdentityCredential"
FILTER_SCHEMA = FilterSchema(
    name=KIND, scanned=frozenset({"id", "name", "issuer", "subject", "description"})
)
# Longer than the directory accepts, so that the directory reports the real limit.
_TEXT = text(4096)
_EXPRESSION = "claimsMatchingExpression"
_MEMBERS = {
    "name": text(512),
    "issuer": _TEXT,
    "subject": _TEXT,
    "description": nullable(_TEXT),
    "audiences": list_of(_TEXT, limit=20),
}


def _read_expression(path: str, value: Any) -> str:
    """Parse `{"value": EXPRESSION, "languageVersion": 1}`, and return the expression."""
    version = value.get("languageVersion") if isinstance(value, dict) else None
    if version != LANGUAGE_VERSION or isinstance(version, bool) or len(value) != 2:
        raise invalid_value(path, f"an object of value and languageVersion {LANGUAGE_VERSION}")
    return str(_TEXT(f"{path}/value", value.get("value")))


# Only the beta version has expressions.
_BETA_MEMBERS = {**_MEMBERS, "subject": nullable(_TEXT), _EXPRESSION: nullable(_read_expression)}


def to_json(one: FederatedCredential, *, beta: bool = False) -> JsonObject:
    """Return a federated credential as a Graph object."""
    shown: JsonObject = {
        "id": one.id,
        "name": one.name,
        "issuer": one.issuer,
        "subject": one.subject or None,
        "description": one.description or None,
        "audiences": list(one.audiences),
    }
    if beta:
        shown[_EXPRESSION] = (
            {"value": one.expression, "languageVersion": LANGUAGE_VERSION}
            if one.expression
            else None
        )
    return shown


async def list_credentials(request: GraphRequest) -> GraphResponse:
    found = await lookup.require_application(request)
    shown = [_show_version(request, one) for one in found.credentials]
    return paging.list_items(request, shown, FILTER_SCHEMA, _context_path(found))


async def get(request: GraphRequest) -> GraphResponse:
    found = await lookup.require_application(request)
    one = _find(found, request.keys[1])
    if one is None:
        raise not_found(request.keys[1].value)
    return paging.object_response(request, _show_version(request, one), KIND, _context_path(found))


async def create(request: GraphRequest) -> GraphResponse:
    return await _create(
        request, await lookup.require_application(request), _parse(request, request.body)
    )


async def update(request: GraphRequest) -> GraphResponse:
    found = await lookup.require_application(request)
    key = request.keys[1]
    one = _find(found, key)
    given = _parse(request, request.body, one)
    if one is None:
        if not request.create_if_missing or key.name != "name":
            raise not_found(key.value)
        if given.setdefault("name", key.value) != key.value:
            raise read_only_property("name")
        return await _create(request, found, given)
    if given.get("name", one.name) != one.name:
        raise read_only_property("name")
    await identity_writer.update(request, found, _change_step(key, given))
    return 204, None


async def delete(request: GraphRequest) -> GraphResponse:
    found = await lookup.require_application(request)
    key = request.keys[1]

    def step(old: Identity) -> Identity:
        gone = _find(old, key)
        if gone is None:
            raise not_found(key.value)
        kept = tuple(one for one in old.credentials if one.name != gone.name)
        return replace(old, credentials=kept)

    await identity_writer.update(request, found, step)
    return 204, None


async def _create(
    request: GraphRequest, found: Identity, given: Mapping[str, Any]
) -> GraphResponse:
    trust = _EXPRESSION if given.get(_EXPRESSION) else "subject"
    for name in ("name", "issuer", trust, "audiences"):
        if not given.get(name):
            raise _not_found_error(name)
    one = FederatedCredential(
        id=str(uuid.uuid4()),
        name=given["name"],
        issuer=given["issuer"],
        subject=given.get("subject") or "",
        audiences=tuple(given["audiences"]),
        description=given.get("description") or "",
        created=request.now,
        expression=given.get(_EXPRESSION) or "",
    )

    def step(old: Identity) -> Identity:
        if any(each.name == one.name for each in old.credentials):
            raise DuplicateKey(
                f"The application already has a federated credential with the name {one.name}."
            )
        _reject_duplicate_trust(old, one)
        return replace(old, credentials=(*old.credentials, one))

    await identity_writer.update(request, found, step)
    return paging.object_response(
        request, _show_version(request, one), KIND, _context_path(found), status=201
    )


def _change_step(key: ObjectKey, given: Mapping[str, Any]) -> Callable[[Identity], Identity]:
    def step(old: Identity) -> Identity:
        one = _find(old, key)
        if one is None:
            raise not_found(key.value)
        new = replace(
            one,
            issuer=given.get("issuer", one.issuer),
            subject=given.get("subject", one.subject) or "",
            audiences=tuple(given.get("audiences", one.audiences)),
            description=given.get("description", one.description) or "",
            expression=given.get(_EXPRESSION, one.expression) or "",
        )
        _reject_duplicate_trust(old, new)
        return replace(old, credentials=rules.put_credential(old.credentials, new))

    return step


def _reject_duplicate_trust(old: Identity, new: FederatedCredential) -> None:
    for one in old.credentials:
        same = (one.issuer, one.subject, one.expression) == (
            new.issuer,
            new.subject,
            new.expression,
        )
        if one.name != new.name and same:
            trust = f"subject {new.subject}" if new.subject else f"expression {new.expression}"
            raise InvalidRequest(
                f"The federated credential {one.name} of the application already has issuer {new.issuer} and"
                f" {trust}.",
                wire_code="InvalidFederatedIdentityCredentialValue",
            )


def _parse(
    request: GraphRequest, body: Mapping[str, Any], one: FederatedCredential | None = None
) -> dict[str, Any]:
    current = None if one is None else to_json(one, beta=request.beta)
    members = _BETA_MEMBERS if request.beta else _MEMBERS
    found = parse_properties(body, members, frozenset({"id"}), current)
    if "audiences" in found and len(found["audiences"]) != 1:
        raise InvalidRequest(
            "A federated credential must have exactly one audience.",
            wire_code="InvalidFederatedIdentityCredentialValue",
        )
    return found


def _not_found_error(name: str) -> InvalidRequest:
    if name == "audiences":
        return invalid_value(name, "a list of exactly one audience")
    return missing_property(name)


def _find(identity: Identity, key: ObjectKey) -> FederatedCredential | None:
    """Find a credential by id or by name; a key after a slash may be either."""
    if key.name not in ("id", "name"):
        return None
    by_id = {one.id: one for one in identity.credentials} if key.name == "id" else {}
    by_name = {one.name: one for one in identity.credentials}
    return by_id.get(key.value.lower()) or by_name.get(key.value)


def _show_version(request: GraphRequest, one: FederatedCredential) -> JsonObject:
    return to_json(one, beta=request.beta)


def _context_path(identity: Identity) -> str:
    return f"applications('{identity.application_id}')/federatedIdentityCredentials"
