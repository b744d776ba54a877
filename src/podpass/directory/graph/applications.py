"""Applications: what Graph shows of one, and what it lets be written."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from podpass.directory import resources
from podpass.directory.graph import application_members as fields
from podpass.directory.graph import certificates, paging, passwords, targets, wire, writing
from podpass.directory.graph.calls import Answer, Call, Item, Place
from podpass.directory.graph.filters import Noun
from podpass.directory.graph.members import merged, read_members, read_only, required, wrong
from podpass.directory.graph.paging import Source
from podpass.directory.graph.refusals import BadRequest, GraphRefusal
from podpass.directory.model import Identity, IdentityKind
from podpass.directory.store.identity_queries import Condition

KIND = "application"
SET = "applications"
NOUN = Noun(
    name="Application",
    indexed={
        "id": ("application_id", ("eq", "in")),
        "appId": ("client_id", ("eq", "in", "ne")),
        "displayName": ("name", ("eq", "startswith", "in")),
        "uniqueName": ("unique_name", ("eq", "in")),
        "identifierUris": ("identifier_uri", ("eq", "startswith")),
    },
    collections=frozenset({"identifierUris", "tags"}),
    looked_at=frozenset({"signInAudience", "createdDateTime", "publisherDomain", "description"}),
)
_OWN = {"displayName", "identifierUris"}
# Kept beside the members, and shown by paths of their own.
_BESIDE = {"owners"}
_BIND = "owners@odata.bind"
_VERSION = "requestedAccessTokenVersion"


def show(identity: Identity, place: Place) -> Item:
    """Show an application as Graph does."""
    given = {name: value for name, value in identity.document.items() if name not in _BESIDE}
    shown = {
        "id": identity.application_id,
        "deletedDateTime": None,
        "appId": identity.client_id,
        "applicationTemplateId": None,
        "createdDateTime": wire.time(identity.created),
        "displayName": identity.name,
        "identifierUris": list(identity.identifier_uris),
        "publisherDomain": place.domain,
        "uniqueName": identity.unique_name,
        "keyCredentials": certificates.shown(identity, of_principal=False),
        "passwordCredentials": passwords.shown(identity, of_principal=False),
    }
    item = merged(fields.DEFAULTS, {**given, **shown})
    return merged(item, {"api": {_VERSION: _shown_version(identity)}})


def _shown_version(identity: Identity) -> int | None:
    """Give the version as it was set; 1 is what null means."""
    given = identity.document.get("api", {}).get(_VERSION)
    return given or (None if resources.token_version(identity) == 1 else 2)


def source(call: Call) -> Source:
    """Name the applications of the tenant as a collection."""
    identities, tenant_id = call.directory.identities, call.place.tenant_id
    kind = IdentityKind.APPLICATION

    async def fetch(
        where: Sequence[Condition], after: str | None, limit: int
    ) -> Sequence[Identity]:
        return await identities.page(tenant_id, kind=kind, where=where, after=after, limit=limit)

    async def count(where: Sequence[Condition]) -> int:
        return await identities.count(tenant_id, kind=kind, where=where)

    return Source(
        noun=NOUN,
        kind=KIND,
        context=SET,
        fetch=fetch,
        count=count,
        show=lambda identity: show(identity, call.place),
    )


async def list_all(call: Call) -> Answer:
    return await paging.answer(call, source(call))


async def count(call: Call) -> Answer:
    return await paging.count(call, source(call))


async def get(call: Call) -> Answer:
    found = await targets.application(call)
    item = show(found, call.place)
    if "keyCredentials" in call.options.select:
        # Graph shows the certificates themselves only to who asks for this member by name.
        item["keyCredentials"] = certificates.shown(found, of_principal=False, whole=True)
    return paging.one(call, item, KIND, SET)


async def create(call: Call) -> Answer:
    return await _create(call, call.body, unique_name=call.body.get("uniqueName"))


async def update(call: Call) -> Answer:
    if call.create_if_missing:
        return await _upsert(call)
    await _update(call, await targets.application(call))
    return 204, None


async def delete(call: Call) -> Answer:
    found = await targets.application(call)
    await call.directory.identities.delete(call.place.tenant_id, found.client_id)
    return 204, None


async def _upsert(call: Call) -> Answer:
    key = call.keys[0]
    if key.name != "uniqueName":
        raise BadRequest("Only an application named by its uniqueName is created if it is missing.")
    if await targets.find_application(call, key) is None:
        return await _create(call, call.body, unique_name=key.value)
    await _update(call, await targets.application(call))
    return 204, None


async def _create(call: Call, body: Mapping[str, Any], *, unique_name: object) -> Answer:
    secrets = body.get("passwordCredentials") or []
    owners = _bound_owners(body)
    given = {
        name: value
        for name, value in body.items()
        if name not in ("uniqueName", "passwordCredentials", "keyCredentials", _BIND)
    }
    found = read_members(given, fields.WRITABLE, fields.READ_ONLY)
    if not found.get("displayName"):
        raise required("displayName")
    blank = Identity(
        tenant_id=call.place.tenant_id,
        client_id=str(uuid.uuid4()),
        object_id=str(uuid.uuid4()),
        application_id=str(uuid.uuid4()),
        name=found["displayName"],
        kind=IdentityKind.APPLICATION,
        unique_name=_unique_name(unique_name),
        has_principal=False,
        created=call.now,
        document={
            "api": {_VERSION: None},
            "owners": [*dict.fromkeys([*targets.owner_of_new(call.caller), *owners])],
        },
    )
    identity = _changed(call.place, blank, found)
    identity = certificates.replaced(
        identity, body.get("keyCredentials") or [], call.now, of_principal=False
    )
    identity, texts = passwords.made(identity, secrets, call.now)
    await _refuse_taken(call, identity)
    await writing.put(call, identity)
    kept = await call.directory.identities.get(identity.tenant_id, identity.client_id)
    item = show(kept or identity, call.place)
    for one in item["passwordCredentials"]:
        one["secretText"] = texts.get(one["keyId"])
    return paging.one(call, item, KIND, SET, status=201)


async def _update(call: Call, found: Identity) -> None:
    body = call.body
    given = {
        name: value
        for name, value in body.items()
        if name not in ("uniqueName", "passwordCredentials", "keyCredentials")
    }
    if body.get("uniqueName", found.unique_name) != found.unique_name and found.unique_name:
        raise read_only("uniqueName")
    wanted = read_members(given, fields.WRITABLE, fields.READ_ONLY, show(found, call.place))

    def step(old: Identity) -> Identity:
        new = _changed(call.place, old, wanted)
        if body.get("uniqueName"):
            new = replace(new, unique_name=_unique_name(body["uniqueName"]))
        if "keyCredentials" in body:
            new = certificates.replaced(
                new, body["keyCredentials"] or [], call.now, of_principal=False
            )
        if "passwordCredentials" in body:
            new = passwords.kept(new, body["passwordCredentials"] or [], of_principal=False)
        return new

    await _refuse_taken(call, step(found))
    await writing.change(call, found, step)


def _changed(place: Place, old: Identity, wanted: Mapping[str, Any]) -> Identity:
    document = merged(old.document, {k: v for k, v in wanted.items() if k not in _OWN})
    if "appRoles" in wanted:
        fields.check_entitlements(
            "appRoles", old.document.get("appRoles", ()), document["appRoles"]
        )
    if "oauth2PermissionScopes" in wanted.get("api", ()):
        was = old.document.get("api", {}).get("oauth2PermissionScopes", ())
        fields.check_entitlements(
            "api.oauth2PermissionScopes", was, document["api"]["oauth2PermissionScopes"]
        )
    uris = tuple(wanted.get("identifierUris", old.identifier_uris))
    new = [uri for uri in uris if uri not in old.identifier_uris]
    fields.check_uris(new, app_id=old.client_id, tenant_id=place.tenant_id, domain=place.domain)
    return replace(
        old, name=wanted.get("displayName", old.name), identifier_uris=uris, document=document
    )


async def _refuse_taken(call: Call, identity: Identity) -> None:
    for uri in identity.identifier_uris:
        other = await call.directory.identities.find(identity.tenant_id, identifier_uri=uri)
        if other is not None and other.client_id != identity.client_id:
            raise _same("identifierUris")
    if identity.unique_name is not None:
        other = await call.directory.identities.find(
            identity.tenant_id, unique_name=identity.unique_name
        )
        if other is not None and other.client_id != identity.client_id:
            raise _same("uniqueName")


def _same(name: str) -> GraphRefusal:
    return BadRequest(
        f"Another application of the tenant has this value of '{name}'.", conflict=name
    )


def _unique_name(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise wrong("uniqueName", "text that is not empty, or null")
    return value


def _bound_owners(body: Mapping[str, Any]) -> list[str]:
    given = body.get(_BIND) or []
    if not isinstance(given, list) or len(given) > 100:
        raise wrong(_BIND, "a list of at most 100 addresses")
    return [targets.reference(each) for each in given]
