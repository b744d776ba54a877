"""Permissions: every operation, requested by applications with exactly one permission, and by users."""

import uuid
from typing import Any

import pytest

from podpass.directory.access import GLOBAL_ADMINISTRATOR, Caller
from podpass.directory.graph import permissions, routes
from podpass.directory.graph.permissions import AccessLevel, RequiredPermissions
from podpass.directory.resources import GRAPH_APP_ID
from tests.directory.graph.harness import ADMIN, AZURE_CLI, DOMAIN, GUEST, OTHER, Graph, Reply
from tests.directory.graph.permission_reference import (
    EVERY_PERMISSION,
    NONE_NEEDED,
    REFERENCE,
    USERS_ONLY,
    Row,
)

OWNED = "Application.ReadWrite.OwnedBy"
DENIED = (403, "Authorization_RequestDenied")
EVERY_ROW = [pytest.param(row, id=f"{row.method} {row.path}") for row in REFERENCE]


async def _send(graph: Graph, row: Row, caller: str) -> Reply:
    body: Any = {} if row.method in ("POST", "PATCH") else None
    path = row.path.replace("{id}", str(uuid.UUID(int=1)))
    return await graph.send(row.method, path, body, caller=caller)


def test_reference_covers_every_served_operation() -> None:
    served = {
        (method, "/" + "/".join(path).replace("*", "{id}"))
        for path, methods in routes.TABLE.items()
        for method in methods
    }
    assert {(row.method, row.path.lower()) for row in REFERENCE} == served


@pytest.mark.parametrize("row", EVERY_ROW)
async def test_application_with_one_permission_runs_only_documented_operations(
    graph: Graph, row: Row
) -> None:
    """Fails if `Application.ReadWrite.All` can assign app roles, or a reader can change an object."""
    allowed = set()
    for name in EVERY_PERMISSION:
        graph.add_app("one-permission", name)
        reply = await _send(graph, row, "one-permission")
        if USERS_ONLY in row.allowed:
            assert (reply.status, reply.code) == (400, "BadRequest"), name
        elif (reply.status, reply.code) != DENIED:
            allowed.add(name)
    singles = {name for name in row.allowed if name in EVERY_PERMISSION}
    assert allowed == (set(EVERY_PERMISSION) if NONE_NEEDED in row.allowed else singles)


_PAIRS = [
    pytest.param(row, pair, id=f"{row.method} {row.path} {pair}")
    for row in REFERENCE
    for pair in row.allowed
    if " and " in pair
]


@pytest.mark.parametrize(("row", "pair"), _PAIRS)
async def test_application_with_both_permissions_of_a_pair_is_allowed(
    graph: Graph, row: Row, pair: str
) -> None:
    graph.add_app("pair", *pair.split(" and "))
    reply = await _send(graph, row, "pair")
    assert (reply.status, reply.code) != DENIED


@pytest.mark.parametrize("row", EVERY_ROW)
async def test_application_without_permissions_is_denied(graph: Graph, row: Row) -> None:
    """Fails if an application can read or change other objects without a permission."""
    graph.add_app("unprivileged")
    reply = await _send(graph, row, "unprivileged")
    if USERS_ONLY in row.allowed:
        assert (reply.status, reply.code) == (400, "BadRequest")
    elif NONE_NEEDED in row.allowed:
        assert (reply.status, reply.code) == (404, "Request_ResourceNotFound")
    else:
        assert (reply.status, reply.code) == DENIED


@pytest.mark.parametrize("row", EVERY_ROW)
async def test_user_without_administrator_role_reads_and_is_denied_writes(
    graph: Graph, row: Row
) -> None:
    reply = await _send(graph, row, "guest")
    assert ((reply.status, reply.code) == DENIED) is row.writes


@pytest.mark.parametrize("row", EVERY_ROW)
async def test_administrator_is_limited_by_the_scopes_of_the_client(graph: Graph, row: Row) -> None:
    """Fails if a client with only `User.Read` has all permissions of its user."""
    graph.add_user("narrow", ADMIN, GLOBAL_ADMINISTRATOR, scopes=["User.Read"])
    reply = await _send(graph, row, "narrow")
    assert ((reply.status, reply.code) == DENIED) is (USERS_ONLY not in row.allowed)


@pytest.mark.parametrize("permission", ["Application.Read.All", "Application.ReadWrite.All"])
async def test_application_reader_cannot_read_users_as_directory_objects(
    graph: Graph, permission: str
) -> None:
    """Fails if a reader of applications can read users by their ids."""
    made = await graph.application()
    graph.add_app("reader", permission)
    reply = await graph.get(f"/directoryObjects/{ADMIN}", caller="reader")
    assert (reply.status, reply.code) == (404, "Request_ResourceNotFound")
    body = {"ids": [ADMIN, made["id"]]}
    reply = await graph.post("/directoryObjects/getByIds", body, caller="reader")
    assert [one["id"] for one in reply.value] == [made["id"]]
    graph.add_app("user-reader", permission, "User.Read.All")
    assert (await graph.get(f"/directoryObjects/{ADMIN}", caller="user-reader")).status == 200
    reply = await graph.post("/directoryObjects/getByIds", body, caller="user-reader")
    assert [one["id"] for one in reply.value] == [ADMIN, made["id"]]


async def test_owned_by_reads_app_role_assignments_of_owned_principals_only(graph: Graph) -> None:
    graph.add_app("robot", OWNED)
    mine = await graph.application("mine", caller="robot")
    made = await graph.post("/servicePrincipals", {"appId": mine["appId"]}, caller="robot")
    other = await graph.principal((await graph.application("other"))["appId"])
    for below in ("appRoleAssignments", "appRoleAssignedTo"):
        path = f"/servicePrincipals/{made.body['id']}/{below}"
        assert (await graph.get(path, caller="robot")).value == []
        reply = await graph.get(f"/servicePrincipals/{other['id']}/{below}", caller="robot")
        assert (reply.status, reply.code) == DENIED


async def test_upsert_of_a_service_principal_needs_the_permission_to_create(graph: Graph) -> None:
    """Fails if `Directory.ReadWrite.All`, which may update service principals, can also create one."""
    made = await graph.application()
    path = f"/servicePrincipals(appId='{made['appId']}')"
    prefer = {"Prefer": "create-if-missing"}
    graph.add_app("robot", "Directory.ReadWrite.All")
    reply = await graph.patch(path, {"notes": "n"}, headers=prefer, caller="robot")
    assert (reply.status, reply.code) == DENIED
    await graph.principal(made["appId"])
    reply = await graph.patch(path, {"notes": "n"}, headers=prefer, caller="robot")
    assert reply.status == 204


async def test_owned_by_does_not_list_the_applications_with_roles_in_graph(graph: Graph) -> None:
    graph.add_app("robot", OWNED)
    path = f"/servicePrincipals(appId='{GRAPH_APP_ID}')"
    for below in ("appRoleAssignments", "appRoleAssignedTo"):
        reply = await graph.send("GET", f"{path}/{below}", caller="robot")
        assert (reply.status, reply.code) == DENIED


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("Application.Read.All", {"list"}),
        ("Directory.Read.All", {"list"}),
        ("Application.ReadWrite.All", {"list", "create", "update"}),
        ("User.Read.All", set()),
        (OWNED, {"list", "create"}),
        ("application.read.all", set()),
    ],
)
async def test_application_permission_allows_only_its_operations(
    graph: Graph, role: str, may: set[str]
) -> None:
    made = await graph.application()
    graph.add_app("robot", role)
    done = {
        "list": await graph.get("/applications", caller="robot"),
        "create": await graph.post("/applications", {"displayName": "n"}, caller="robot"),
        "update": await graph.patch(f"/applications/{made['id']}", {"notes": "n"}, caller="robot"),
    }
    for name, reply in done.items():
        assert (reply.status < 300) is (name in may), name
        if name not in may:
            assert (reply.status, reply.code) == DENIED


async def test_owned_by_allows_only_objects_that_the_caller_owns(graph: Graph) -> None:
    """Fails if an application that may create applications can take over existing ones."""
    foreign = await graph.application("foreign")
    foreign_principal = await graph.principal(foreign["appId"])
    graph.add_app("robot", OWNED)
    mine = await graph.application("mine", caller="robot")
    own, other = f"/applications/{mine['id']}", f"/applications/{foreign['id']}"
    body = {"appId": mine["appId"]}
    made = await graph.post("/servicePrincipals", body, caller="robot")
    assert made.status == 201
    for method, below, sent in (
        ("GET", "", None),
        ("PATCH", "", {"notes": "n"}),
        ("POST", "/addPassword", {}),
        ("GET", "/owners", None),
        ("GET", "/federatedIdentityCredentials", None),
    ):
        assert (await graph.send(method, own + below, sent, caller="robot")).status < 300, below
        reply = await graph.send(method, other + below, sent, caller="robot")
        assert (reply.status, reply.code) == DENIED, below
    trust = {"name": "pod", "issuer": "https://i.example", "subject": "s", "audiences": ["a"]}
    reply = await graph.post(f"{other}/federatedIdentityCredentials", trust, caller="robot")
    assert (reply.status, reply.code) == DENIED
    theirs = f"/servicePrincipals/{foreign_principal['id']}"
    for method, sent in (("GET", None), ("PATCH", {"notes": "n"}), ("DELETE", None)):
        reply = await graph.send(method, theirs, sent, caller="robot")
        assert (reply.status, reply.code) == DENIED
    principal = f"/servicePrincipals/{made.body['id']}"
    assert (await graph.get(principal, caller="robot")).status == 200
    assert (await graph.delete(principal, caller="robot")).status == 204
    assert (await graph.delete(own, caller="robot")).status == 204
    assert (await graph.delete(other, caller="robot")).status == 403


async def test_owned_by_cannot_create_a_service_principal_of_a_foreign_application(
    graph: Graph,
) -> None:
    foreign = await graph.application("foreign")
    graph.add_app("robot", OWNED)
    reply = await graph.post("/servicePrincipals", {"appId": foreign["appId"]}, caller="robot")
    assert (reply.status, reply.code) == DENIED


async def test_upsert_of_a_foreign_object_is_denied(graph: Graph) -> None:
    await graph.application("foreign", uniqueName="theirs")
    graph.add_app("robot", OWNED)
    prefer = {"Prefer": "create-if-missing"}
    path = "/applications(uniqueName='theirs')"
    reply = await graph.patch(path, {"notes": "n"}, headers=prefer, caller="robot")
    assert (reply.status, reply.code) == DENIED


async def test_application_lists_only_its_own_owned_objects(graph: Graph) -> None:
    app = await graph.application("robot")
    principal = await graph.principal(app["appId"])
    found = await graph.directory.identities.get(graph.callers["admin"].tenant_id, app["appId"])
    graph.add_app("robot", OWNED, identity=found)
    mine = await graph.application("mine", caller="robot")
    path = f"/servicePrincipals/{principal['id']}/ownedObjects"
    assert [one["id"] for one in (await graph.get(path, caller="robot")).value] == [mine["id"]]
    graph.add_app("foreign", OWNED)
    reply = await graph.get(path, caller="foreign")
    assert (reply.status, reply.code) == DENIED


async def test_token_of_another_tenant_is_rejected(graph: Graph) -> None:
    graph.add_app("foreign", "Directory.ReadWrite.All", tenant_id=OTHER)
    reply = await graph.get("/applications", caller="foreign")
    assert (reply.status, reply.code) == (401, "InvalidAuthenticationToken")


async def test_me_is_rejected_for_applications(graph: Graph) -> None:
    graph.add_app("robot", "Directory.Read.All")
    reply = await graph.get("/me", caller="robot")
    assert (reply.status, reply.code) == (400, "BadRequest")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_userinfo_returns_the_claims_of_the_granted_scopes(graph: Graph, method: str) -> None:
    user = await graph.directory.users.get(GUEST)
    assert user is not None
    subject = user.pairwise_subject(AZURE_CLI)
    claims = {
        "sub": subject,
        "picture": "https://graph.microsoft.com/v1.0/me/photo/$value",
        "name": "guest",
        "email": f"guest@{DOMAIN}",
    }
    for scopes, names in (
        (["openid"], {"sub", "picture"}),
        (["openid", "profile"], {"sub", "picture", "name"}),
        (["openid", "profile", "email", "User.Read"], set(claims)),
    ):
        graph.add_user("guest", GUEST, scopes=scopes)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        for path in ("oidc/userinfo", "OIDC/UserInfo"):
            reply = await graph.send(method, "", version=path, caller="guest", headers=form)
            assert (reply.status, reply.body) == (200, {name: claims[name] for name in names})


async def test_userinfo_is_refused_without_a_token_and_without_the_scope(graph: Graph) -> None:
    reply = await graph.send("GET", "", version="oidc/userinfo", caller=None)
    assert (reply.status, reply.code) == (401, "InvalidAuthenticationToken")
    assert reply.headers["WWW-Authenticate"].startswith("Bearer ")
    graph.add_user("guest", GUEST, scopes=["User.Read", "profile", "email"])
    reply = await graph.send("GET", "", version="oidc/userinfo", caller="guest")
    assert (reply.status, reply.code) == DENIED
    graph.add_user("gone", OTHER, scopes=["openid"])
    assert (await graph.send("GET", "", version="oidc/userinfo", caller="gone")).status == 404


@pytest.mark.parametrize(("name", "object_id"), [("admin", ADMIN), ("guest", GUEST)])
async def test_me_returns_the_signed_in_user(graph: Graph, name: str, object_id: str) -> None:
    assert (await graph.get("/me?$select=id", caller=name)).body["id"] == object_id


def test_operation_without_a_matching_rule_is_denied() -> None:
    blank = RequiredPermissions()
    user = Caller(object_id="o", app_id="a", tenant_id="t", name="n", is_user=True)
    app = Caller(object_id="o", app_id="a", tenant_id="t", name="n", roles=frozenset({OWNED}))
    assert permissions.authorize(user, blank) is None
    assert permissions.authorize(app, blank) is None
    assert permissions.authorize(app, RequiredPermissions(owned=(OWNED,))) is AccessLevel.OWNED


async def test_owned_by_reads_built_in_service_principals(graph: Graph) -> None:
    graph.add_app("robot", OWNED)
    path = "/servicePrincipals(appId='00000003-0000-0000-c000-000000000000')"
    assert (await graph.get(path, caller="robot")).status == 200
    reply = await graph.patch(path, {"notes": "n"}, caller="robot")
    assert (reply.status, reply.code) == DENIED
