"""Grants of delegated permissions to applications (`oauth2PermissionGrants`): consents, as Graph shows them.

The token service reads the grants for each token of a user. A grant is deleted with the service principal of
its client or of its resource.
"""

from podpass.directory.graph import filters, identity_writer, lookup, paging
from podpass.directory.graph.errors import InvalidRequest, not_found
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
from podpass.directory.model import Identity, PermissionGrant

KIND = "oAuth2PermissionGrant"
SET = "oauth2PermissionGrants"
_MEMBERS = {
    "clientId": guid,
    "consentType": one_of("AllPrincipals", "Principal"),
    "principalId": nullable(guid),
    "resourceId": guid,
    "scope": nullable(text(3850)),
    "startTime": nullable(text(40)),
    "expiryTime": nullable(text(40)),
}
_FILTERS = FilterSchema(
    name=KIND,
    scanned=frozenset({"id", "clientId", "consentType", "principalId", "resourceId", "scope"}),
)


async def list_grants(request: GraphRequest) -> GraphResponse:
    """List the grants of the tenant."""
    return await _list(request, None)


async def list_of_principal(request: GraphRequest) -> GraphResponse:
    """List the grants of a client."""
    found = await lookup.find_principal(request, request.keys[0])
    if found is None:
        raise not_found(request.keys[0].value)
    return await _list(request, found.object_id if isinstance(found, Identity) else found["id"])


async def get(request: GraphRequest) -> GraphResponse:
    return paging.object_response(request, _to_json(await _find(request)), KIND, SET)


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
    grant = PermissionGrant(
        id="",
        tenant_id=request.context.tenant_id,
        client_id=client.object_id,
        resource_id=given["resourceId"],
        principal_id=given.get("principalId") or "",
        scope=given.get("scope") or "",
    )
    with identity_writer.translate_errors(client.object_id):
        stored = await request.directory.grants.create(grant)
    return paging.object_response(request, _to_json(stored), KIND, SET, status=201)


async def update(request: GraphRequest) -> GraphResponse:
    grant = await _find(request)
    shown = _to_json(grant)
    given = parse_properties(
        request.body, {"scope": _MEMBERS["scope"]}, frozenset(shown) - {"scope"}, shown
    )
    if "scope" in given:
        await request.directory.grants.change_scope(grant.id, given["scope"] or "")
    return 204, None


async def delete(request: GraphRequest) -> GraphResponse:
    await request.directory.grants.delete((await _find(request)).id)
    return 204, None


async def _list(request: GraphRequest, client_id: str | None) -> GraphResponse:
    """List grants: a filter by client or user is a query of the store, the rest is a bounded scan."""
    expression = request.options.filter
    if expression is not None:
        expression = filters.normalize_names(expression, _FILTERS)
        filters.validate(expression, _FILTERS)
    client_id = client_id or _find_value(expression, "clientId")
    principal_id = _find_value(expression, "principalId")
    found: list[JsonObject] = []
    after, scanned = request.options.after, 0
    while scanned < paging.MAX_SCANNED:
        want = paging.MAX_SCANNED - scanned
        rows = await request.directory.grants.page(
            request.context.tenant_id,
            client_id=client_id,
            principal_id=principal_id,
            after=after,
            limit=want,
        )
        for row in rows:
            if len(found) == request.options.top:
                return 200, _page(request, found, after)
            scanned, after = scanned + 1, row.id
            item = _to_json(row)
            found += [item] if filters.matches(expression, item) else []
        if len(rows) < want:
            return 200, _page(request, found, None)
    return 200, _page(request, found, after)


def _page(request: GraphRequest, found: list[JsonObject], after: str | None) -> JsonObject:
    return paging.CollectionPage(items=found, after=after, count=None).to_body(request, KIND, SET)


def _find_value(expression: Expression | None, name: str) -> str | None:
    parts = expression.parts if isinstance(expression, And) else (expression,)
    for part in parts:
        if isinstance(part, Comparison) and (part.path, part.op) == ((name,), "eq"):
            return None if part.value is None else str(part.value)
    return None


async def _find(request: GraphRequest) -> PermissionGrant:
    grant_id = request.keys[0].value
    found = await request.directory.grants.get(grant_id)
    if found is None or found.tenant_id != request.context.tenant_id:
        raise not_found(grant_id)
    return found


def _to_json(grant: PermissionGrant) -> JsonObject:
    return {
        "id": grant.id,
        "clientId": grant.client_id,
        "consentType": "Principal" if grant.principal_id else "AllPrincipals",
        "principalId": grant.principal_id or None,
        "resourceId": grant.resource_id,
        "scope": grant.scope,
    }
