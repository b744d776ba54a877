"""Federated identity credentials by Graph: every rule, every code."""

import asyncio
import uuid
from typing import Any

import pytest

from tests.directory.graph.world import ISSUER, World

INVALID = "InvalidFederatedIdentityCredentialValue"


@pytest.fixture
async def application(world: World) -> Any:
    return await world.application("web", uniqueName="web")


@pytest.fixture
def path(application: Any) -> str:
    return f"/applications/{application['id']}/federatedIdentityCredentials"


async def test_a_credential_is_added_and_found_by_id_and_name(
    world: World, application: Any, path: str
) -> None:
    made = await world.trust(application, "pod", description="d")
    assert made.status == 201
    assert made.body == {
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata"
        f"#applications('{application['id']}')/federatedIdentityCredentials/$entity",
        "id": made.body["id"],
        "name": "pod",
        "issuer": ISSUER,
        "subject": "system:serviceaccount:default:pod",
        "description": "d",
        "audiences": ["api://AzureADTokenExchange"],
    }
    for one in (f"{path}/{made.body['id']}", f"{path}/pod", f"{path}(name='pod')"):
        read = await world.get(one)
        assert (read.status, read.body["id"]) == (200, made.body["id"])
    kept = await world.directory.identities.get(
        world.callers["admin"].tenant_id, application["appId"]
    )
    assert kept is not None
    assert [one.subject for one in kept.credentials] == ["system:serviceaccount:default:pod"]


async def test_the_application_may_be_named_by_its_other_keys(
    world: World, application: Any
) -> None:
    await world.trust(application)
    for key in (f"appId='{application['appId']}'", "uniqueName='web'"):
        reply = await world.get(f"/applications({key})/federatedIdentityCredentials")
        assert [one["name"] for one in reply.value] == ["pod"]


async def test_an_id_is_meant_before_a_name_that_is_spelt_the_same(
    world: World, application: Any, path: str
) -> None:
    """Without it, deleting one credential by its id could delete another that is named so."""
    first = (await world.trust(application, "pod")).body
    second = (await world.trust(application, first["id"])).body
    assert (await world.delete(f"{path}/{first['id']}")).status == 204
    assert [one["id"] for one in (await world.get(path)).value] == [second["id"]]


async def test_credentials_are_filtered_by_name_and_subject(
    world: World, application: Any, path: str
) -> None:
    for name in ("one", "two"):
        await world.trust(application, name)
    subject = "system:serviceaccount:default:two"
    for clause in (
        "name eq 'two'",
        f"subject eq '{subject}'",
        f"issuer eq '{ISSUER}' and name eq 'two'",
    ):
        reply = await world.get(f"{path}?$filter={clause.replace(' ', '%20')}&$select=name")
        assert reply.value == [{"name": "two"}]
    upper = await world.get(f"{path}?$filter=subject%20eq%20'{subject.upper()}'")
    assert upper.value == []
    unknown = await world.get(f"{path}?$filter=colour%20eq%20'red'")
    assert (unknown.status, unknown.code) == (400, "Request_UnsupportedQuery")


async def test_a_patch_changes_a_credential(world: World, application: Any, path: str) -> None:
    made = (await world.trust(application)).body
    changed = await world.patch(f"{path}/pod", {"subject": "other", "description": None})
    assert (changed.status, changed.body) == (204, None)
    read = (await world.get(f"{path}/{made['id']}")).body
    assert (read["subject"], read["issuer"], read["id"]) == ("other", ISSUER, made["id"])


async def test_a_name_cannot_change(world: World, application: Any, path: str) -> None:
    await world.trust(application)
    assert (await world.patch(f"{path}/pod", {"name": "pod"})).status == 204
    reply = await world.patch(f"{path}/pod", {"name": "other"})
    assert (reply.status, reply.code) == (400, "Request_BadRequest")
    assert "'name'" in reply.message


async def test_an_upsert_by_name(world: World, path: str) -> None:
    prefer = {"Prefer": "create-if-missing"}
    body = {"issuer": ISSUER, "subject": "s", "audiences": ["api://AzureADTokenExchange"]}
    one = f"{path}(name='pod')"
    assert (await world.patch(one, body)).status == 404
    created = await world.patch(one, body, headers=prefer)
    assert (created.status, created.body["name"]) == (201, "pod")
    assert (await world.patch(one, body | {"subject": "t"}, headers=prefer)).status == 204
    assert (await world.get(one)).body["subject"] == "t"
    other = await world.patch(f"{path}(name='x1x')", body | {"name": "y1y"}, headers=prefer)
    assert (other.status, other.code) == (400, "Request_BadRequest")


async def test_a_deleted_credential_is_gone(world: World, application: Any, path: str) -> None:
    await world.trust(application)
    assert (await world.delete(f"{path}/pod")).status == 204
    for reply in (await world.get(f"{path}/pod"), await world.delete(f"{path}/pod")):
        assert (reply.status, reply.code) == (404, "Request_ResourceNotFound")


async def test_a_name_is_taken_once(world: World, application: Any, path: str) -> None:
    await world.trust(application)
    reply = await world.trust(application, subject="other")
    assert (reply.status, reply.code) == (409, "Request_MultipleObjectsWithSameKeyValue")
    assert len((await world.get(path)).value) == 1


async def test_issuer_and_subject_are_unique_together(
    world: World, application: Any, path: str
) -> None:
    await world.trust(application, "one", subject="s")
    await world.trust(application, "two", subject="t")
    for reply in (
        await world.trust(application, "three", subject="s"),
        await world.patch(f"{path}/two", {"subject": "s"}),
    ):
        assert (reply.status, reply.code) == (400, INVALID)
    assert [one["subject"] for one in (await world.get(path)).value] == ["s", "t"]
    assert (await world.trust(application, "three", subject="S")).status == 201


async def test_the_twenty_first_is_refused(world: World, application: Any, path: str) -> None:
    for number in range(20):
        assert (await world.trust(application, f"pod-{number}")).status == 201
    reply = await world.trust(application, "pod-20")
    assert (reply.status, reply.code) == (403, "Directory_QuotaExceeded")
    assert len((await world.get(path)).value) == 20


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"audiences": []}, INVALID),
        ({"audiences": ["a", "b"]}, INVALID),
        ({"audiences": "a"}, "Request_BadRequest"),
        ({"audiences": ["a" * 601]}, INVALID),
        ({"subject": ""}, "Request_BadRequest"),
        ({"subject": "s" * 601}, INVALID),
        ({"subject": "repo:*"}, INVALID),
        ({"issuer": "http://plain.example"}, INVALID),
        ({"issuer": "https://i.example/" + "a" * 600}, INVALID),
        ({"issuer": None}, "Request_BadRequest"),
        ({"description": "d" * 601}, INVALID),
        ({"name": "ab"}, INVALID),
        ({"name": "-abc"}, INVALID),
        ({"name": "a" * 121}, INVALID),
        ({"name": "a/b"}, INVALID),
        ({"name": None}, "Request_BadRequest"),
        ({"colour": "red"}, "Request_BadRequest"),
        ({"id": str(uuid.UUID(int=1))}, "Request_BadRequest"),
        ({"claimsMatchingExpression": {"value": "x"}}, "Request_BadRequest"),
    ],
)
async def test_what_breaks_a_rule_is_refused(
    world: World, application: Any, path: str, changes: dict[str, Any], code: str
) -> None:
    reply = await world.trust(application, **{"name": "pod", **changes})
    assert (reply.status, reply.code) == (400, code)
    assert (await world.get(path)).value == []


async def test_600_characters_are_taken(world: World, application: Any) -> None:
    assert (await world.trust(application, subject="s" * 600)).status == 201


async def test_expressions_are_refused_on_beta_and_say_why(world: World, path: str) -> None:
    body = {
        "name": "pod",
        "issuer": ISSUER,
        "audiences": ["api://AzureADTokenExchange"],
        "claimsMatchingExpression": {"value": "claims['sub'] matches 'a*'", "languageVersion": 1},
    }
    reply = await world.post(path, body, version="beta")
    assert (reply.status, reply.code) == (400, INVALID)
    assert "claimsMatchingExpression" in reply.message
    plain = body | {"claimsMatchingExpression": None, "subject": "s"}
    made = await world.post(path, plain, version="beta")
    assert (made.status, made.body["claimsMatchingExpression"]) == (201, None)


async def test_concurrent_writes_lose_nothing(world: World, application: Any, path: str) -> None:
    replies = await asyncio.gather(
        *(world.trust(application, f"pod-{number}") for number in range(10))
    )
    assert {reply.status for reply in replies} == {201}
    assert len((await world.get(path)).value) == 10


async def test_an_application_that_is_not_there_has_no_credentials(world: World) -> None:
    strange = {"id": str(uuid.uuid4())}
    for reply in (
        await world.trust(strange),
        await world.get(f"/applications/{strange['id']}/federatedIdentityCredentials"),
    ):
        assert (reply.status, reply.code) == (404, "Request_ResourceNotFound")
