"""The HTTP handler: authentication, paths, errors, users, directory objects, batches."""

import base64
import json
import logging
import uuid
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from podpass.directory.builtin_roles import OWNER
from podpass.directory.graph import users
from podpass.directory.graph.app import MAX_BODY_BYTES
from podpass.directory.model import PermissionGrant, RoleAssignment, Tenant, User
from podpass.exchange.sign_in.passwords import check_password
from tests.directory.graph.harness import ADMIN, DOMAIN, GUEST, OTHER, TENANT, Graph
from tests.directory.graph.test_credentials import certificate, key_credential
from tests.http.coded_bodies import ACCEPTED, CODERS, REFUSED

OWNED = "Application.ReadWrite.OwnedBy"


@pytest.mark.parametrize(
    ("caller", "status"),
    [(None, 401), ("invalid", 401), ("expired", 401), ("audience", 401), ("unavailable", 503)],
)
async def test_rejected_token_gets_401_or_503_with_its_reason(
    graph: Graph, caller: str | None, status: int
) -> None:
    reply = await graph.get("/applications", caller=caller)
    assert reply.status == status
    if status == 401:
        assert reply.code == "InvalidAuthenticationToken"
        assert reply.headers["WWW-Authenticate"].startswith("Bearer ")


async def test_error_body_has_the_format_of_graph(graph: Graph) -> None:
    given = str(uuid.uuid4())
    reply = await graph.get(f"/applications/{uuid.uuid4()}", headers={"client-request-id": given})
    inner = reply.body["error"]["innerError"]
    assert inner["client-request-id"] == given == reply.headers["client-request-id"]
    assert inner["request-id"] == reply.headers["request-id"]
    assert not inner["date"].endswith("Z")
    assert reply.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("evil.example", "graph.microsoft.com"),
        ("localhost.evil.example", "graph.microsoft.com"),
        ("localhost:8443", "localhost:8443"),
        ("127.0.0.1:8443", "127.0.0.1:8443"),
    ],
)
async def test_links_contain_no_host_from_the_request_except_loopback(
    graph: Graph, host: str, shown: str
) -> None:
    """Attack: a Host header makes a client that follows a link send its token to another host."""
    for name in ("a", "b"):
        await graph.application(name)
    reply = await graph.get("/applications?$top=1", headers={"Host": host})
    assert reply.body["@odata.nextLink"].startswith(f"https://{shown}/v1.0/applications?")
    assert reply.body["@odata.context"].startswith(f"https://{shown}/v1.0/")


async def test_invalid_client_request_id_is_not_echoed(graph: Graph) -> None:
    reply = await graph.get("/me", headers={"client-request-id": "x" * 100})
    assert reply.headers["client-request-id"] == reply.headers["request-id"]


@pytest.mark.parametrize(
    ("path", "segment"),
    [
        ("/nothing", "nothing"),
        ("/applications/1/nothing", "nothing"),
        ("/me/messages", "messages"),
        ("/", ""),
    ],
)
async def test_unknown_path_segment_is_named_in_the_error(
    graph: Graph, path: str, segment: str
) -> None:
    reply = await graph.get(path)
    assert (reply.status, reply.code) == (400, "BadRequest")
    assert f"segment '{segment}'" in reply.message


@pytest.mark.parametrize("version", ["v2.0", "V1.0", "x"])
async def test_unknown_version_is_rejected(graph: Graph, version: str) -> None:
    reply = await graph.get("/me", version=version)
    assert (reply.status, reply.code) == (400, "BadRequest")


async def test_unsupported_method_is_rejected_with_405(graph: Graph) -> None:
    reply = await graph.send("PUT", "/applications", {})
    assert (reply.status, reply.code) == (405, "Request_BadRequest")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/applications", b"{"),
        ("/applications", b"[]"),
        ("/applications", b'{"displayName":"a","displayName":"b"}'),
        ("/applications", b'{"displayName":NaN}'),
        ("/applications", b"\xff"),
    ],
)
async def test_invalid_body_is_rejected_and_changes_nothing(
    graph: Graph, path: str, body: bytes
) -> None:
    reply = await graph.post(path, body)
    assert (reply.status, reply.code) == (400, "BadRequest")
    assert (await graph.get(path)).value == []


async def test_body_must_be_json_and_within_the_limit(graph: Graph) -> None:
    reply = await graph.post("/applications", b"a=b", headers={"Content-Type": "text/plain"})
    assert reply.status == 415
    reply = await graph.post("/applications", b" " * (MAX_BODY_BYTES + 1))
    assert (reply.status, reply.code) == (413, "RequestEntityTooLarge")


@pytest.mark.parametrize("coding", sorted(CODERS))
async def test_compressed_body_is_read(graph: Graph, coding: str) -> None:
    """kiota, under the Graph SDKs for Go, compresses every body."""
    body = CODERS[coding](b'{"displayName":"compressed"}')
    reply = await graph.post("/applications", body, headers={"Content-Encoding": coding})
    assert (reply.status, reply.body.get("displayName")) == (201, "compressed")


@pytest.mark.parametrize(("coding", "body", "status"), REFUSED)
async def test_invalid_compressed_body_is_refused(
    graph: Graph, coding: str, body: bytes, status: int
) -> None:
    reply = await graph.post("/applications", body, headers={"Content-Encoding": coding})
    codes = {400: "BadRequest", 413: "RequestEntityTooLarge", 415: "RequestBodyRead"}
    assert (reply.status, reply.code) == (status, codes[status])
    assert reply.headers.get("Accept-Encoding") == (ACCEPTED if status == 415 else None)
    assert (await graph.get("/applications")).value == []


@pytest.mark.parametrize(
    "path", ["/applications/%FF", "/applications/a%0Ab", "/applications(appId='x)", "/" + "a/" * 20]
)
async def test_invalid_path_is_rejected(graph: Graph, path: str) -> None:
    reply = await graph.get(path)
    assert (reply.status, reply.code) == (400, "BadRequest")


async def test_encoded_slash_stays_inside_its_key(graph: Graph) -> None:
    made = await graph.application(uniqueName="a/b")
    reply = await graph.get("/applications(uniqueName='a%2Fb')")
    assert (reply.status, reply.body["id"]) == (200, made["id"])


async def test_path_segments_are_case_insensitive(graph: Graph) -> None:
    assert (await graph.get("/ServicePrincipals?$top=1")).status == 200
    assert (await graph.get("/oAuth2PermissionGrants")).value == []


async def test_request_is_logged_in_one_line_without_its_body(
    graph: Graph, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="podpass.directory.graph")
    await graph.application("a-name-unprivileged-else-has")
    [line] = [one for one in caplog.records if one.name == "podpass.directory.graph.app"]
    facts: Any = vars(line)
    assert (facts["outcome"], facts["status"], facts["stage"]) == ("ok", 201, "directory")
    assert (facts["asked"], facts["object_id"]) == ("create an application", ADMIN)
    assert "a-name-unprivileged-else-has" not in str(facts)


# --------------------------------------------------------------------------- users and objects


async def test_users_are_found_by_id_and_name_and_filter(graph: Graph) -> None:
    for name in (ADMIN, f"admin@{DOMAIN}", f"ADMIN@{DOMAIN}"):
        assert (await graph.get(f"/users/{name}")).body["id"] == ADMIN
    clause = f"userPrincipalName%20eq%20'admin@{DOMAIN}'"
    assert [one["id"] for one in (await graph.get(f"/users?$filter={clause}")).value] == [ADMIN]
    found = (await graph.get("/users?$filter=startswith(displayName,'gue')")).value
    assert [one["id"] for one in found] == [GUEST]
    for name in (str(uuid.uuid4()), "missing@contoso.example", "missing"):
        assert (await graph.get(f"/users/{name}")).code == "Request_ResourceNotFound"


NEW_USER = {
    "accountEnabled": True,
    "displayName": "Alice",
    "mailNickname": "alice",
    "userPrincipalName": "alice@contoso.example",
    "passwordProfile": {"password": "Correct-horse1", "forceChangePasswordNextSignIn": False},
}


async def test_created_user_has_the_hash_of_its_password(graph: Graph) -> None:
    made = await graph.send("POST", "/users", NEW_USER)
    assert (made.status, made.body["displayName"]) == (201, "Alice")
    assert (await graph.get("/users/alice@contoso.example")).body["id"] == made.body["id"]
    stored = await graph.directory.users.get(made.body["id"])
    assert stored is not None
    assert check_password("Correct-horse1", stored.password)
    assert "Correct" not in str(made.body) + stored.password
    again = await graph.send("POST", "/users", NEW_USER)
    assert (again.status, again.code) == (400, "Request_BadRequest")
    assert again.body["error"]["details"][0]["target"] == "userPrincipalName"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"userPrincipalName": "alice@other.example"}, "userPrincipalName"),
        ({"userPrincipalName": "system:admin@contoso.example"}, "userPrincipalName"),
        ({"mailNickname": "bob"}, "mailNickname"),
        ({"accountEnabled": False}, "accountEnabled"),
        ({"passwordProfile": {}}, "passwordProfile.password"),
        ({"passwordProfile": {"password": "Short1-"}}, "passwordProfile.password"),
        ({"passwordProfile": {"password": "lower-case-only"}}, "passwordProfile.password"),
        (
            {"passwordProfile": {"password": "Long-1234", "forceChangePasswordNextSignIn": True}},
            "forceChangePasswordNextSignIn",
        ),
        ({"displayName": ""}, "displayName"),
        ({"age": 7}, "age"),
    ],
)
async def test_invalid_user_is_refused(graph: Graph, changes: dict[str, Any], named: str) -> None:
    reply = await graph.send("POST", "/users", NEW_USER | changes)
    assert (reply.status, reply.code) == (400, "Request_BadRequest")
    assert named in reply.message
    assert len((await graph.get("/users")).value) == 2


async def test_user_gets_another_name_and_password(graph: Graph) -> None:
    made = await graph.send("POST", "/users", NEW_USER)
    path = "/users/alice@contoso.example"
    profile = {"password": "Battery-staple2", "forceChangePasswordNextSignIn": False}
    for changes in ({"displayName": "Alice B"}, {"passwordProfile": profile}):
        assert (await graph.send("PATCH", path, changes)).status == 204
    stored = await graph.directory.users.get(made.body["id"])
    assert stored is not None
    assert (stored.display_name, stored.name) == ("Alice B", "alice@contoso.example")
    assert check_password("Battery-staple2", stored.password)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"userPrincipalName": "bob@contoso.example"}, "userPrincipalName"),
        ({"id": str(uuid.uuid4())}, "id"),
        ({"accountEnabled": False}, "accountEnabled"),
        ({"mailNickname": "bob"}, "mailNickname"),
        ({"passwordProfile": {"password": "lower-case-only"}}, "passwordProfile.password"),
        ({"age": 7}, "age"),
    ],
)
async def test_invalid_change_of_a_user_is_refused(
    graph: Graph, changes: dict[str, Any], named: str
) -> None:
    before = await graph.directory.users.get(GUEST)
    reply = await graph.send("PATCH", f"/users/{GUEST}", changes)
    assert (reply.status, reply.code) == (400, "Request_BadRequest")
    assert named in reply.message
    assert await graph.directory.users.get(GUEST) == before


async def test_deleted_user_keeps_no_roles_and_no_consents(graph: Graph) -> None:
    """Fails if the roles and consents of a deleted user stay."""
    directory = graph.directory
    scope = "/subscriptions/7c1f0b54-6f0e-4d7e-9a0f-2b7a51e5d0aa"
    role = RoleAssignment(scope=scope, principal_id=GUEST, role=OWNER, principal_type="User")
    await directory.assignments.put(role)
    client, api = [
        await graph.principal((await graph.application(name))["appId"]) for name in ("web", "api")
    ]
    consent = PermissionGrant(
        id=str(uuid.uuid4()),
        tenant_id=TENANT,
        client_id=client["id"],
        resource_id=api["id"],
        principal_id=GUEST,
        scope="User.Read",
    )
    made = await directory.grants.create(consent)
    assert (await graph.send("DELETE", f"/users/guest@{DOMAIN}")).status == 204
    assert (await graph.get(f"/users/{GUEST}")).code == "Request_ResourceNotFound"
    assert (await graph.send("DELETE", f"/users/{GUEST}")).code == "Request_ResourceNotFound"
    assert await directory.assignments.list_for_principal(GUEST) == ()
    assert await directory.grants.get(made.id) is None
    (entry,) = await directory.audit.list(limit=1)
    assert (entry.action, entry.target) == ("microsoft.directory/users/delete", GUEST)


async def test_administrator_is_not_deleted_and_keeps_its_password(graph: Graph) -> None:
    """Fails if a program that may write users can lock out, or become, the administrator."""
    before = await graph.directory.users.get(ADMIN)
    graph.add_app("writer", "User.ReadWrite.All")
    change = {"passwordProfile": {"password": "Battery-staple2"}}
    for caller in ("admin", "writer"):
        for method, body in (("DELETE", None), ("PATCH", change)):
            reply = await graph.send(method, f"/users/{ADMIN}", body, caller=caller)
            assert (reply.status, reply.code) == (403, "Authorization_RequestDenied")
    assert await graph.directory.users.get(ADMIN) == before


async def test_application_sets_no_password_of_a_user(graph: Graph) -> None:
    """Fails if a program that may write users can sign in as each of them."""
    graph.add_app("writer", "User.ReadWrite.All")
    change = {"passwordProfile": {"password": "Battery-staple2"}}
    reply = await graph.send("PATCH", f"/users/{GUEST}", change, caller="writer")
    assert (reply.status, reply.code) == (403, "Authorization_RequestDenied")
    assert "signed-in administrator" in reply.message
    renamed = await graph.send("PATCH", f"/users/{GUEST}", {"displayName": "G"}, caller="writer")
    assert renamed.status == 204


async def test_number_of_users_is_limited(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a caller can create users until their list no longer fits on its page."""
    monkeypatch.setattr(users, "MAX_USERS", 2)
    reply = await graph.send("POST", "/users", NEW_USER)
    assert (reply.status, reply.code) == (403, "Directory_QuotaExceeded")


async def test_users_of_another_tenant_are_not_found(graph: Graph) -> None:
    """Fails if one tenant can read the users of another."""
    foreign = str(uuid.uuid4())
    await graph.directory.create_tenant(Tenant(id=OTHER, domains=("other.example",)))
    await graph.directory.users.put(User(id=foreign, tenant_id=OTHER, name="x@other.example"))
    for path in (f"/users/{foreign}", "/users/x@other.example", f"/directoryObjects/{foreign}"):
        assert (await graph.get(path)).code == "Request_ResourceNotFound", path
    reply = await graph.post("/directoryObjects/getByIds", {"ids": [foreign]})
    assert reply.value == []
    assert foreign not in str((await graph.get("/users")).body)


async def test_no_response_contains_a_user_password(graph: Graph) -> None:
    assert "password" not in str((await graph.get("/users")).body).lower()


async def test_organization_has_the_name_and_domain_of_the_tenant(graph: Graph) -> None:
    [found] = (await graph.get("/organization")).value
    assert (found["id"], found["displayName"]) == (TENANT, "Contoso")
    assert found["verifiedDomains"][0]["name"] == DOMAIN
    assert [one["id"] for one in (await graph.get("/domains")).value] == [DOMAIN]


async def test_group_collections_are_empty(graph: Graph) -> None:
    assert (await graph.get("/groups?$filter=displayName%20eq%20'x'")).value == []
    assert (await graph.get(f"/groups/{uuid.uuid4()}")).status == 404
    assert (await graph.get("/me/memberOf")).value == []


async def test_objects_of_every_type_are_found_by_id(graph: Graph) -> None:
    made = await graph.application()
    principal = await graph.principal(made["appId"])
    managed = await graph.managed()
    ids = [principal["id"], ADMIN, made["id"], managed.object_id, str(uuid.uuid4())]
    reply = await graph.post("/directoryObjects/getByIds", {"ids": ids})
    assert [(one["id"], one["@odata.type"].rpartition(".")[2]) for one in reply.value] == [
        (principal["id"], "servicePrincipal"),
        (ADMIN, "user"),
        (made["id"], "application"),
        (managed.object_id, "servicePrincipal"),
    ]
    types = ["user", "group", "servicePrincipal", "directoryObjectPartnerReference"]
    some = await graph.post("/directoryObjects/getByIds", {"ids": ids, "types": types})
    assert made["id"] not in {one["id"] for one in some.value}
    for object_id in ids[:4]:
        assert (await graph.get(f"/directoryObjects/{object_id}")).body["id"] == object_id
    assert (await graph.get(f"/directoryObjects/{ids[4]}")).status == 404


@pytest.mark.parametrize("ids", [[], ["x"], "x", None, [str(uuid.UUID(int=1))] * 1001])
async def test_invalid_list_of_ids_is_rejected(graph: Graph, ids: object) -> None:
    reply = await graph.post("/directoryObjects/getByIds", {"ids": ids})
    assert (reply.status, reply.code) == (400, "Request_BadRequest")


# --------------------------------------------------------------------------------------- batches


async def test_batch_runs_in_order_and_returns_each_response(graph: Graph) -> None:
    made = await graph.application("web")
    requests = [
        {"id": "1", "method": "GET", "url": "/applications?$filter=displayName eq 'web'"},
        {"id": "2", "method": "GET", "url": "/nothing"},
        {"id": "3", "method": "DELETE", "url": f"applications/{made['id']}", "dependsOn": ["1"]},
        {"id": "4", "method": "GET", "url": "/me", "dependsOn": ["2"]},
        {"id": "5", "method": "POST", "url": "/applications", "body": {"displayName": "n"}},
    ]
    reply = await graph.post("/$batch", {"requests": requests})
    answers = {one["id"]: one for one in reply.body["responses"]}
    assert [answers[str(n)]["status"] for n in range(1, 6)] == [200, 400, 204, 424, 201]
    assert answers["1"]["body"]["value"][0]["id"] == made["id"]
    assert answers["2"]["body"]["error"]["code"] == "BadRequest"
    assert "body" not in answers["3"]


async def test_each_request_of_a_batch_needs_its_permission(graph: Graph) -> None:
    """Fails if a batch bypasses the permission check."""
    graph.add_app("unprivileged")
    body = {"requests": [{"id": "1", "method": "GET", "url": "/applications"}]}
    reply = await graph.post("/$batch", body, caller="unprivileged")
    assert reply.body["responses"][0]["status"] == 403
    assert (await graph.post("/$batch", body, caller=None)).status == 401


@pytest.mark.parametrize(
    "requests",
    [
        [],
        None,
        [{"id": str(n), "method": "GET", "url": "/me"} for n in range(21)],
        [{"id": "1", "method": "GET", "url": "/me"}] * 2,
        [{"id": "1", "method": "GET", "url": "/me", "dependsOn": ["2"]}],
        [{"id": "1", "method": "TRACE", "url": "/me"}],
        [{"id": "1", "method": "POST", "url": "/$batch", "body": {}}],
        [{"id": "1", "method": {}, "url": "/me"}],
        [{"id": ["1"], "method": "GET", "url": "/me"}],
        [{"id": "1", "method": "GET", "url": {}}],
        [{"id": "1", "method": "GET", "url": "//evil.example/me"}],
        ["x"],
    ],
    ids=range(12),
)
async def test_invalid_batch_is_rejected(graph: Graph, requests: object) -> None:
    reply = await graph.post("/$batch", {"requests": requests})
    assert (reply.status, reply.code) == (400, "BadRequest")


async def test_request_in_a_batch_is_validated_like_a_single_request(graph: Graph) -> None:
    body = {"displayName": "a", "notes": 2**70}
    requests = [{"id": "1", "method": "POST", "url": "/applications", "body": body}]
    text = json.dumps({"requests": requests}).encode()
    [answer] = (await graph.post("/$batch", text)).body["responses"]
    assert (answer["status"], answer["body"]["error"]["code"]) == (400, "Request_BadRequest")


async def test_type_cast_is_valid_with_and_without_namespace(graph: Graph) -> None:
    for name in ("application", "microsoft.graph.application", "graph.application"):
        assert (await graph.get(f"/directory/deletedItems/{name}")).value == []


async def test_unsupported_function_is_named_in_the_error(graph: Graph) -> None:
    reply = await graph.get("/applications/delta()")
    assert (reply.status, "'delta'" in reply.message) == (400, True)


async def test_log_line_has_the_printable_target(
    graph: Graph, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await graph.delete("/applications/no%0A-one")
    made = await graph.application()
    await graph.delete(f"/applications/{made['id']}")
    lines = [vars(r) for r in caplog.records if r.getMessage() == "graph_request_answered"]
    assert lines[0]["target"].isprintable()
    assert lines[-1]["target"] == f"/applications/{made['id']}"


# The cost of parsing a certificate in a request: the equivalent of cert-manager CVE-2024-12401.


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
async def test_certificate_over_the_size_limit_is_rejected(
    graph: Graph, encoding: Encoding
) -> None:
    """Fails if a text of unlimited length reaches the parser: here a valid certificate with padding."""
    made = await graph.application()
    path = f"/applications/{made['id']}"
    whole = certificate().public_bytes(encoding)
    good = key_credential() | {"key": base64.b64encode(whole).decode()}
    assert (await graph.patch(path, {"keyCredentials": [good]})).status == 204
    padded = key_credential() | {"key": base64.b64encode(whole).decode() + "\n" * 16 * 1024}
    reply = await graph.patch(path, {"keyCredentials": [padded]})
    assert (reply.status, reply.code) == (400, "Request_BadRequest")


# Phrases that released clients search for in errors: `az` and Terraform use them to retry or
# continue.


async def test_not_found_error_has_the_phrase_that_az_and_terraform_search_for(
    graph: Graph,
) -> None:
    missing_id = str(uuid.uuid4())
    reply = await graph.get(f"/applications/{missing_id}")
    assert reply.message.startswith(
        f"Resource '{missing_id}' does not exist or one of its queried "
    )
    reply = await graph.post("/servicePrincipals", {"appId": missing_id})
    phrase = "of the service principal does not reference a valid application object"
    assert f"The appId '{missing_id}' {phrase}" in reply.message


async def test_duplicate_owner_error_has_the_phrase_that_terraform_searches_for(
    graph: Graph,
) -> None:
    made = await graph.application()
    path = f"/applications/{made['id']}/owners"
    [owner] = (await graph.get(path)).body["value"]
    address = f"https://graph.microsoft.com/v1.0/directoryObjects/{owner['id']}"
    reply = await graph.post(f"{path}/$ref", {"@odata.id": address})
    assert reply.status == 400
    assert reply.message.startswith("One or more added object references already exist")


async def test_access_denied_error_has_the_phrase_that_az_and_terraform_search_for(
    graph: Graph,
) -> None:
    graph.add_app("unprivileged")
    reply = await graph.post("/applications", {"displayName": "x"}, caller="unprivileged")
    assert "insufficient privileges" in reply.message.lower()
    made = await graph.application()
    graph.add_app("robot", OWNED)
    reply = await graph.post("/servicePrincipals", {"appId": made["appId"]}, caller="robot")
    assert reply.status == 403
    assert "service principal being created must in the local tenant" in reply.message
