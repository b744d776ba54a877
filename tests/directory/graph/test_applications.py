"""Applications: created, read, changed, deleted, and every rule about their members."""

import uuid
from typing import Any

import pytest

from podpass.directory.model import Identity, IdentityKind
from tests.directory.graph.world import ADMIN, DOMAIN, OTHER, TENANT, World, every


async def test_an_application_is_created_and_read_back_by_each_of_its_names(world: World) -> None:
    made = await world.application("web", uniqueName="web-1", tags=["a"])
    assert made["@odata.context"] == (
        "https://graph.microsoft.com/v1.0/$metadata#applications/$entity"
    )
    for path in (made["id"], made["id"].upper()):
        assert (await world.get(f"/applications/{path}")).body["appId"] == made["appId"]
    for key in (f"appId='{made['appId']}'", "uniqueName='web-1'", f"'{made['id']}'"):
        read = await world.get(f"/applications({key})")
        assert read.status == 200
        assert read.body["id"] == made["id"]
    read = (await world.get(f"/applications/{made['id']}")).body
    assert read["tags"] == ["a"]
    assert read["displayName"] == "web"
    assert read["publisherDomain"] == DOMAIN


async def test_members_that_clients_read_are_there_unless_they_are_given(world: World) -> None:
    made = await world.application()
    assert made["passwordCredentials"] == []
    assert made["keyCredentials"] == []
    assert made["signInAudience"] == "AzureADMyOrg"
    assert made["web"]["redirectUris"] == []
    assert made["api"]["oauth2PermissionScopes"] == []
    assert made["info"]["logoUrl"] is None
    assert made["createdDateTime"].endswith("Z")


async def test_a_patch_changes_what_it_names_and_nothing_below_it(world: World) -> None:
    made = await world.application(
        web={"homePageUrl": "https://a.example", "redirectUris": ["https://a.example/back"]}
    )
    reply = await world.patch(
        f"/applications/{made['id']}",
        {"displayName": "other", "web": {"homePageUrl": None}, "notes": "n"},
    )
    assert (reply.status, reply.body) == (204, None)
    read = (await world.get(f"/applications/{made['id']}")).body
    assert (read["displayName"], read["notes"]) == ("other", "n")
    assert read["web"]["homePageUrl"] is None
    assert read["web"]["redirectUris"] == ["https://a.example/back"]


@pytest.mark.parametrize(
    ("platform", "uri"),
    [
        ("web", "javascript:alert(1)"),
        ("publicClient", "JavaScript:alert(1)"),
        ("publicClient", "data:text/html,x"),
        ("publicClient", "file:///etc/passwd"),
        ("web", "http://evil.example/cb"),
        ("publicClient", "http://localhost.evil.example/cb"),
        ("spa", "https://*.evil.example/"),
        ("web", "https://good.example@evil.example/"),
        ("web", "https:///cb"),
        ("spa", "myapp://auth"),
        ("web", "back"),
        ("web", "https://a.example/x#y"),
        ("web", "https://a.example\\evil.example"),
        ("web", " https://a.example"),
        ("web", "https://[x"),
    ],
)
async def test_a_code_is_not_sent_where_others_read_it(
    world: World, platform: str, uri: str
) -> None:
    """Attack: an owner registers an address in clear, or one that the browser runs itself."""
    made = await world.application()
    body = {platform: {"redirectUris": ["https://a.example", uri]}}
    reply = await world.patch(f"/applications/{made['id']}", body)
    assert (reply.status, reply.code) == (400, "Request_BadRequest")
    assert f"{platform}.redirectUris[1]" in str(reply.body)
    assert uri not in str(reply.body)
    read = (await world.get(f"/applications/{made['id']}")).body
    assert read[platform]["redirectUris"] == []


async def test_what_programs_really_register_is_taken(world: World) -> None:
    given = {
        "web": ["https://a.example/b?c=d", "http://localhost:8080/x", "urn:ietf:wg:oauth:2.0:oob"],
        "spa": ["http://127.0.0.1:1", "http://[::1]/", "brk-multihub://a.example"],
        "publicClient": ["msal7://auth", "http://localhost", "com.example.app:/back"],
    }
    body: Any = {platform: {"redirectUris": uris} for platform, uris in given.items()}
    made = await world.application(**body)
    assert {name: made[name]["redirectUris"] for name in given} == given


async def test_a_deleted_application_is_gone_with_its_principal(world: World) -> None:
    made = await world.application()
    principal = await world.principal(made["appId"])
    assert (await world.delete(f"/applications/{made['id']}")).status == 204
    for path in (f"/applications/{made['id']}", f"/servicePrincipals/{principal['id']}"):
        gone = await world.get(path)
        assert (gone.status, gone.code) == (404, "Request_ResourceNotFound")
    assert (await world.delete(f"/applications/{made['id']}")).status == 404


async def test_nothing_is_kept_of_what_is_deleted(world: World) -> None:
    made = await world.application()
    await world.delete(f"/applications/{made['id']}")
    assert (await world.get("/directory/deletedItems/microsoft.graph.application")).value == []
    for method in ("GET", "DELETE"):
        reply = await world.ask(method, f"/directory/deletedItems/{made['id']}")
        assert (reply.status, reply.code) == (404, "Request_ResourceNotFound")


async def test_an_upsert_creates_what_is_missing_and_changes_what_is_there(world: World) -> None:
    prefer = {"Prefer": "create-if-missing"}
    path = "/applications(uniqueName='site-1')"
    missing = await world.patch(path, {"displayName": "one"})
    assert (missing.status, missing.code) == (404, "Request_ResourceNotFound")
    created = await world.patch(path, {"displayName": "one"}, headers=prefer)
    assert (created.status, created.body["uniqueName"]) == (201, "site-1")
    changed = await world.patch(path, {"displayName": "two"}, headers=prefer)
    assert changed.status == 204
    assert (await world.get(path)).body["displayName"] == "two"


async def test_a_unique_name_cannot_change_and_belongs_to_one(world: World) -> None:
    made = await world.application(uniqueName="mine")
    again = await world.patch(f"/applications/{made['id']}", {"uniqueName": "other"})
    assert (again.status, again.code) == (400, "Request_BadRequest")
    taken = await world.post("/applications", {"displayName": "b", "uniqueName": "mine"})
    assert (taken.status, taken.code) == (400, "Request_BadRequest")
    assert taken.body["error"]["details"][0]["target"] == "uniqueName"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "displayName"),
        ({"displayName": ""}, "displayName"),
        ({"displayName": 7}, "displayName"),
        ({"displayName": "a" * 257}, "displayName"),
        ({"displayName": "a", "colour": "red"}, "colour"),
        ({"displayName": "a", "appId": str(uuid.uuid4())}, "appId"),
        ({"displayName": "a", "id": "x"}, "id"),
        ({"displayName": "a", "web": {"port": 1}}, "web.port"),
        ({"displayName": "a", "tags": "x"}, "tags"),
        ({"displayName": "a", "signInAudience": "Everybody"}, "signInAudience"),
        ({"displayName": "a", "isFallbackPublicClient": "yes"}, "isFallbackPublicClient"),
        ({"displayName": "a", "passwordCredentials": [{}, {}]}, "passwordCredentials"),
    ],
)
async def test_a_member_that_does_not_fit_is_refused_by_name(
    world: World, body: dict[str, object], named: str
) -> None:
    reply = await world.post("/applications", body)
    assert (reply.status, reply.code) == (400, "Request_BadRequest")
    assert f"'{named}'" in reply.message
    assert (await world.get("/applications")).value == []


async def test_annotations_are_passed_over(world: World) -> None:
    members: dict[str, Any] = {"@odata.type": "#x.application", "web": {"@odata.type": "x"}}
    made = await world.application(**members)
    assert "@odata.type" not in made["web"]


async def test_what_cannot_be_written_may_be_repeated(world: World) -> None:
    made = await world.application()
    same = {"id": made["id"], "appId": made["appId"], "notes": "n"}
    assert (await world.patch(f"/applications/{made['id']}", same)).status == 204
    other = await world.patch(f"/applications/{made['id']}", {"appId": str(uuid.uuid4())})
    assert (other.status, other.code) == (400, "Request_BadRequest")


# ------------------------------------------------------------------------------- identifier URIs


@pytest.mark.parametrize(
    "uri",
    [
        f"https://{DOMAIN}/api",
        f"https://api.{DOMAIN}",
        f"api://{TENANT}/anything",
        f"api://app.{DOMAIN}/x",
    ],
)
async def test_a_uri_that_says_whose_it_is_is_taken(world: World, uri: str) -> None:
    made = await world.application(identifierUris=[uri])
    assert made["identifierUris"] == [uri]


async def test_the_uri_of_its_own_id_is_taken(world: World) -> None:
    made = await world.application()
    uri = f"api://{made['appId']}"
    reply = await world.patch(f"/applications/{made['id']}", {"identifierUris": [uri]})
    assert reply.status == 204
    found = await world.get(f"/applications?$filter=identifierUris/any(s:s%20eq%20'{uri}')")
    assert [item["id"] for item in found.value] == [made["id"]]


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/x",
        "https://notcontoso.example",
        "api://bare",
        f"api://{OTHER}",
        "https://graph.microsoft.com",
        f"ftp://{DOMAIN}",
    ],
)
async def test_a_uri_of_somebody_else_is_refused(world: World, uri: str) -> None:
    """Without it an application could take tokens meant for another resource."""
    reply = await world.post("/applications", {"displayName": "a", "identifierUris": [uri]})
    assert (reply.status, reply.code) == (400, "HostNameNotOnVerifiedDomain")


async def test_a_uri_belongs_to_one_application(world: World) -> None:
    uri = f"https://{DOMAIN}/api"
    await world.application(identifierUris=[uri])
    for same in (uri, uri + "/", uri.upper().replace("HTTPS", "https")):
        reply = await world.post("/applications", {"displayName": "b", "identifierUris": [same]})
        assert (reply.status, reply.code) == (400, "Request_BadRequest"), same
        assert reply.body["error"]["details"][0] == {
            "code": "ObjectConflict",
            "message": reply.message,
            "target": "identifierUris",
        }


# ------------------------------------------------------------------------------------ app roles


def _role(**changes: object) -> dict[str, object]:
    return {
        "id": str(uuid.uuid4()),
        "value": "Read",
        "displayName": "Read",
        "description": "d",
        "allowedMemberTypes": ["Application"],
    } | changes


async def test_application_roles_are_kept_with_their_defaults(world: World) -> None:
    made = await world.application(appRoles=[_role()])
    assert made["appRoles"][0]["isEnabled"] is True
    assert made["appRoles"][0]["origin"] == "Application"


@pytest.mark.parametrize(
    ("roles", "code"),
    [
        ([_role(id="x")], "Request_BadRequest"),
        ([_role(allowedMemberTypes=[])], "Request_BadRequest"),
        ([_role(allowedMemberTypes=["Device"])], "Request_BadRequest"),
        ([_role(displayName="")], "Request_BadRequest"),
        ([_role(value="two words")], "Request_BadRequest"),
        ([_role(), _role(value="READ")], "DuplicateValue"),
        (
            [_role(id="a" * 8 + "-0000-0000-0000-" + "a" * 12, value=v) for v in "ab"],
            "DuplicateValue",
        ),
    ],
)
async def test_application_roles_that_cannot_stand_are_refused(
    world: World, roles: list[dict[str, object]], code: str
) -> None:
    reply = await world.post("/applications", {"displayName": "a", "appRoles": roles})
    assert (reply.status, reply.code) == (400, code)


async def test_a_role_is_disabled_before_it_is_taken_away(world: World) -> None:
    role = _role()
    made = await world.application(appRoles=[role])
    path = f"/applications/{made['id']}"
    reply = await world.patch(path, {"appRoles": []})
    assert (reply.status, reply.code) == (400, "CannotDeleteOrUpdateEnabledEntitlement")
    assert (await world.patch(path, {"appRoles": [role | {"isEnabled": False}]})).status == 204
    assert (await world.patch(path, {"appRoles": []})).status == 204
    assert (await world.get(path)).body["appRoles"] == []


async def test_a_scope_is_disabled_before_it_is_taken_away(world: World) -> None:
    scope = {"id": str(uuid.uuid4()), "value": "access", "type": "User", "isEnabled": True}
    made = await world.application(api={"oauth2PermissionScopes": [scope]})
    path = f"/applications/{made['id']}"
    reply = await world.patch(path, {"api": {"oauth2PermissionScopes": []}})
    assert (reply.status, reply.code) == (400, "CannotDeleteOrUpdateEnabledEntitlement")


# --------------------------------------------------------------------------------------- owners


async def test_who_creates_an_application_owns_it(world: World) -> None:
    made = await world.application()
    owners = (await world.get(f"/applications/{made['id']}/owners")).value
    assert [(one["id"], one["@odata.type"]) for one in owners] == [(ADMIN, "#microsoft.graph.user")]


async def test_owners_are_added_by_reference_and_removed(world: World) -> None:
    made = await world.application()
    other = await world.principal((await world.application("other"))["appId"])
    path = f"/applications/{made['id']}/owners"
    reference = {"@odata.id": f"https://graph.microsoft.com/v1.0/directoryObjects/{other['id']}"}
    assert (await world.post(f"{path}/$ref", reference)).status == 204
    assert {one["id"] for one in (await world.get(path)).value} == {ADMIN, other["id"]}
    again = await world.post(f"{path}/$ref", reference)
    assert (again.status, again.code) == (400, "Request_BadRequest")
    assert "added object references already exist" in again.message
    assert (await world.delete(f"{path}/{other['id']}/$ref")).status == 204
    assert (await world.delete(f"{path}/{other['id']}/$ref")).status == 404


@pytest.mark.parametrize("reference", ["x", 7, None, "https://evil.example/no"])
async def test_a_reference_to_nothing_is_refused(world: World, reference: object) -> None:
    made = await world.application()
    reply = await world.post(f"/applications/{made['id']}/owners/$ref", {"@odata.id": reference})
    assert (reply.status, reply.code) == (400, "BadRequest")
    strange = f"https://graph.microsoft.com/v1.0/directoryObjects/{uuid.uuid4()}"
    reply = await world.post(f"/applications/{made['id']}/owners/$ref", {"@odata.id": strange})
    assert (reply.status, reply.code) == (404, "Request_ResourceNotFound")


async def test_owners_can_be_bound_at_creation(world: World) -> None:
    other = await world.principal((await world.application("other"))["appId"])
    bound: Any = [f"https://graph.microsoft.com/v1.0/directoryObjects/{other['id']}"]
    made = await world.application(**{"owners@odata.bind": bound})
    owners = (await world.get(f"/applications/{made['id']}/owners")).value
    assert {one["id"] for one in owners} == {ADMIN, other["id"]}


async def test_what_somebody_owns_is_listed(world: World) -> None:
    made = await world.application()
    world.app("robot", "Application.ReadWrite.OwnedBy")
    await world.application("robots", who="robot")
    principal = await world.principal(made["appId"])
    pages = await every(world, "/me/ownedObjects")
    assert [(one["id"], one["@odata.type"]) for page in pages for one in page] == [
        (made["id"], "#microsoft.graph.application"),
        (principal["id"], "#microsoft.graph.servicePrincipal"),
    ]
    for kind, owned in (("application", made), ("servicePrincipal", principal)):
        found = (await world.get(f"/me/ownedObjects/microsoft.graph.{kind}")).value
        assert [one["id"] for one in found] == [owned["id"]]


async def test_changes_are_audited_with_who_made_them(world: World) -> None:
    made = await world.application()
    await world.patch(f"/applications/{made['id']}", {"notes": "n"})
    await world.delete(f"/applications/{made['id']}")
    entries = [entry for entry in await world.audited() if entry.target == made["id"]]
    assert [entry.action for entry in entries] == [
        "microsoft.directory/applications/delete",
        "microsoft.directory/applications/basic/update",
        "microsoft.directory/applications/create",
    ]
    assert {(entry.actor, entry.actor_name) for entry in entries} == {(ADMIN, "admin")}


@pytest.mark.parametrize(
    ("api", "shown", "version"),
    [
        (None, None, 1),
        ({}, None, 1),
        ({"requestedAccessTokenVersion": None}, None, 1),
        ({"requestedAccessTokenVersion": 1}, 1, 1),
        ({"requestedAccessTokenVersion": 2}, 2, 2),
    ],
)
@pytest.mark.parametrize("upsert", [False, True])
async def test_tokens_for_an_application_are_of_the_version_it_shows(
    world: World, api: dict[str, Any] | None, shown: int | None, version: int, upsert: bool
) -> None:
    """Null is version 1, also for who never spoke of it: `az ad app create` and nothing else."""
    body: dict[str, Any] = {"displayName": "web"} | ({} if api is None else {"api": api})
    if upsert:
        prefer = {"Prefer": "create-if-missing"}
        made = (await world.patch("/applications(uniqueName='w')", body, headers=prefer)).body
    else:
        made = (await world.post("/applications", body)).body
    assert made["api"]["requestedAccessTokenVersion"] == shown
    await world.principal(made["appId"])
    # A change of its neighbours is none of it.
    path = f"/applications/{made['id']}"
    assert (await world.patch(path, {"api": {"acceptMappedClaims": True}})).status == 204
    found = await world.directory.find_resource(TENANT, f"api://{made['appId']}")
    assert found is not None
    assert found.token_version == version
    assert (await world.get(path)).body["api"]["requestedAccessTokenVersion"] == shown


async def test_an_application_of_a_seed_shows_the_version_its_tokens_have(world: World) -> None:
    made = Identity(
        tenant_id=TENANT,
        client_id=str(uuid.uuid4()),
        object_id=str(uuid.uuid4()),
        name="seeded",
        kind=IdentityKind.APPLICATION,
    )
    await world.directory.identities.put(made)
    found = await world.directory.find_resource(TENANT, f"api://{made.client_id}")
    assert found is not None
    [shown] = (await world.get("/applications")).value
    assert shown["api"]["requestedAccessTokenVersion"] == found.token_version == 2
