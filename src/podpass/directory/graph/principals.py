"""Service principals: those of applications and managed identities, and the built-in ones.

Source: https://learn.microsoft.com/graph/api/resources/serviceprincipal
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from podpass.directory import builtin_principals
from podpass.directory.graph import (
    certificates,
    identity_writer,
    lookup,
    paging,
    passwords,
    permissions,
    wire,
)
from podpass.directory.graph.errors import (
    AccessDenied,
    DuplicateKey,
    InvalidRequest,
    access_denied,
    not_found,
)
from podpass.directory.graph.filters import FilterSchema
from podpass.directory.graph.model import GraphContext, GraphRequest, GraphResponse, JsonObject
from podpass.directory.graph.paging import IdentityCollection
from podpass.directory.graph.paths import ObjectKey
from podpass.directory.graph.permissions import OWNED_BY, AccessLevel
from podpass.directory.graph.properties import (
    PropertyParser,
    boolean,
    guid,
    invalid_value,
    list_of,
    merge,
    nullable,
    object_of,
    one_of,
    parse_properties,
    text,
)
from podpass.directory.model import Identity, IdentityKind
from podpass.directory.store.identity_queries import Condition
from podpass.guids import is_guid

_TEXT = nullable(text())
_URI = nullable(text(2048))

WRITABLE: Mapping[str, PropertyParser] = {
    "accountEnabled": boolean,
    "alternativeNames": list_of(text(256), limit=100),
    "appRoleAssignmentRequired": boolean,
    "description": _TEXT,
    "homepage": _URI,
    "loginUrl": _URI,
    "logoutUrl": _URI,
    "notes": _TEXT,
    "notificationEmailAddresses": list_of(text(256), limit=5),
    "preferredSingleSignOnMode": nullable(
        one_of("password", "saml", "notSupported", "oidc", "external")
    ),
    "preferredTokenSigningKeyThumbprint": nullable(text(64)),
    "replyUrls": list_of(text(2048), limit=256),
    "samlSingleSignOnSettings": nullable(object_of({"relayState": _TEXT})),
    "tags": list_of(text(256, least=1), limit=100),
    "tokenEncryptionKeyId": nullable(guid),
}
READ_ONLY = frozenset(
    {
        "id",
        "appId",
        "appDisplayName",
        "appDescription",
        "appOwnerOrganizationId",
        "applicationTemplateId",
        "appRoles",
        "createdDateTime",
        "deletedDateTime",
        "disabledByMicrosoftStatus",
        "displayName",
        "info",
        "oauth2PermissionScopes",
        "resourceSpecificApplicationPermissions",
        "servicePrincipalNames",
        "servicePrincipalType",
        "signInAudience",
        "verifiedPublisher",
    }
)
DEFAULTS: Mapping[str, Any] = {
    "deletedDateTime": None,
    "accountEnabled": True,
    "alternativeNames": [],
    "appDisplayName": None,
    "appDescription": None,
    "appOwnerOrganizationId": None,
    "applicationTemplateId": None,
    "appRoleAssignmentRequired": False,
    "createdDateTime": None,
    "description": None,
    "disabledByMicrosoftStatus": None,
    "homepage": None,
    "loginUrl": None,
    "logoutUrl": None,
    "notes": None,
    "notificationEmailAddresses": [],
    "preferredSingleSignOnMode": None,
    "preferredTokenSigningKeyThumbprint": None,
    "replyUrls": [],
    "samlSingleSignOnSettings": None,
    "servicePrincipalType": "Application",
    "signInAudience": None,
    "tags": [],
    "tokenEncryptionKeyId": None,
    "addIns": [],
    "appRoles": [],
    "info": {
        "logoUrl": None,
        "marketingUrl": None,
        "privacyStatementUrl": None,
        "supportUrl": None,
        "termsOfServiceUrl": None,
    },
    "keyCredentials": [],
    "oauth2PermissionScopes": [],
    "passwordCredentials": [],
    "resourceSpecificApplicationPermissions": [],
    "verifiedPublisher": {
        "displayName": None,
        "verifiedPublisherId": None,
        "addedDateTime": None,
    },
}


KIND = "servicePrincipal"
SET = "servicePrincipals"
FILTER_SCHEMA = FilterSchema(
    name="ServicePrincipal",
    indexed={
        "id": ("object_id", ("eq", "in")),
        "appId": ("client_id", ("eq", "in", "ne")),
        "displayName": ("name", ("eq", "startswith", "in")),
        "appDisplayName": ("name", ("eq", "startswith")),
        "servicePrincipalType": ("kind", ("eq", "ne")),
        "servicePrincipalNames": ("identifier_uri", ()),
        "identifierUris": ("identifier_uri", ("eq", "startswith")),
    },
    store_values={"application": "application", "managedidentity": "managed-identity"},
    collections=frozenset(
        {"servicePrincipalNames", "tags", "alternativeNames", "replyUrls", "identifierUris"}
    ),
    scanned=frozenset(
        {
            "accountEnabled",
            "appOwnerOrganizationId",
            "createdDateTime",
            "homepage",
            "description",
            "preferredSingleSignOnMode",
        }
    ),
)
# Stored with the properties, but returned only by separate paths, or not at all.
_SEPARATE = {"owners", passwords.OF_PRINCIPAL, certificates.OF_PRINCIPAL}
_STORED_AS_COLUMNS = {"accountEnabled"}
_INHERITED = ("appRoles", "info", "signInAudience", "verifiedPublisher")


def to_json(found: Identity | Mapping[str, Any], context: GraphContext) -> JsonObject:
    """Return a service principal as a Graph object."""
    if not isinstance(found, Identity):
        return merge(DEFAULTS, found)
    given = {name: value for name, value in found.principal.items() if name not in _SEPARATE}
    shown = {
        "id": found.object_id,
        "accountEnabled": found.enabled,
        "appDisplayName": found.name,
        "appId": found.client_id,
        "appOwnerOrganizationId": context.tenant_id,
        "createdDateTime": wire.format_time(found.created),
        "displayName": found.name,
        "keyCredentials": certificates.list_to_json(found, of_principal=True),
        "passwordCredentials": passwords.list_to_json(found, of_principal=True),
        "servicePrincipalNames": [found.client_id, *found.identifier_uris],
    }
    if found.kind is IdentityKind.MANAGED_IDENTITY:
        shown |= {
            "alternativeNames": ["isExplicit=True", found.resource_id or ""],
            "appDisplayName": None,
            "servicePrincipalType": "ManagedIdentity",
        }
        return merge(DEFAULTS, {**given, **shown})
    return merge(DEFAULTS, {**_inherited_properties(found), **given, **shown})


def _inherited_properties(found: Identity) -> JsonObject:
    """Return the properties that a service principal inherits from its application."""
    document = found.document
    return {name: document[name] for name in _INHERITED if name in document} | {
        "appDescription": document.get("description"),
        "signInAudience": document.get("signInAudience", "AzureADMyOrg"),
        "oauth2PermissionScopes": document.get("api", {}).get("oauth2PermissionScopes", []),
        "homepage": document.get("web", {}).get("homePageUrl"),
        "replyUrls": document.get("web", {}).get("redirectUris", []),
    }


def collection(request: GraphRequest) -> IdentityCollection:
    """Return the service principals of the tenant as a collection."""
    identities, tenant_id = request.directory.identities, request.context.tenant_id

    async def fetch(
        where: Sequence[Condition], after: str | None, limit: int
    ) -> Sequence[Identity]:
        return await identities.page(
            tenant_id, principals=True, where=where, after=after, limit=limit
        )

    async def count(where: Sequence[Condition]) -> int:
        return await identities.count(tenant_id, principals=True, where=where)

    return IdentityCollection(
        schema=FILTER_SCHEMA,
        kind=KIND,
        context=SET,
        fetch=fetch,
        count=count,
        show=lambda identity: to_json(identity, request.context),
        builtin=[
            to_json(each, request.context) for each in builtin_principals.list_principals(tenant_id)
        ],
    )


async def list_principals(request: GraphRequest) -> GraphResponse:
    return await paging.list_identities(request, collection(request))


async def count(request: GraphRequest) -> GraphResponse:
    return await paging.count_identities(request, collection(request))


async def get(request: GraphRequest) -> GraphResponse:
    found = await lookup.find_principal(request, request.keys[0])
    if found is None:
        raise not_found(request.keys[0].value)
    lookup.require_readable(request, found)
    item = to_json(found, request.context)
    if "keyCredentials" in request.options.select and isinstance(found, Identity):
        item["keyCredentials"] = certificates.list_to_json(found, of_principal=True, whole=True)
    return paging.object_response(request, item, KIND, SET)


async def create(request: GraphRequest) -> GraphResponse:
    body = dict(request.body)
    app_id = body.pop("appId", None)
    if not is_guid(app_id):
        raise invalid_value("appId", "the appId of an application")
    # Remove the properties that clients copy from the application when they create a service principal.
    for name in ("displayName", "servicePrincipalType", "servicePrincipalNames"):
        body.pop(name, None)
    for name in ("keyCredentials", "passwordCredentials"):
        if not body.get(name):
            body.pop(name, None)
    wanted = parse_properties(body, WRITABLE, READ_ONLY)
    found = await lookup.find_application(request, ObjectKey(name="appId", value=app_id))
    if found is None:
        raise _no_application(app_id)
    _require_owner(request, found)

    def step(old: Identity) -> Identity:
        if old.has_principal:
            raise DuplicateKey(
                f"The application {app_id} already has a service principal, and can have only one."
            )
        owned = replace(
            old,
            has_principal=True,
            enabled=True,
            principal={"owners": lookup.initial_owners(request.caller)},
        )
        return _apply(owned, wanted)

    made = await identity_writer.update(request, found, step)
    return paging.object_response(request, to_json(made, request.context), KIND, SET, status=201)


async def update(request: GraphRequest) -> GraphResponse:
    if request.create_if_missing:
        return await _upsert(request)
    found = await lookup.require_principal(request)
    await _update(request, found)
    return 204, None


async def delete(request: GraphRequest) -> GraphResponse:
    found = await lookup.require_principal(request)
    if found.kind is IdentityKind.MANAGED_IDENTITY:
        raise InvalidRequest(
            "The service principal of a managed identity is deleted with the identity: delete the identity in"
            " Azure Resource Manager."
        )

    def step(old: Identity) -> Identity:
        # Remove its own credentials too. Otherwise they would become credentials of the application.
        for each in passwords.list_to_json(old, of_principal=True):
            old = passwords.remove(old, each["keyId"], of_principal=True)
        for each in certificates.list_to_json(old, of_principal=True):
            old = certificates.remove(old, each["keyId"], of_principal=True)
        return replace(old, has_principal=False, principal={})

    await identity_writer.update(request, found, step)
    return 204, None


async def _upsert(request: GraphRequest) -> GraphResponse:
    key = request.keys[0]
    if key.name != "appId":
        raise InvalidRequest("create-if-missing requires a service principal path with appId.")
    if await lookup.find_principal(request, key) is None:
        if permissions.authorize(request.caller, permissions.CREATE_APP) is None:
            needed = permissions.CREATE_APP.alternatives
            raise access_denied(
                "create a service principal", needed, is_user=request.caller.is_user
            )
        return await create(replace(request, body={**request.body, "appId": key.value}))
    await _update(request, await lookup.require_principal(request))
    return 204, None


async def _update(request: GraphRequest, found: Identity) -> None:
    body = dict(request.body)
    current = to_json(found, request.context)
    keys, secrets = body.pop("keyCredentials", None), body.pop("passwordCredentials", None)
    if "servicePrincipalNames" in body:
        # A service principal has the names of its application; they are changed on the application.
        names = body.pop("servicePrincipalNames")
        if not isinstance(names, list) or set(map(str, names)) != set(
            current["servicePrincipalNames"]
        ):
            raise InvalidRequest(
                "servicePrincipalNames is read-only: change identifierUris of the application."
            )
    wanted = parse_properties(body, WRITABLE, READ_ONLY, current)
    if found.kind is IdentityKind.MANAGED_IDENTITY and (keys or secrets):
        raise InvalidRequest("A managed identity cannot have secrets or certificates.")

    def step(old: Identity) -> Identity:
        new = _apply(old, wanted)
        if keys is not None:
            new = certificates.replace_all(new, keys, request.now, of_principal=True)
        if secrets is not None:
            new = passwords.retain_listed(new, secrets, of_principal=True)
        return new

    await identity_writer.update(request, found, step)


def _apply(old: Identity, wanted: Mapping[str, Any]) -> Identity:
    given = {name: value for name, value in wanted.items() if name not in _STORED_AS_COLUMNS}
    return replace(
        old,
        enabled=wanted.get("accountEnabled", old.enabled),
        principal=merge(old.principal, given),
    )


def _require_owner(request: GraphRequest, found: Identity) -> None:
    """Reject a caller with access only to owned objects, if it does not own the application."""
    owned = request.caller.object_id in lookup.owner_ids(found.document)
    if request.access is not AccessLevel.ALL and not owned:
        # az (ad sp create-for-rbac) and Terraform (azuread) search for the text up to "tenant", then retry.
        raise AccessDenied(
            "When using this permission, the backing application of the service principal being created"
            f" must in the local tenant be owned by the caller: {OWNED_BY} gives access to no other."
        )


def _no_application(app_id: str) -> InvalidRequest:
    # az searches for " does not reference ", Terraform for the text up to "object"; both then retry.
    return InvalidRequest(
        f"The appId '{app_id}' of the service principal does not reference a valid application object of this"
        " tenant: create the application first.",
        wire_code="NoBackingApplicationObject",
    )
