"""Applications: create, read, update, delete, the rules for their properties, and their owners."""

import uuid
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpass.directory.graph import application_properties, principals, properties
from podpass.directory.graph.errors import InvalidRequest
from podpass.directory.model import Identity, IdentityKind
from tests.directory.graph.harness import ADMIN, DOMAIN, OTHER, TENANT, Graph, follow_pages


async def test_application_is_found_by_each_of_its_keys(graph: Graph) -> None:
    made = await graph.application("web", uniqueName="web-1", tags=["a"])
    assert made["@odata.context"] == (
        "https://graph.microsoft.com/v1.0/$metadata#applications/$entity"
    )
    for path in (made["id"], made["id"].upper()):
        assert (await graph.get(f"/applications/{path}")).body["appId"] == made["appId"]
    for key in (f"appId='{made['appId']}'", "uniqueName='web-1'", f"'{made['id']}'"):
        read = await graph.get(f"/applications({key})")
        assert read.status == 200
        assert read.body["id"] == made["id"]
    read = (await graph.get(f"/applications/{made['id']}")).body
    assert read["tags"] == ["a"]
    assert read["displayName"] == "web"
    assert read["publisherDomain"] == DOMAIN


async def test_application_has_default_properties(graph: Graph) -> None:
    made = await graph.application()
    assert made["passwordCredentials"] == []
    assert made["keyCredentials"] == []
    assert made["signInAudience"] == "AzureADMyOrg"
    assert made["web"]["redirectUris"] == []
    assert made["api"]["oauth2PermissionScopes"] == []
    assert made["info"]["logoUrl"] is None
    assert made["createdDateTime"].endswith("Z")


async def test_patch_changes_only_the_named_properties(graph: Graph) -> None:
    made = await graph.application(
        web={"homePageUrl": "https://a.example", "redirectUris": ["https://a.example/back"]}
    )
    reply = await graph.patch(
        f"/applications/{made['id']}",
        {"displayName": "other", "web": {"homePageUrl": None}, "notes": "n"},
    )
    assert (reply.status, reply.body) == (204, None)
    read = (await graph.get(f"/applications/{made['id']}")).body
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
async def test_unsafe_redirect_uri_is_rejected(graph: Graph, platform: str, uri: str) -> None:
    """Attack: an owner registers an unencrypted redirect URI, or one that the browser executes."""
    made = await graph.application()
    body = {platform: {"redirectUris": ["https://a.example", uri]}}
    reply = await graph.patch(f"/applications/{made['id']}", body)
    assert (reply.status, reply.code) == (400, "Request_BadRequest")
    assert f"{platform}.redirectUris[1]" in str(reply.body)
    assert uri not in str(reply.body)
    read = (await graph.get(f"/applications/{made['id']}")).body
    assert read[platform]["redirectUris"] == []


async def test_common_redirect_uris_are_accepted(graph: Graph) -> None:
    given = {
        "web": ["https://a.example/b?c=d", "http://localhost:8080/x", "urn:ietf:wg:oauth:2.0:oob"],
        "spa": ["http://127.0.0.1:1", "http://[::1]/", "brk-multihub://a.example"],
        "publicClient": ["msal7://auth", "http://localhost", "com.example.app:/back"],
    }
    body: Any = {platform: {"redirectUris": uris} for platform, uris in given.items()}
    made = await graph.application(**body)
    assert {name: made[name]["redirectUris"] for name in given} == given


async def test_deleting_an_application_deletes_its_service_principal(graph: Graph) -> None:
    made = await graph.application()
    principal = await graph.principal(made["appId"])
    assert (await graph.delete(f"/applications/{made['id']}")).status == 204
    for path in (f"/applications/{made['id']}", f"/servicePrincipals/{principal['id']}"):
        gone = await graph.get(path)
        assert (gone.status, gone.code) == (404, "Request_ResourceNotFound")
    assert (await graph.delete(f"/applications/{made['id']}")).status == 404


async def test_deleted_objects_are_not_in_deleted_items(graph: Graph) -> None:
    made = await graph.application()
    await graph.delete(f"/applications/{made['id']}")
    assert (await graph.get("/directory/deletedItems/microsoft.graph.application")).value == []
    for method in ("GET", "DELETE"):
        reply = await graph.send(method, f"/directory/deletedItems/{made['id']}")
        assert (reply.status, reply.code) == (404, "Request_ResourceNotFound")


async def test_upsert_creates_or_updates_an_application(graph: Graph) -> None:
    prefer = {"Prefer": "create-if-missing"}
    path = "/applications(uniqueName='site-1')"
    missing = await graph.patch(path, {"displayName": "one"})
    assert (missing.status, missing.code) == (404, "Request_ResourceNotFound")
    created = await graph.patch(path, {"displayName": "one"}, headers=prefer)
    assert (created.status, created.body["uniqueName"]) == (201, "site-1")
    changed = await graph.patch(path, {"displayName": "two"}, headers=prefer)
    assert changed.status == 204
    assert (await graph.get(path)).body["displayName"] == "two"


async def test_unique_name_is_unique_and_cannot_be_changed(graph: Graph) -> None:
    made = await graph.application(uniqueName="mine")
    again = await graph.patch(f"/applications/{made['id']}", {"uniqueName": "other"})
    assert (again.status, again.code) == (400, "Request_BadRequest")
    taken = await graph.post("/applications", {"displayName": "b", "uniqueName": "mine"})
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
        ({"displayName": "a", "signInAudience": "Unknown"}, "signInAudience"),
        ({"displayName": "a", "isFallbackPublicClient": "yes"}, "isFallbackPublicClient"),
        ({"displayName": "a", "passwordCredentials": [{}, {}]}, "passwordCredentials"),
    ],
)
async def test_invalid_property_is_rejected_by_name(
    graph: Graph, body: dict[str, object], named: str
) -> None:
    reply = await graph.post("/applications", body)
    assert (reply.status, reply.code) == (400, "Request_BadRequest")
    assert f"'{named}'" in reply.message
    assert (await graph.get("/applications")).value == []


async def test_odata_annotations_are_ignored(graph: Graph) -> None:
    members: dict[str, Any] = {"@odata.type": "#x.application", "web": {"@odata.type": "x"}}
    made = await graph.application(**members)
    assert "@odata.type" not in made["web"]


async def test_read_only_property_is_accepted_with_its_current_value(graph: Graph) -> None:
    made = await graph.application()
    same = {"id": made["id"], "appId": made["appId"], "notes": "n"}
    assert (await graph.patch(f"/applications/{made['id']}", same)).status == 204
    other = await graph.patch(f"/applications/{made['id']}", {"appId": str(uuid.uuid4())})
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
async def test_identifier_uri_of_the_tenant_is_accepted(graph: Graph, uri: str) -> None:
    made = await graph.application(identifierUris=[uri])
    assert made["identifierUris"] == [uri]


async def test_identifier_uri_with_the_app_id_is_accepted(graph: Graph) -> None:
    made = await graph.application()
    uri = f"api://{made['appId']}"
    reply = await graph.patch(f"/applications/{made['id']}", {"identifierUris": [uri]})
    assert reply.status == 204
    found = await graph.get(f"/applications?$filter=identifierUris/any(s:s%20eq%20'{uri}')")
    assert [item["id"] for item in found.value] == [made["id"]]


@pytest.mark.parametrize(
    "uri",
    [
        *("https://evil.example/x", "https://notcontoso.example", "api://bare", f"api://{OTHER}"),
        *("https://graph.microsoft.com", f"ftp://{DOMAIN}"),
    ],
)
async def test_identifier_uri_of_another_domain_is_rejected(graph: Graph, uri: str) -> None:
    """Fails if an application can get tokens for another resource."""
    reply = await graph.post("/applications", {"displayName": "a", "identifierUris": [uri]})
    assert (reply.status, reply.code) == (400, "HostNameNotOnVerifiedDomain")


async def test_identifier_uri_is_unique(graph: Graph) -> None:
    uri = f"https://{DOMAIN}/api"
    await graph.application(identifierUris=[uri])
    for same in (uri, uri + "/", uri.upper().replace("HTTPS", "https")):
        reply = await graph.post("/applications", {"displayName": "b", "identifierUris": [same]})
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


async def test_app_roles_get_default_properties(graph: Graph) -> None:
    made = await graph.application(appRoles=[_role()])
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
async def test_invalid_app_roles_are_rejected(
    graph: Graph, roles: list[dict[str, object]], code: str
) -> None:
    reply = await graph.post("/applications", {"displayName": "a", "appRoles": roles})
    assert (reply.status, reply.code) == (400, code)


async def test_enabled_app_role_cannot_be_removed(graph: Graph) -> None:
    role = _role()
    made = await graph.application(appRoles=[role])
    path = f"/applications/{made['id']}"
    reply = await graph.patch(path, {"appRoles": []})
    assert (reply.status, reply.code) == (400, "CannotDeleteOrUpdateEnabledEntitlement")
    assert (await graph.patch(path, {"appRoles": [role | {"isEnabled": False}]})).status == 204
    assert (await graph.patch(path, {"appRoles": []})).status == 204
    assert (await graph.get(path)).body["appRoles"] == []


async def test_enabled_scope_cannot_be_removed(graph: Graph) -> None:
    scope = {"id": str(uuid.uuid4()), "value": "access", "type": "User", "isEnabled": True}
    made = await graph.application(api={"oauth2PermissionScopes": [scope]})
    path = f"/applications/{made['id']}"
    reply = await graph.patch(path, {"api": {"oauth2PermissionScopes": []}})
    assert (reply.status, reply.code) == (400, "CannotDeleteOrUpdateEnabledEntitlement")


async def test_changes_are_audited_with_their_actor(graph: Graph) -> None:
    made = await graph.application()
    await graph.patch(f"/applications/{made['id']}", {"notes": "n"})
    await graph.delete(f"/applications/{made['id']}")
    entries = [entry for entry in await graph.audited() if entry.target == made["id"]]
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
async def test_tokens_have_the_version_that_the_application_shows(
    graph: Graph, api: dict[str, Any] | None, shown: int | None, version: int, upsert: bool
) -> None:
    """Null means version 1, also for an application created without it, as by `az ad app create`."""
    body: dict[str, Any] = {"displayName": "web"} | ({} if api is None else {"api": api})
    if upsert:
        prefer = {"Prefer": "create-if-missing"}
        made = (await graph.patch("/applications(uniqueName='w')", body, headers=prefer)).body
    else:
        made = (await graph.post("/applications", body)).body
    assert made["api"]["requestedAccessTokenVersion"] == shown
    await graph.principal(made["appId"])
    # A change of a neighbouring property does not change the version.
    path = f"/applications/{made['id']}"
    assert (await graph.patch(path, {"api": {"acceptMappedClaims": True}})).status == 204
    found = await graph.directory.find_resource(TENANT, f"api://{made['appId']}")
    assert found is not None
    assert found.token_version == version
    assert (await graph.get(path)).body["api"]["requestedAccessTokenVersion"] == shown


async def test_seeded_application_shows_the_version_of_its_tokens(graph: Graph) -> None:
    made = Identity(
        tenant_id=TENANT,
        client_id=str(uuid.uuid4()),
        object_id=str(uuid.uuid4()),
        name="seeded",
        kind=IdentityKind.APPLICATION,
    )
    await graph.directory.identities.put(made)
    found = await graph.directory.find_resource(TENANT, f"api://{made.client_id}")
    assert found is not None
    [shown] = (await graph.get("/applications")).value
    assert shown["api"]["requestedAccessTokenVersion"] == found.token_version == 2


async def test_creator_of_an_application_is_its_owner(graph: Graph) -> None:
    made = await graph.application()
    owners = (await graph.get(f"/applications/{made['id']}/owners")).value
    assert [(one["id"], one["@odata.type"]) for one in owners] == [(ADMIN, "#microsoft.graph.user")]


async def test_owners_are_added_by_reference_and_removed(graph: Graph) -> None:
    made = await graph.application()
    other = await graph.principal((await graph.application("other"))["appId"])
    path = f"/applications/{made['id']}/owners"
    reference = {"@odata.id": f"https://graph.microsoft.com/v1.0/directoryObjects/{other['id']}"}
    assert (await graph.post(f"{path}/$ref", reference)).status == 204
    assert {one["id"] for one in (await graph.get(path)).value} == {ADMIN, other["id"]}
    again = await graph.post(f"{path}/$ref", reference)
    assert (again.status, again.code) == (400, "Request_BadRequest")
    assert "added object references already exist" in again.message
    assert (await graph.delete(f"{path}/{other['id']}/$ref")).status == 204
    assert (await graph.delete(f"{path}/{other['id']}/$ref")).status == 404


@pytest.mark.parametrize("reference", ["x", 7, None, "https://evil.example/no"])
async def test_invalid_owner_reference_is_rejected(graph: Graph, reference: object) -> None:
    made = await graph.application()
    reply = await graph.post(f"/applications/{made['id']}/owners/$ref", {"@odata.id": reference})
    assert (reply.status, reply.code) == (400, "BadRequest")
    strange = f"https://graph.microsoft.com/v1.0/directoryObjects/{uuid.uuid4()}"
    reply = await graph.post(f"/applications/{made['id']}/owners/$ref", {"@odata.id": strange})
    assert (reply.status, reply.code) == (404, "Request_ResourceNotFound")


async def test_owners_can_be_bound_at_creation(graph: Graph) -> None:
    other = await graph.principal((await graph.application("other"))["appId"])
    bound: Any = [f"https://graph.microsoft.com/v1.0/directoryObjects/{other['id']}"]
    made = await graph.application(**{"owners@odata.bind": bound})
    owners = (await graph.get(f"/applications/{made['id']}/owners")).value
    assert {one["id"] for one in owners} == {ADMIN, other["id"]}


async def test_owned_objects_of_a_user_are_listed(graph: Graph) -> None:
    made = await graph.application()
    graph.add_app("robot", "Application.ReadWrite.OwnedBy")
    await graph.application("robots", caller="robot")
    principal = await graph.principal(made["appId"])
    pages = await follow_pages(graph, "/me/ownedObjects")
    assert [(one["id"], one["@odata.type"]) for page in pages for one in page] == [
        (made["id"], "#microsoft.graph.application"),
        (principal["id"], "#microsoft.graph.servicePrincipal"),
    ]
    for kind, owned in (("application", made), ("servicePrincipal", principal)):
        found = (await graph.get(f"/me/ownedObjects/microsoft.graph.{kind}")).value
        assert [one["id"] for one in found] == [owned["id"]]


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.text(max_size=20)
    | st.sampled_from(["User", "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "value", "redirectUris", "uri", "index", "isEnabled", "x@y"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
_WRITABLE = {**principals.WRITABLE, **application_properties.WRITABLE}


@given(st.dictionaries(st.sampled_from(sorted(_WRITABLE)), _JSON, max_size=3))
def test_any_value_is_parsed_or_rejected(given: dict[str, Any]) -> None:
    try:
        found = properties.parse_properties(given, _WRITABLE, frozenset())
    except InvalidRequest as exc:
        assert exc.wire_code == "Request_BadRequest"
        return
    # Accepted values are stored as JSON, so they must be serializable.
    assert set(orjson.loads(orjson.dumps(found))) == set(given)


def test_every_default_property_is_known() -> None:
    for module in (application_properties, principals):
        known = set(module.WRITABLE) | set(module.READ_ONLY)
        separate = {
            "addIns",
            "keyCredentials",
            "passwordCredentials",
            "requestSignatureVerification",
        }
        assert set(module.DEFAULTS) <= known | separate


@pytest.mark.parametrize(("value", "kept"), [("true", True), ("false", False), (True, True)])
def test_boolean_is_accepted_as_text(value: object, kept: bool) -> None:
    assert properties.boolean("isEnabled", value) is kept


@pytest.mark.parametrize("value", ["yes", 1, None, "True"])
def test_invalid_boolean_is_rejected(value: object) -> None:
    with pytest.raises(InvalidRequest):
        properties.boolean("isEnabled", value)


def test_objects_are_merged_and_lists_replaced() -> None:
    old = {"web": {"a": 1, "b": [1]}, "c": 2, "d": None}
    new = {"web": {"b": [2]}, "d": {"e": 1}}
    assert properties.merge(old, new) == {"web": {"a": 1, "b": [2]}, "c": 2, "d": {"e": 1}}
    assert old["web"] == {"a": 1, "b": [1]}
