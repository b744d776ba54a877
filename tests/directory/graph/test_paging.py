"""Lists: filters, query options, pages, counts, and the bound of scanned objects."""

import uuid
from typing import Any
from urllib.parse import quote

import pytest

from podpass.directory.graph import paging
from podpass.directory.model import Identity, IdentityKind
from podpass.directory.resources import BUILT_IN
from tests.directory.graph.harness import TENANT, Graph, follow_pages

EVENTUAL = {"ConsistencyLevel": "eventual"}


async def add_applications(graph: Graph, count: int, **changes: Any) -> list[Identity]:
    made = [
        Identity(
            tenant_id=TENANT,
            client_id=str(uuid.UUID(int=number + 1)),
            object_id=str(uuid.uuid4()),
            application_id=str(uuid.uuid4()),
            name=f"app-{number:04}",
            kind=IdentityKind.APPLICATION,
            **changes,
        )
        for number in range(count)
    ]
    await graph.directory.identities.put_many(made)
    return made


async def test_pages_have_no_gaps_or_duplicates(graph: Graph) -> None:
    made = await add_applications(graph, 25)
    pages = await follow_pages(graph, "/applications?$top=10&$select=appId")
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [one["appId"] for page in pages for one in page] == [one.client_id for one in made]


async def test_page_has_100_entries_by_default(graph: Graph) -> None:
    await add_applications(graph, 101)
    assert [len(page) for page in await follow_pages(graph, "/applications")] == [100, 1]


@pytest.mark.parametrize("top", [1, 2, 3, 4, 5, 999])
async def test_built_in_principals_are_paged_with_the_others(graph: Graph, top: int) -> None:
    made = await add_applications(graph, 3)
    pages = await follow_pages(graph, f"/servicePrincipals?$top={top}&$select=appId")
    found = [one["appId"] for page in pages for one in page]
    assert all(len(page) <= top for page in pages)
    assert len(found) == len(set(found)) == len(BUILT_IN) + 3
    assert found[len(BUILT_IN) :] == [one.client_id for one in made]


async def test_filter_by_name_is_paged_by_name(graph: Graph) -> None:
    await add_applications(graph, 25)
    clause = quote("startswith(displayName,'APP-001')")
    pages = await follow_pages(graph, f"/applications?$filter={clause}&$top=4")
    names = [one["displayName"] for page in pages for one in page]
    assert names == [f"app-001{number}" for number in range(10)]


async def test_filter_without_index_scans_a_bounded_number_of_objects(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if one request can read all objects of the directory."""
    await add_applications(graph, 30)
    await graph.application("tagged", tags=["rare"])
    monkeypatch.setattr(paging, "MAX_SCANNED", 10)
    monkeypatch.setattr(paging, "_BATCH_SIZE", 5)
    clause = quote("tags/any(t:t eq 'rare')")
    pages = await follow_pages(graph, f"/applications?$filter={clause}")
    assert [one["displayName"] for page in pages for one in page] == ["tagged"]
    assert len(pages) > 1


@pytest.mark.parametrize(
    ("clause", "count"),
    [
        ("displayName eq 'APP-0003'", 1),
        ("displayName in ('app-0001','app-0002','x')", 2),
        (f"appId eq '{uuid.UUID(int=1)}'", 1),
        (f"appId eq '{uuid.UUID(int=1)}' or appId eq '{uuid.UUID(int=2)}'", 2),
        ("appId eq 'x' or startswith(displayName,'app-0001')", 1),
        ("startswith(displayName,'app-') and signInAudience eq 'AzureADMyOrg'", 5),
        ("displayName eq 'no''body'", 0),
        ("uniqueName eq 'x'", 0),
        ("createdDateTime ge 2001-01-01T00:00:00Z", 5),
    ],
)
async def test_filters_match_the_expected_objects(graph: Graph, clause: str, count: int) -> None:
    await add_applications(graph, 5)
    assert len((await graph.get(f"/applications?$filter={quote(clause)}")).value) == count


async def test_advanced_filter_requires_eventual_consistency(graph: Graph) -> None:
    await add_applications(graph, 3)
    clause = quote(f"appId ne '{uuid.UUID(int=1)}'")
    ne = f"/applications?$count=true&$filter={clause}"
    reply = await graph.get(ne)
    assert (reply.status, reply.code) == (400, "Request_UnsupportedQuery")
    reply = await graph.get(ne, headers=EVENTUAL)
    assert (len(reply.value), reply.body["@odata.count"]) == (2, 2)


@pytest.mark.parametrize(
    ("clause", "count"),
    [
        ("displayName ne 'app-0001'", 2),
        ("not (startswith(displayName,'app-0001'))", 2),
        ("not (displayName eq 'app-0001')", 2),
        ("endswith(displayName,'2')", 1),
        ("endswith(displayName,'x')", 0),
    ],
)
async def test_advanced_filter_requires_count_and_returns_it(
    graph: Graph, clause: str, count: int
) -> None:
    """Clients of Graph always send both, because Graph requires them."""
    await add_applications(graph, 3)
    text = "/applications?$filter=" + quote(clause)
    for path, headers in ((text, EVENTUAL), (f"{text}&$count=true", {})):
        reply = await graph.get(path, headers=headers)
        assert (reply.status, reply.code) == (400, "Request_UnsupportedQuery")
    reply = await graph.get(f"{text}&$count=true", headers=EVENTUAL)
    assert (len(reply.value), reply.body["@odata.count"]) == (count, count)
    alone = await graph.get(f"/applications/$count?$filter={quote(clause)}", headers=EVENTUAL)
    assert alone.body == str(count)


async def test_list_over_the_scan_limit_has_no_count(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if a count can read all objects of the directory."""
    await add_applications(graph, 30)
    monkeypatch.setattr(paging, "MAX_SCANNED", 10)
    monkeypatch.setattr(paging, "_BATCH_SIZE", 5)
    clause = quote("displayName ne 'app-0001'")
    reply = await graph.get(f"/applications?$count=true&$filter={clause}", headers=EVENTUAL)
    assert "@odata.nextLink" in reply.body
    assert "@odata.count" not in reply.body
    alone = await graph.get(f"/applications/$count?$filter={clause}", headers=EVENTUAL)
    assert (alone.status, alone.code) == (400, "Request_UnsupportedQuery")


async def test_property_names_are_case_insensitive(graph: Graph) -> None:
    await add_applications(graph, 3)
    await graph.application("tagged", tags=["rare"])
    for clause, count in (
        ("displayname eq 'APP-0001'", 1),
        ("startswith(DISPLAYNAME,'app-')", 3),
        (f"appid eq '{uuid.UUID(int=1)}'", 1),
        ("Tags/any(t:t eq 'rare')", 1),
        ("signinaudience eq 'AzureADMyOrg'", 4),
    ):
        reply = await graph.get(f"/applications?$filter={quote(clause)}")
        assert len(reply.value) == count, clause
    reply = await graph.get("/applications?$select=APPID&$orderby=displayname%20desc&$top=1")
    assert set(reply.value[0]) == {"appId"}
    assert reply.value[0]["appId"] not in {str(uuid.UUID(int=number + 1)) for number in range(3)}


async def test_count_requires_eventual_consistency_and_is_plain_text(graph: Graph) -> None:
    await add_applications(graph, 3)
    reply = await graph.get("/applications/$count", headers=EVENTUAL)
    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (200, "3", "text/plain")
    reply = await graph.get("/servicePrincipals/$count", headers=EVENTUAL)
    assert reply.body == str(len(BUILT_IN) + 3)
    plain = await graph.get("/applications/$count")
    assert (plain.status, plain.code) == (400, "Request_UnsupportedQuery")
    both = await graph.get("/applications?$count=true&$top=1", headers=EVENTUAL)
    assert (both.body["@odata.count"], len(both.value)) == (3, 1)
    assert "@odata.count" not in (await graph.get("/applications?$count=true")).body
    hidden = await graph.get(
        "/applications?$count=true&$filter=" + quote("tags/any(t:t eq 'x')"), headers=EVENTUAL
    )
    assert (hidden.value, hidden.body["@odata.count"]) == ([], 0)


async def test_order_is_the_same_across_pages(graph: Graph) -> None:
    await add_applications(graph, 5)
    pages = await follow_pages(graph, "/applications?$orderby=displayName%20desc&$top=2")
    names = [one["displayName"] for page in pages for one in page]
    assert names == [f"app-000{number}" for number in range(4, -1, -1)]


async def test_order_of_too_many_objects_is_rejected(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_applications(graph, 5)
    monkeypatch.setattr(paging, "_MAX_ORDERED", 3)
    reply = await graph.get("/applications?$orderby=displayName")
    assert (reply.status, reply.code) == (400, "Request_UnsupportedQuery")


async def test_search_finds_objects_by_name(graph: Graph) -> None:
    await add_applications(graph, 3)
    path = "/applications?$search=" + quote('"displayName:0002"')
    assert [one["displayName"] for one in (await graph.get(path, headers=EVENTUAL)).value] == [
        "app-0002"
    ]
    assert (await graph.get(path)).code == "Request_UnsupportedQuery"
    for wrong in ("displayName:x", '"tags:x"'):
        reply = await graph.get(f"/applications?$search={quote(wrong)}", headers=EVENTUAL)
        assert reply.status == 400


async def test_select_returns_the_named_properties(graph: Graph) -> None:
    made = await graph.application()
    reply = await graph.get(f"/applications/{made['id']}?$select=id,displayName")
    assert reply.body == {
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata"
        "#applications(id,displayName)/$entity",
        "id": made["id"],
        "displayName": "web",
    }
    for path in (f"/applications/{made['id']}", "/applications"):
        wrong = await graph.get(f"{path}?$select=colour")
        assert (wrong.status, wrong.code) == (400, "BadRequest")
        assert "'colour'" in wrong.message


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("$top=0", "Request_UnsupportedQuery"),
        ("$top=1000", "Request_UnsupportedQuery"),
        ("$top=x", "Request_UnsupportedQuery"),
        ("$top=-1", "Request_UnsupportedQuery"),
        ("$top=1&$top=2", "BadRequest"),
        ("$count=maybe", "BadRequest"),
        ("$colour=red", "BadRequest"),
        ("$skip=1", "Request_UnsupportedQuery"),
        ("$skiptoken=%25%25", "BadRequest"),
        ("$expand=owners", "Request_UnsupportedQuery"),
        ("$orderby=displayName,id", "Request_UnsupportedQuery"),
        ("$orderby=displayName&$skiptoken=eHg", "BadRequest"),
        ("$filter=colour%20eq%20'red'", "Request_UnsupportedQuery"),
        ("$filter=displayName", "BadRequest"),
        ("$filter=%FF", "BadRequest"),
    ],
)
async def test_invalid_query_option_is_rejected(graph: Graph, query: str, code: str) -> None:
    reply = await graph.get(f"/applications?{query}")
    assert (reply.status, reply.code) == (400, code)


async def test_query_options_are_valid_without_dollar_sign(graph: Graph) -> None:
    await add_applications(graph, 3)
    assert len((await graph.get("/applications?top=2")).value) == 2
    assert (await graph.get("/applications?unknown=1")).status == 200


async def test_next_link_has_the_host_of_the_request(graph: Graph) -> None:
    await add_applications(graph, 2)
    for host, named in (("localhost:18446", "localhost:18446"), ("e;vil", "graph.microsoft.com")):
        reply = await graph.get("/applications?$top=1", headers={"Host": host})
        assert reply.body["@odata.nextLink"].startswith(f"https://{named}/v1.0/applications?")


async def test_select_on_a_list_of_several_types_skips_missing_properties(graph: Graph) -> None:
    made = await graph.application()
    other = await graph.principal(made["appId"])
    reference = {"@odata.id": f"https://graph.microsoft.com/v1.0/directoryObjects/{other['id']}"}
    path = f"/applications/{made['id']}/owners"
    await graph.post(f"{path}/$ref", reference)
    found = (await graph.get(f"{path}?$select=id,userPrincipalName")).value
    assert [set(one) for one in found] == [
        {"@odata.type", "id", "userPrincipalName"},
        {"@odata.type", "id"},
    ]
