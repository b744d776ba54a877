"""Service principals: of applications, of managed identities, and the built-in ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from podpass.directory import builtin_principals
from podpass.directory.graph import (
    certificates,
    paging,
    passwords,
    targets,
    wire,
    writing,
)
from podpass.directory.graph import principal_members as fields
from podpass.directory.graph.calls import Answer, Call, Item, Place
from podpass.directory.graph.filters import Noun
from podpass.directory.graph.members import merged, read_members, wrong
from podpass.directory.graph.paging import Source
from podpass.directory.graph.paths import Key
from podpass.directory.graph.permissions import OWNED_BY, Grant
from podpass.directory.graph.refusals import BadRequest, Denied, Taken, missing
from podpass.directory.model import Identity, IdentityKind
from podpass.directory.store.identity_queries import Condition
from podpass.guids import is_guid

KIND = "servicePrincipal"
SET = "servicePrincipals"
NOUN = Noun(
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
    spelt={"application": "application", "managedidentity": "managed-identity"},
    collections=frozenset(
        {"servicePrincipalNames", "tags", "alternativeNames", "replyUrls", "identifierUris"}
    ),
    looked_at=frozenset(
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
# Kept beside the members, and shown by paths of their own or not at all.
_BESIDE = {"owners", "grants", passwords.OF_PRINCIPAL, certificates.OF_PRINCIPAL}
_OWN = {"accountEnabled"}
_INHERITED = ("appRoles", "info", "signInAudience", "verifiedPublisher")


def show(found: Identity | Mapping[str, Any], place: Place) -> Item:
    """Show a service principal as Graph does."""
    if not isinstance(found, Identity):
        return merged(fields.DEFAULTS, found)
    given = {name: value for name, value in found.principal.items() if name not in _BESIDE}
    shown = {
        "id": found.object_id,
        "accountEnabled": found.enabled,
        "appDisplayName": found.name,
        "appId": found.client_id,
        "appOwnerOrganizationId": place.tenant_id,
        "createdDateTime": wire.time(found.created),
        "displayName": found.name,
        "keyCredentials": certificates.shown(found, of_principal=True),
        "passwordCredentials": passwords.shown(found, of_principal=True),
        "servicePrincipalNames": [found.client_id, *found.identifier_uris],
    }
    if found.kind is IdentityKind.MANAGED_IDENTITY:
        shown |= {
            "alternativeNames": ["isExplicit=True", found.resource_id or ""],
            "appDisplayName": None,
            "servicePrincipalType": "ManagedIdentity",
        }
        return merged(fields.DEFAULTS, {**given, **shown})
    return merged(fields.DEFAULTS, {**_of_application(found), **given, **shown})


def _of_application(found: Identity) -> Item:
    """What a principal has of its application."""
    document = found.document
    return {name: document[name] for name in _INHERITED if name in document} | {
        "appDescription": document.get("description"),
        "signInAudience": document.get("signInAudience", "AzureADMyOrg"),
        "oauth2PermissionScopes": document.get("api", {}).get("oauth2PermissionScopes", []),
        "homepage": document.get("web", {}).get("homePageUrl"),
        "replyUrls": document.get("web", {}).get("redirectUris", []),
    }


def source(call: Call) -> Source:
    """Name the service principals of the tenant as a collection."""
    identities, tenant_id = call.directory.identities, call.place.tenant_id

    async def fetch(
        where: Sequence[Condition], after: str | None, limit: int
    ) -> Sequence[Identity]:
        return await identities.page(
            tenant_id, principals=True, where=where, after=after, limit=limit
        )

    async def count(where: Sequence[Condition]) -> int:
        return await identities.count(tenant_id, principals=True, where=where)

    return Source(
        noun=NOUN,
        kind=KIND,
        context=SET,
        fetch=fetch,
        count=count,
        show=lambda identity: show(identity, call.place),
        builtin=[show(each, call.place) for each in builtin_principals.principals(tenant_id)],
    )


async def list_all(call: Call) -> Answer:
    return await paging.answer(call, source(call))


async def count(call: Call) -> Answer:
    return await paging.count(call, source(call))


async def get(call: Call) -> Answer:
    found = await targets.find_principal(call, call.keys[0])
    if found is None:
        raise missing(call.keys[0].value)
    targets.check_readable(call, found)
    item = show(found, call.place)
    if "keyCredentials" in call.options.select and isinstance(found, Identity):
        item["keyCredentials"] = certificates.shown(found, of_principal=True, whole=True)
    return paging.one(call, item, KIND, SET)


async def create(call: Call) -> Answer:
    body = dict(call.body)
    app_id = body.pop("appId", None)
    if not is_guid(app_id):
        raise wrong("appId", "the appId of an application")
    _passed_over(body)
    wanted = read_members(body, fields.WRITABLE, fields.READ_ONLY)
    found = await targets.find_application(call, Key(name="appId", value=app_id))
    if found is None:
        raise _no_application(app_id)
    _check_owner(call, found)

    def step(old: Identity) -> Identity:
        if old.has_principal:
            raise Taken(
                f"The application {app_id} has its service principal already, and never more than one."
            )
        owned = replace(
            old,
            has_principal=True,
            enabled=True,
            principal={"owners": targets.owner_of_new(call.caller)},
        )
        return _changed(owned, wanted)

    made = await writing.change(call, found, step)
    return paging.one(call, show(made, call.place), KIND, SET, status=201)


async def update(call: Call) -> Answer:
    if call.create_if_missing:
        return await _upsert(call)
    found = await targets.principal(call)
    await _update(call, found)
    return 204, None


async def delete(call: Call) -> Answer:
    found = await targets.principal(call)
    if found.kind is IdentityKind.MANAGED_IDENTITY:
        raise BadRequest(
            "The service principal of a managed identity goes with the identity: delete that in Azure"
            " Resource Manager."
        )

    def step(old: Identity) -> Identity:
        # Its own secrets go too; otherwise they would be the application's from now on.
        for each in passwords.shown(old, of_principal=True):
            old = passwords.removed(old, each["keyId"], of_principal=True)
        for each in certificates.shown(old, of_principal=True):
            old = certificates.removed(old, each["keyId"], of_principal=True)
        return replace(old, has_principal=False, principal={})

    await writing.change(call, found, step)
    return 204, None


async def _upsert(call: Call) -> Answer:
    key = call.keys[0]
    if key.name != "appId":
        raise BadRequest("Only a service principal named by its appId is created if it is missing.")
    if await targets.find_principal(call, key) is None:
        return await create(replace(call, body={**call.body, "appId": key.value}))
    await _update(call, await targets.principal(call))
    return 204, None


async def _update(call: Call, found: Identity) -> None:
    body = dict(call.body)
    current = show(found, call.place)
    keys, secrets = body.pop("keyCredentials", None), body.pop("passwordCredentials", None)
    if "servicePrincipalNames" in body:
        # Its names are those of its application, and change there.
        names = body.pop("servicePrincipalNames")
        if not isinstance(names, list) or set(map(str, names)) != set(
            current["servicePrincipalNames"]
        ):
            raise BadRequest(
                "Change identifierUris of the application instead of servicePrincipalNames."
            )
    wanted = read_members(body, fields.WRITABLE, fields.READ_ONLY, current)
    if found.kind is IdentityKind.MANAGED_IDENTITY and (keys or secrets):
        raise BadRequest("A managed identity holds no secrets of its own.")

    def step(old: Identity) -> Identity:
        new = _changed(old, wanted)
        if keys is not None:
            new = certificates.replaced(new, keys, call.now, of_principal=True)
        if secrets is not None:
            new = passwords.kept(new, secrets, of_principal=True)
        return new

    await writing.change(call, found, step)


def _changed(old: Identity, wanted: Mapping[str, Any]) -> Identity:
    given = {name: value for name, value in wanted.items() if name not in _OWN}
    return replace(
        old,
        enabled=wanted.get("accountEnabled", old.enabled),
        principal=merged(old.principal, given),
    )


def _check_owner(call: Call, found: Identity) -> None:
    """Let who creates only what is theirs make principals of their own applications."""
    owned = call.caller.object_id in targets.owners(found.document)
    if call.grant is not Grant.ALL and not owned:
        # az (ad sp create-for-rbac) and Terraform (azuread) search for this, up to "tenant", and then retry.
        raise Denied(
            "When using this permission, the backing application of the service principal being created"
            f" must in the local tenant be the caller's own: {OWNED_BY} reaches no other."
        )


def _no_application(app_id: str) -> BadRequest:
    # Searched for by az (" does not reference ") and Terraform (all of it up to "object"), which then retry.
    return BadRequest(
        f"The appId '{app_id}' of the service principal does not reference a valid application object of this"
        " tenant: create the application first.",
        wire_code="NoBackingApplicationObject",
    )


def _passed_over(body: dict[str, Any]) -> None:
    """Forget what clients repeat of the application when they create its principal."""
    for name in ("displayName", "servicePrincipalType", "servicePrincipalNames"):
        body.pop(name, None)
    for name in ("keyCredentials", "passwordCredentials"):
        if not body.get(name):
            body.pop(name, None)
