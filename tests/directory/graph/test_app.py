"""The edge: who is let in, what a path is, how refusals look, people, objects, batches."""

import json
import logging
import uuid
from typing import Any

import pytest

from podpass.directory.graph.app import MAX_BODY_BYTES
from podpass.directory.model import Tenant, User
from tests.directory.graph.world import ADMIN, DOMAIN, GUEST, OTHER, TENANT, World


@pytest.mark.parametrize(
    ("who", "status"),
    [(None, 401), ("invalid", 401), ("expired", 401), ("audience", 401), ("unavailable", 503)],
)
async def test_who_is_not_admitted_is_told_why(world: World, who: str | None, status: int) -> None:
    reply = await world.get("/applications", who=who)
    assert reply.status == status
    if status == 401:
        assert reply.code == "InvalidAuthenticationToken"
        assert reply.headers["WWW-Authenticate"].startswith("Bearer ")


async def test_an_error_has_the_shape_that_clients_read(world: World) -> None:
    given = str(uuid.uuid4())
    reply = await world.get(f"/applications/{uuid.uuid4()}", headers={"client-request-id": given})
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
async def test_links_lead_nowhere_but_here(world: World, host: str, shown: str) -> None:
    """Attack: the header of a request sends whoever follows the answer, with the token, elsewhere."""
    for name in ("a", "b"):
        await world.application(name)
    reply = await world.get("/applications?$top=1", headers={"Host": host})
    assert reply.body["@odata.nextLink"].startswith(f"https://{shown}/v1.0/applications?")
    assert reply.body["@odata.context"].startswith(f"https://{shown}/v1.0/")


async def test_an_id_that_is_none_is_not_echoed(world: World) -> None:
    reply = await world.get("/me", headers={"client-request-id": "x" * 100})
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
async def test_what_is_not_served_is_named(world: World, path: str, segment: str) -> None:
    reply = await world.get(path)
    assert (reply.status, reply.code) == (400, "BadRequest")
    assert f"segment '{segment}'" in reply.message


@pytest.mark.parametrize("version", ["v2.0", "V1.0", "x"])
async def test_a_version_there_is_not(world: World, version: str) -> None:
    reply = await world.get("/me", version=version)
    assert (reply.status, reply.code) == (400, "BadRequest")


async def test_a_method_there_is_not(world: World) -> None:
    reply = await world.ask("PUT", "/applications", {})
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
async def test_a_body_that_cannot_be_read_changes_nothing(
    world: World, path: str, body: bytes
) -> None:
    reply = await world.post(path, body)
    assert (reply.status, reply.code) == (400, "BadRequest")
    assert (await world.get(path)).value == []


async def test_a_body_is_json_and_bounded(world: World) -> None:
    reply = await world.post("/applications", b"a=b", headers={"Content-Type": "text/plain"})
    assert reply.status == 415
    reply = await world.post("/applications", b" " * (MAX_BODY_BYTES + 1))
    assert (reply.status, reply.code) == (413, "RequestEntityTooLarge")


@pytest.mark.parametrize(
    "path",
    ["/applications/%FF", "/applications/a%0Ab", "/applications(appId='x)", "/" + "a/" * 20],
)
async def test_a_path_that_cannot_be_read(world: World, path: str) -> None:
    reply = await world.get(path)
    assert (reply.status, reply.code) == (400, "BadRequest")


async def test_a_slash_inside_a_key_stays_there(world: World) -> None:
    made = await world.application(uniqueName="a/b")
    reply = await world.get("/applications(uniqueName='a%2Fb')")
    assert (reply.status, reply.body["id"]) == (200, made["id"])


async def test_names_in_a_path_are_compared_without_case(world: World) -> None:
    assert (await world.get("/ServicePrincipals?$top=1")).status == 200
    assert (await world.get("/oAuth2PermissionGrants")).value == []


async def test_one_line_an_answer_without_its_body(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="podpass.directory.graph")
    await world.application("a-name-nobody-else-has")
    [line] = [one for one in caplog.records if one.name == "podpass.directory.graph.app"]
    facts: Any = vars(line)
    assert (facts["outcome"], facts["status"], facts["stage"]) == ("ok", 201, "directory")
    assert (facts["asked"], facts["object_id"]) == ("create an application", ADMIN)
    assert "a-name-nobody-else-has" not in str(facts)


# --------------------------------------------------------------------------- people and objects


async def test_users_are_found_by_id_and_name_and_filter(world: World) -> None:
    for name in (ADMIN, f"admin@{DOMAIN}", f"ADMIN@{DOMAIN}"):
        assert (await world.get(f"/users/{name}")).body["id"] == ADMIN
    clause = f"userPrincipalName%20eq%20'admin@{DOMAIN}'"
    assert [one["id"] for one in (await world.get(f"/users?$filter={clause}")).value] == [ADMIN]
    found = (await world.get("/users?$filter=startswith(displayName,'gue')")).value
    assert [one["id"] for one in found] == [GUEST]
    for name in (str(uuid.uuid4()), "nobody@contoso.example", "nobody"):
        assert (await world.get(f"/users/{name}")).code == "Request_ResourceNotFound"


async def test_people_of_another_tenant_are_not_there(world: World) -> None:
    """Without it one directory would show the people of another."""
    stranger = str(uuid.uuid4())
    await world.directory.create_tenant(Tenant(id=OTHER, domains=("other.example",)))
    await world.directory.users.put(User(id=stranger, tenant_id=OTHER, name="x@other.example"))
    for path in (f"/users/{stranger}", "/users/x@other.example", f"/directoryObjects/{stranger}"):
        assert (await world.get(path)).code == "Request_ResourceNotFound", path
    reply = await world.post("/directoryObjects/getByIds", {"ids": [stranger]})
    assert reply.value == []
    assert stranger not in str((await world.get("/users")).body)


async def test_no_answer_tells_of_a_users_password(world: World) -> None:
    assert "password" not in str((await world.get("/users")).body).lower()


async def test_the_organization_and_its_domain(world: World) -> None:
    [found] = (await world.get("/organization")).value
    assert (found["id"], found["displayName"]) == (TENANT, "Contoso")
    assert found["verifiedDomains"][0]["name"] == DOMAIN
    assert [one["id"] for one in (await world.get("/domains")).value] == [DOMAIN]


async def test_there_are_no_groups(world: World) -> None:
    assert (await world.get("/groups?$filter=displayName%20eq%20'x'")).value == []
    assert (await world.get(f"/groups/{uuid.uuid4()}")).status == 404
    assert (await world.get("/me/memberOf")).value == []


async def test_objects_of_every_kind_are_found_by_their_ids(world: World) -> None:
    made = await world.application()
    principal = await world.principal(made["appId"])
    managed = await world.managed()
    ids = [principal["id"], ADMIN, made["id"], managed.object_id, str(uuid.uuid4())]
    reply = await world.post("/directoryObjects/getByIds", {"ids": ids})
    assert [(one["id"], one["@odata.type"].rpartition(".")[2]) for one in reply.value] == [
        (principal["id"], "servicePrincipal"),
        (ADMIN, "user"),
        (made["id"], "application"),
        (managed.object_id, "servicePrincipal"),
    ]
    types = ["user", "group", "servicePrincipal", "directoryObjectPartnerReference"]
    some = await world.post("/directoryObjects/getByIds", {"ids": ids, "types": types})
    assert made["id"] not in {one["id"] for one in some.value}
    for object_id in ids[:4]:
        assert (await world.get(f"/directoryObjects/{object_id}")).body["id"] == object_id
    assert (await world.get(f"/directoryObjects/{ids[4]}")).status == 404


@pytest.mark.parametrize("ids", [[], ["x"], "x", None, [str(uuid.UUID(int=1))] * 1001])
async def test_ids_that_are_none_are_refused(world: World, ids: object) -> None:
    reply = await world.post("/directoryObjects/getByIds", {"ids": ids})
    assert (reply.status, reply.code) == (400, "Request_BadRequest")


# --------------------------------------------------------------------------------------- batches


async def test_a_batch_runs_in_order_and_answers_each(world: World) -> None:
    made = await world.application("web")
    requests = [
        {"id": "1", "method": "GET", "url": "/applications?$filter=displayName eq 'web'"},
        {"id": "2", "method": "GET", "url": "/nothing"},
        {"id": "3", "method": "DELETE", "url": f"applications/{made['id']}", "dependsOn": ["1"]},
        {"id": "4", "method": "GET", "url": "/me", "dependsOn": ["2"]},
        {"id": "5", "method": "POST", "url": "/applications", "body": {"displayName": "n"}},
    ]
    reply = await world.post("/$batch", {"requests": requests})
    answers = {one["id"]: one for one in reply.body["responses"]}
    assert [answers[str(n)]["status"] for n in range(1, 6)] == [200, 400, 204, 424, 201]
    assert answers["1"]["body"]["value"][0]["id"] == made["id"]
    assert answers["2"]["body"]["error"]["code"] == "BadRequest"
    assert "body" not in answers["3"]


async def test_every_part_of_a_batch_needs_its_permission(world: World) -> None:
    """Without it a batch would be a way around every permission."""
    world.app("nobody")
    body = {"requests": [{"id": "1", "method": "GET", "url": "/applications"}]}
    reply = await world.post("/$batch", body, who="nobody")
    assert reply.body["responses"][0]["status"] == 403
    assert (await world.post("/$batch", body, who=None)).status == 401


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
        [{"id": "1", "method": "GET", "url": "//evil.example/me"}],
        ["x"],
    ],
    ids=range(9),
)
async def test_a_batch_that_is_none_is_refused(world: World, requests: object) -> None:
    reply = await world.post("/$batch", {"requests": requests})
    assert (reply.status, reply.code) == (400, "BadRequest")


async def test_a_part_of_a_batch_is_read_as_strictly_as_it_would_be_alone(world: World) -> None:
    body = {"displayName": "a", "notes": 2**70}
    requests = [{"id": "1", "method": "POST", "url": "/applications", "body": body}]
    text = json.dumps({"requests": requests}).encode()
    [answer] = (await world.post("/$batch", text)).body["responses"]
    assert (answer["status"], answer["body"]["error"]["code"]) == (400, "Request_BadRequest")


async def test_a_cast_may_be_written_as_sdks_do(world: World) -> None:
    for name in ("application", "microsoft.graph.application", "graph.application"):
        assert (await world.get(f"/directory/deletedItems/{name}")).value == []


async def test_a_function_that_is_not_served_is_named(world: World) -> None:
    reply = await world.get("/applications/delta()")
    assert (reply.status, "'delta'" in reply.message) == (400, True)


async def test_a_line_of_the_log_says_which_object(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await world.delete("/applications/no%0A-one")
    made = await world.application()
    await world.delete(f"/applications/{made['id']}")
    lines = [vars(r) for r in caplog.records if r.getMessage() == "graph_request_answered"]
    assert lines[0]["target"].isprintable()
    assert lines[-1]["target"] == f"/applications/{made['id']}"
