"""Federated identity credentials in Graph: every rule and its error code."""

import asyncio
import uuid
from typing import Any

import pytest

from tests.directory.graph.harness import ISSUER, Graph

INVALID = "InvalidFederatedIdentityCredentialValue"


@pytest.fixture
async def application(graph: Graph) -> Any:
    return await graph.application("web", uniqueName="web")


@pytest.fixture
def path(application: Any) -> str:
    return f"/applications/{application['id']}/federatedIdentityCredentials"


async def test_credential_is_added_and_found_by_id_and_name(
    graph: Graph, application: Any, path: str
) -> None:
    made = await graph.add_credential(application, "pod", description="d")
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
        read = await graph.get(one)
        assert (read.status, read.body["id"]) == (200, made.body["id"])
    kept = await graph.directory.identities.get(
        graph.callers["admin"].tenant_id, application["appId"]
    )
    assert kept is not None
    assert [one.subject for one in kept.credentials] == ["system:serviceaccount:default:pod"]


async def test_credentials_are_listed_by_each_key_of_the_application(
    graph: Graph, application: Any
) -> None:
    await graph.add_credential(application)
    for key in (f"appId='{application['appId']}'", "uniqueName='web'"):
        reply = await graph.get(f"/applications({key})/federatedIdentityCredentials")
        assert [one["name"] for one in reply.value] == ["pod"]


async def test_credential_id_takes_precedence_over_an_equal_name(
    graph: Graph, application: Any, path: str
) -> None:
    """Fails if deleting a credential by id can delete another credential with that name."""
    first = (await graph.add_credential(application, "pod")).body
    second = (await graph.add_credential(application, first["id"])).body
    assert (await graph.delete(f"{path}/{first['id']}")).status == 204
    assert [one["id"] for one in (await graph.get(path)).value] == [second["id"]]


async def test_credentials_are_filtered_by_name_and_subject(
    graph: Graph, application: Any, path: str
) -> None:
    for name in ("one", "two"):
        await graph.add_credential(application, name)
    subject = "system:serviceaccount:default:two"
    for clause in (
        "name eq 'two'",
        f"subject eq '{subject}'",
        f"issuer eq '{ISSUER}' and name eq 'two'",
    ):
        reply = await graph.get(f"{path}?$filter={clause.replace(' ', '%20')}&$select=name")
        assert reply.value == [{"name": "two"}]
    upper = await graph.get(f"{path}?$filter=subject%20eq%20'{subject.upper()}'")
    assert upper.value == []
    unknown = await graph.get(f"{path}?$filter=colour%20eq%20'red'")
    assert (unknown.status, unknown.code) == (400, "Request_UnsupportedQuery")


async def test_patch_changes_a_credential(graph: Graph, application: Any, path: str) -> None:
    made = (await graph.add_credential(application)).body
    changed = await graph.patch(f"{path}/pod", {"subject": "other", "description": None})
    assert (changed.status, changed.body) == (204, None)
    read = (await graph.get(f"{path}/{made['id']}")).body
    assert (read["subject"], read["issuer"], read["id"]) == ("other", ISSUER, made["id"])


async def test_name_of_a_credential_cannot_be_changed(
    graph: Graph, application: Any, path: str
) -> None:
    await graph.add_credential(application)
    assert (await graph.patch(f"{path}/pod", {"name": "pod"})).status == 204
    reply = await graph.patch(f"{path}/pod", {"name": "other"})
    assert (reply.status, reply.code) == (400, "Request_BadRequest")
    assert "'name'" in reply.message


async def test_upsert_by_name_creates_or_updates_a_credential(graph: Graph, path: str) -> None:
    prefer = {"Prefer": "create-if-missing"}
    body = {"issuer": ISSUER, "subject": "s", "audiences": ["api://AzureADTokenExchange"]}
    one = f"{path}(name='pod')"
    assert (await graph.patch(one, body)).status == 404
    created = await graph.patch(one, body, headers=prefer)
    assert (created.status, created.body["name"]) == (201, "pod")
    assert (await graph.patch(one, body | {"subject": "t"}, headers=prefer)).status == 204
    assert (await graph.get(one)).body["subject"] == "t"
    other = await graph.patch(f"{path}(name='x1x')", body | {"name": "y1y"}, headers=prefer)
    assert (other.status, other.code) == (400, "Request_BadRequest")


async def test_deleted_credential_is_not_found(graph: Graph, application: Any, path: str) -> None:
    await graph.add_credential(application)
    assert (await graph.delete(f"{path}/pod")).status == 204
    for reply in (await graph.get(f"{path}/pod"), await graph.delete(f"{path}/pod")):
        assert (reply.status, reply.code) == (404, "Request_ResourceNotFound")


async def test_duplicate_credential_name_is_rejected(
    graph: Graph, application: Any, path: str
) -> None:
    await graph.add_credential(application)
    reply = await graph.add_credential(application, subject="other")
    assert (reply.status, reply.code) == (409, "Request_MultipleObjectsWithSameKeyValue")
    assert len((await graph.get(path)).value) == 1


async def test_issuer_and_subject_are_unique_together(
    graph: Graph, application: Any, path: str
) -> None:
    await graph.add_credential(application, "one", subject="s")
    await graph.add_credential(application, "two", subject="t")
    for reply in (
        await graph.add_credential(application, "three", subject="s"),
        await graph.patch(f"{path}/two", {"subject": "s"}),
    ):
        assert (reply.status, reply.code) == (400, INVALID)
    assert [one["subject"] for one in (await graph.get(path)).value] == ["s", "t"]
    assert (await graph.add_credential(application, "three", subject="S")).status == 201


async def test_credential_over_the_limit_of_20_is_rejected(
    graph: Graph, application: Any, path: str
) -> None:
    for number in range(20):
        assert (await graph.add_credential(application, f"pod-{number}")).status == 201
    reply = await graph.add_credential(application, "pod-20")
    assert (reply.status, reply.code) == (403, "Directory_QuotaExceeded")
    assert len((await graph.get(path)).value) == 20


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
        ({"name": "abc\n"}, INVALID),
        ({"name": None}, "Request_BadRequest"),
        ({"colour": "red"}, "Request_BadRequest"),
        ({"id": str(uuid.UUID(int=1))}, "Request_BadRequest"),
        ({"claimsMatchingExpression": {"value": "x"}}, "Request_BadRequest"),
    ],
)
async def test_invalid_credential_is_rejected(
    graph: Graph, application: Any, path: str, changes: dict[str, Any], code: str
) -> None:
    reply = await graph.add_credential(application, **{"name": "pod", **changes})
    assert (reply.status, reply.code) == (400, code)
    assert (await graph.get(path)).value == []


@pytest.mark.parametrize("name", ["-ifnXdTmRokvJLrZ6PB3vtY5FSdYOGKA_PqotCd59wU=", "abc="])
async def test_name_in_padded_base64url_is_accepted_and_found(
    graph: Graph, application: Any, path: str, name: str
) -> None:
    assert (await graph.add_credential(application, name)).status == 201
    for one in (f"{path}/{name}", f"{path}/{name.replace('=', '%3D')}", f"{path}(name='{name}')"):
        assert (await graph.get(one)).body["name"] == name
    assert (await graph.patch(f"{path}/{name}", {"subject": "other"})).status == 204
    assert (await graph.delete(f"{path}/{name}")).status == 204
    assert (await graph.get(path)).value == []


async def test_subject_of_600_characters_is_accepted(graph: Graph, application: Any) -> None:
    assert (await graph.add_credential(application, subject="s" * 600)).status == 201


def flexible(value: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": "pipeline",
        "issuer": "https://app.terraform.io",
        "audiences": ["api://AzureADTokenExchange"],
        "claimsMatchingExpression": {"value": value, "languageVersion": 1},
        **changes,
    }


async def test_expression_is_created_read_changed_and_replaced_in_beta(
    graph: Graph, path: str
) -> None:
    first, second = "claims['sub'] matches 'organization:a:*'", "claims['sub'] eq 'organization:b'"
    made = await graph.post(path, flexible(first), version="beta")
    assert (made.status, made.body["subject"]) == (201, None)
    one = f"{path}/{made.body['id']}"
    changed = {"claimsMatchingExpression": {"value": second, "languageVersion": 1}}
    assert (await graph.patch(one, changed, version="beta")).status == 204
    [listed] = (await graph.get(path, version="beta")).body["value"]
    assert listed["claimsMatchingExpression"] == changed["claimsMatchingExpression"]
    [stable] = (await graph.get(path)).body["value"]
    assert stable["subject"] is None
    assert "claimsMatchingExpression" not in stable
    classic = {"subject": "s", "claimsMatchingExpression": None}
    assert (await graph.patch(one, classic, version="beta")).status == 204
    shown = (await graph.get(one, version="beta")).body
    assert (shown["subject"], shown["claimsMatchingExpression"]) == ("s", None)


@pytest.mark.parametrize(
    "body",
    [
        # No cluster can be named in an expression.
        flexible("claims['sub'] matches 'a*'", issuer=ISSUER),
        flexible("claims['sub'] matches 'a*'", subject="s"),
        flexible("claims['sub'] matches  'a*'"),
        flexible("claims['other'] eq 'a'"),
    ],
)
async def test_invalid_expression_is_rejected_with_its_reason(
    graph: Graph, path: str, body: dict[str, Any]
) -> None:
    reply = await graph.post(path, body, version="beta")
    assert (reply.status, reply.code) == (400, INVALID)
    assert "xpression" in reply.message


@pytest.mark.parametrize(
    "value", [{"value": "claims['sub'] eq 'a'", "languageVersion": 2}, "claims['sub'] eq 'a'", {}]
)
async def test_expression_of_another_form_is_rejected(graph: Graph, path: str, value: Any) -> None:
    body = flexible("") | {"claimsMatchingExpression": value}
    reply = await graph.post(path, body, version="beta")
    assert (reply.status, reply.code) == (400, "Request_BadRequest")


async def test_equal_expression_of_one_issuer_is_rejected(graph: Graph, path: str) -> None:
    body = flexible("claims['sub'] matches 'a*'")
    assert (await graph.post(path, body, version="beta")).status == 201
    again = await graph.post(path, body | {"name": "other"}, version="beta")
    assert (again.status, again.code) == (400, INVALID)


async def test_concurrent_writes_lose_nothing(graph: Graph, application: Any, path: str) -> None:
    replies = await asyncio.gather(
        *(graph.add_credential(application, f"pod-{number}") for number in range(10))
    )
    assert {reply.status for reply in replies} == {201}
    assert len((await graph.get(path)).value) == 10


async def test_credentials_of_an_unknown_application_are_not_found(graph: Graph) -> None:
    strange = {"id": str(uuid.uuid4())}
    for reply in (
        await graph.add_credential(strange),
        await graph.get(f"/applications/{strange['id']}/federatedIdentityCredentials"),
    ):
        assert (reply.status, reply.code) == (404, "Request_ResourceNotFound")
