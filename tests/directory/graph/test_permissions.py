"""Who may do what: each operation of the table asked by callers with and without what it needs."""

import uuid
from typing import Any

import pytest

from podpass.directory.access import GLOBAL_ADMINISTRATOR, Caller
from podpass.directory.graph import permissions, routes
from podpass.directory.graph.permissions import Grant, Needs
from tests.directory.graph.world import ADMIN, GUEST, OTHER, World

OWNED = "Application.ReadWrite.OwnedBy"
DENIED = (403, "Authorization_RequestDenied")
EVERY = [
    pytest.param(path, method, operation, id=f"{method} {'/'.join(path)}")
    for path, methods in routes.TABLE.items()
    for method, operation in methods.items()
]


def _url(path: tuple[str, ...]) -> str:
    return "/" + "/".join(str(uuid.UUID(int=1)) if step == "*" else step for step in path)


@pytest.mark.parametrize(("path", "method", "operation"), EVERY)
async def test_an_application_without_permissions_may_do_nothing(
    world: World, path: tuple[str, ...], method: str, operation: Any
) -> None:
    """Without it every application of the tenant could read and change all others."""
    world.app("nobody")
    body: Any = {} if operation.body else None
    reply = await world.ask(method, _url(path), body, who="nobody")
    if operation.needs.users_only:
        assert (reply.status, reply.code) == (400, "BadRequest")
    elif operation.needs.itself:
        assert (reply.status, reply.code) == (404, "Request_ResourceNotFound")
    else:
        assert (reply.status, reply.code) == DENIED


@pytest.mark.parametrize(("path", "method", "operation"), EVERY)
async def test_a_user_who_is_no_administrator_changes_nothing(
    world: World, path: tuple[str, ...], method: str, operation: Any
) -> None:
    reply = await world.ask(method, _url(path), {} if operation.body else None, who="guest")
    assert ((reply.status, reply.code) == DENIED) is operation.needs.writes


def test_whatever_changes_something_says_so() -> None:
    reading = {"checkmembergroups", "getmembergroups", "getmemberobjects", "getbyids"}
    for path, methods in routes.TABLE.items():
        for method, operation in methods.items():
            assert operation.needs.writes is (method != "GET" and not reading.intersection(path)), (
                path
            )


@pytest.mark.parametrize(("path", "method", "operation"), EVERY)
async def test_a_user_gives_a_client_only_what_its_scopes_say(
    world: World, path: tuple[str, ...], method: str, operation: Any
) -> None:
    """Without it a client a user has let read a profile could do whatever the user may."""
    world.user("narrow", ADMIN, GLOBAL_ADMINISTRATOR, scopes=["User.Read"])
    reply = await world.ask(method, _url(path), {} if operation.body else None, who="narrow")
    assert ((reply.status, reply.code) == DENIED) is not operation.needs.users_only


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("Application.Read.All", {"list"}),
        ("Directory.Read.All", {"list"}),
        ("Application.ReadWrite.All", {"list", "create", "update"}),
        ("User.Read.All", set()),
        (OWNED, {"create"}),
        ("application.read.all", set()),
    ],
)
async def test_application_permissions_reach_as_far_as_they_say(
    world: World, role: str, may: set[str]
) -> None:
    made = await world.application()
    world.app("robot", role)
    done = {
        "list": await world.get("/applications", who="robot"),
        "create": await world.post("/applications", {"displayName": "n"}, who="robot"),
        "update": await world.patch(f"/applications/{made['id']}", {"notes": "n"}, who="robot"),
    }
    for name, reply in done.items():
        assert (reply.status < 300) is (name in may), name
        if name not in may:
            assert (reply.status, reply.code) == DENIED


async def test_owned_by_reaches_what_the_caller_owns_and_nothing_else(world: World) -> None:
    """Without it an application that may create others could take over every one there is."""
    foreign = await world.application("foreign")
    foreign_principal = await world.principal(foreign["appId"])
    world.app("robot", OWNED)
    mine = await world.application("mine", who="robot")
    own, other = f"/applications/{mine['id']}", f"/applications/{foreign['id']}"
    body = {"appId": mine["appId"]}
    made = await world.post("/servicePrincipals", body, who="robot")
    assert made.status == 201
    for method, below, sent in (
        ("GET", "", None),
        ("PATCH", "", {"notes": "n"}),
        ("POST", "/addPassword", {}),
        ("GET", "/owners", None),
        ("GET", "/federatedIdentityCredentials", None),
    ):
        assert (await world.ask(method, own + below, sent, who="robot")).status < 300, below
        reply = await world.ask(method, other + below, sent, who="robot")
        assert (reply.status, reply.code) == DENIED, below
    trust = {"name": "pod", "issuer": "https://i.example", "subject": "s", "audiences": ["a"]}
    reply = await world.post(f"{other}/federatedIdentityCredentials", trust, who="robot")
    assert (reply.status, reply.code) == DENIED
    theirs = f"/servicePrincipals/{foreign_principal['id']}"
    for method, sent in (("GET", None), ("PATCH", {"notes": "n"}), ("DELETE", None)):
        reply = await world.ask(method, theirs, sent, who="robot")
        assert (reply.status, reply.code) == DENIED
    principal = f"/servicePrincipals/{made.body['id']}"
    assert (await world.get(principal, who="robot")).status == 200
    assert (await world.delete(principal, who="robot")).status == 204
    assert (await world.delete(own, who="robot")).status == 204
    assert (await world.delete(other, who="robot")).status == 403


async def test_owned_by_makes_no_principal_of_a_foreign_application(world: World) -> None:
    foreign = await world.application("foreign")
    world.app("robot", OWNED)
    reply = await world.post("/servicePrincipals", {"appId": foreign["appId"]}, who="robot")
    assert (reply.status, reply.code) == DENIED


async def test_an_upsert_does_not_reach_what_the_caller_does_not_own(world: World) -> None:
    await world.application("foreign", uniqueName="theirs")
    world.app("robot", OWNED)
    prefer = {"Prefer": "create-if-missing"}
    path = "/applications(uniqueName='theirs')"
    reply = await world.patch(path, {"notes": "n"}, headers=prefer, who="robot")
    assert (reply.status, reply.code) == DENIED


async def test_an_application_lists_what_it_owns_itself(world: World) -> None:
    app = await world.application("robot")
    principal = await world.principal(app["appId"])
    found = await world.directory.identities.get(world.callers["admin"].tenant_id, app["appId"])
    world.app("robot", OWNED, identity=found)
    mine = await world.application("mine", who="robot")
    path = f"/servicePrincipals/{principal['id']}/ownedObjects"
    assert [one["id"] for one in (await world.get(path, who="robot")).value] == [mine["id"]]
    world.app("stranger", OWNED)
    reply = await world.get(path, who="stranger")
    assert (reply.status, reply.code) == DENIED


async def test_a_token_of_another_tenant_is_refused(world: World) -> None:
    world.app("stranger", "Directory.ReadWrite.All", tenant_id=OTHER)
    reply = await world.get("/applications", who="stranger")
    assert (reply.status, reply.code) == (401, "InvalidAuthenticationToken")


async def test_an_application_has_no_me(world: World) -> None:
    world.app("robot", "Directory.Read.All")
    reply = await world.get("/me", who="robot")
    assert (reply.status, reply.code) == (400, "BadRequest")


@pytest.mark.parametrize(("name", "object_id"), [("admin", ADMIN), ("guest", GUEST)])
async def test_a_user_sees_themselves(world: World, name: str, object_id: str) -> None:
    assert (await world.get("/me?$select=id", who=name)).body["id"] == object_id


def test_what_no_rule_allows_is_refused() -> None:
    blank = Needs()
    user = Caller(object_id="o", app_id="a", tenant_id="t", name="n", is_user=True)
    app = Caller(object_id="o", app_id="a", tenant_id="t", name="n", roles=frozenset({OWNED}))
    assert permissions.grant(user, blank) is None
    assert permissions.grant(app, blank) is None
    assert permissions.grant(app, Needs(owned=True)) is Grant.OWNED


async def test_built_in_principals_are_shown_to_whoever_manages_their_own(world: World) -> None:
    world.app("robot", OWNED)
    path = "/servicePrincipals(appId='00000003-0000-0000-c000-000000000000')"
    assert (await world.get(path, who="robot")).status == 200
    reply = await world.patch(path, {"notes": "n"}, who="robot")
    assert (reply.status, reply.code) == DENIED
