"""Applications: show, list, create, update and delete."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from podpass.directory import resources
from podpass.directory.graph import application_properties as fields
from podpass.directory.graph import certificates, identity_writer, lookup, paging, passwords, wire
from podpass.directory.graph.errors import GraphError, InvalidRequest
from podpass.directory.graph.filters import FilterSchema
from podpass.directory.graph.model import GraphContext, GraphRequest, GraphResponse, JsonObject
from podpass.directory.graph.paging import IdentityCollection
from podpass.directory.graph.properties import (
    invalid_value,
    merge,
    missing_property,
    parse_properties,
    read_only_property,
)
from podpass.directory.model import Identity, IdentityKind
from podpass.directory.store.identity_queries import Condition

KIND = "application"
SET = "applications"
FILTER_SCHEMA = FilterSchema(
    name="Application",
    indexed={
        "id": ("application_id", ("eq", "in")),
        "appId": ("client_id", ("eq", "in", "ne")),
        "displayName": ("name", ("eq", "startswith", "in")),
        "uniqueName": ("unique_name", ("eq", "in")),
        "identifierUris": ("identifier_uri", ("eq", "startswith")),
    },
    collections=frozenset({"identifierUris", "tags"}),
    scanned=frozenset({"signInAudience", "createdDateTime", "publisherDomain", "description"}),
)
_STORED_AS_COLUMNS = {"displayName", "identifierUris"}
# Stored with the properties, but returned only by separate paths.
_SEPARATE = {"owners"}
_BIND = "owners@odata.bind"
_VERSION = "requestedAccessTokenVersion"


def to_json(identity: Identity, context: GraphContext) -> JsonObject:
    """Return an application as a Graph object."""
    given = {name: value for name, value in identity.document.items() if name not in _SEPARATE}
    shown = {
        "id": identity.application_id,
        "deletedDateTime": None,
        "appId": identity.client_id,
        "applicationTemplateId": None,
        "createdDateTime": wire.format_time(identity.created),
        "displayName": identity.name,
        "identifierUris": list(identity.identifier_uris),
        "publisherDomain": context.domain,
        "uniqueName": identity.unique_name,
        "keyCredentials": certificates.list_to_json(identity, of_principal=False),
        "passwordCredentials": passwords.list_to_json(identity, of_principal=False),
    }
    item = merge(fields.DEFAULTS, {**given, **shown})
    return merge(item, {"api": {_VERSION: _shown_version(identity)}})


def _shown_version(identity: Identity) -> int | None:
    """Return the token version that a client set; null means version 1."""
    given = identity.document.get("api", {}).get(_VERSION)
    return given or (None if resources.token_version(identity) == 1 else 2)


def collection(request: GraphRequest) -> IdentityCollection:
    """Return the applications of the tenant as a collection."""
    identities, tenant_id = request.directory.identities, request.context.tenant_id
    kind = IdentityKind.APPLICATION

    async def fetch(
        where: Sequence[Condition], after: str | None, limit: int
    ) -> Sequence[Identity]:
        return await identities.page(tenant_id, kind=kind, where=where, after=after, limit=limit)

    async def count(where: Sequence[Condition]) -> int:
        return await identities.count(tenant_id, kind=kind, where=where)

    return IdentityCollection(
        schema=FILTER_SCHEMA,
        kind=KIND,
        context=SET,
        fetch=fetch,
        count=count,
        show=lambda identity: to_json(identity, request.context),
    )


async def list_applications(request: GraphRequest) -> GraphResponse:
    return await paging.list_identities(request, collection(request))


async def count(request: GraphRequest) -> GraphResponse:
    return await paging.count_identities(request, collection(request))


async def get(request: GraphRequest) -> GraphResponse:
    found = await lookup.require_application(request)
    item = to_json(found, request.context)
    if "keyCredentials" in request.options.select:
        # Graph returns the certificates themselves only if `$select` names this property.
        item["keyCredentials"] = certificates.list_to_json(found, of_principal=False, whole=True)
    return paging.object_response(request, item, KIND, SET)


async def create(request: GraphRequest) -> GraphResponse:
    return await _create(request, request.body, unique_name=request.body.get("uniqueName"))


async def update(request: GraphRequest) -> GraphResponse:
    if request.create_if_missing:
        key = request.keys[0]
        if key.name != "uniqueName":
            raise InvalidRequest("create-if-missing requires an application path with uniqueName.")
        if await lookup.find_application(request, key) is None:
            return await _create(request, request.body, unique_name=key.value)
        await _update(request, await lookup.require_application(request))
        return 204, None
    await _update(request, await lookup.require_application(request))
    return 204, None


async def delete(request: GraphRequest) -> GraphResponse:
    found = await lookup.require_application(request)
    await request.directory.identities.delete(request.context.tenant_id, found.client_id)
    return 204, None


async def _create(
    request: GraphRequest, body: Mapping[str, Any], *, unique_name: object
) -> GraphResponse:
    secrets = body.get("passwordCredentials") or []
    owners = _bound_owners(body)
    given = {
        name: value
        for name, value in body.items()
        if name not in ("uniqueName", "passwordCredentials", "keyCredentials", _BIND)
    }
    found = parse_properties(given, fields.WRITABLE, fields.READ_ONLY)
    if not found.get("displayName"):
        raise missing_property("displayName")
    blank = Identity(
        tenant_id=request.context.tenant_id,
        client_id=str(uuid.uuid4()),
        object_id=str(uuid.uuid4()),
        application_id=str(uuid.uuid4()),
        name=found["displayName"],
        kind=IdentityKind.APPLICATION,
        unique_name=_unique_name(unique_name),
        has_principal=False,
        created=request.now,
        document={
            "api": {_VERSION: None},
            "owners": [*dict.fromkeys([*lookup.initial_owners(request.caller), *owners])],
        },
    )
    identity = _apply(request.context, blank, found)
    identity = certificates.replace_all(
        identity, body.get("keyCredentials") or [], request.now, of_principal=False
    )
    identity, texts = passwords.generate_initial(identity, secrets, request.now)
    await _require_unique(request, identity)
    await identity_writer.create(request, identity)
    stored = await request.directory.identities.get(identity.tenant_id, identity.client_id)
    item = to_json(stored or identity, request.context)
    for one in item["passwordCredentials"]:
        one["secretText"] = texts.get(one["keyId"])
    return paging.object_response(request, item, KIND, SET, status=201)


async def _update(request: GraphRequest, found: Identity) -> None:
    body = request.body
    given = {
        name: value
        for name, value in body.items()
        if name not in ("uniqueName", "passwordCredentials", "keyCredentials")
    }
    if body.get("uniqueName", found.unique_name) != found.unique_name and found.unique_name:
        raise read_only_property("uniqueName")
    wanted = parse_properties(
        given, fields.WRITABLE, fields.READ_ONLY, to_json(found, request.context)
    )

    def step(old: Identity) -> Identity:
        new = _apply(request.context, old, wanted)
        if body.get("uniqueName"):
            new = replace(new, unique_name=_unique_name(body["uniqueName"]))
        if "keyCredentials" in body:
            new = certificates.replace_all(
                new, body["keyCredentials"] or [], request.now, of_principal=False
            )
        if "passwordCredentials" in body:
            new = passwords.retain_listed(
                new, body["passwordCredentials"] or [], of_principal=False
            )
        return new

    await _require_unique(request, step(found))
    await identity_writer.update(request, found, step)


def _apply(context: GraphContext, old: Identity, wanted: Mapping[str, Any]) -> Identity:
    document = merge(old.document, {k: v for k, v in wanted.items() if k not in _STORED_AS_COLUMNS})
    if "appRoles" in wanted:
        fields.validate_entitlements(
            "appRoles", old.document.get("appRoles", ()), document["appRoles"]
        )
    if "oauth2PermissionScopes" in wanted.get("api", ()):
        was = old.document.get("api", {}).get("oauth2PermissionScopes", ())
        fields.validate_entitlements(
            "api.oauth2PermissionScopes", was, document["api"]["oauth2PermissionScopes"]
        )
    uris = tuple(wanted.get("identifierUris", old.identifier_uris))
    new = [uri for uri in uris if uri not in old.identifier_uris]
    fields.validate_identifier_uris(
        new, app_id=old.client_id, tenant_id=context.tenant_id, domain=context.domain
    )
    return replace(
        old, name=wanted.get("displayName", old.name), identifier_uris=uris, document=document
    )


async def _require_unique(request: GraphRequest, identity: Identity) -> None:
    for uri in identity.identifier_uris:
        other = await request.directory.identities.find(identity.tenant_id, identifier_uri=uri)
        if other is not None and other.client_id != identity.client_id:
            raise _conflict("identifierUris")
    if identity.unique_name is not None:
        other = await request.directory.identities.find(
            identity.tenant_id, unique_name=identity.unique_name
        )
        if other is not None and other.client_id != identity.client_id:
            raise _conflict("uniqueName")


def _conflict(name: str) -> GraphError:
    return InvalidRequest(
        f"Another application of the tenant already has this value of '{name}'.", conflict=name
    )


def _unique_name(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise invalid_value("uniqueName", "a string that is not empty, or null")
    return value


def _bound_owners(body: Mapping[str, Any]) -> list[str]:
    given = body.get(_BIND) or []
    if not isinstance(given, list) or len(given) > 100:
        raise invalid_value(_BIND, "a list of at most 100 URLs")
    return [lookup.parse_reference(each) for each in given]
