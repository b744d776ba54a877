"""Listings: filters, options, pages, counts, and that none looks through everything."""

import uuid
from typing import Any
from urllib.parse import quote

import pytest

from podpass.directory.graph import paging
from podpass.directory.model import Identity, IdentityKind
from tests.directory.graph.world import TENANT, World, every

EVENTUAL = {"ConsistencyLevel": "eventual"}


async def fill(world: World, count: int, **changes: Any) -> list[Identity]:
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
    await world.directory.identities.put_many(made)
    return made


async def test_pages_follow_each_other_without_gap_or_repetition(world: World) -> None:
    made = await fill(world, 25)
    pages = await every(world, "/applications?$top=10&$select=appId")
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [one["appId"] for page in pages for one in page] == [one.client_id for one in made]


async def test_a_page_has_a_hundred_unless_told(world: World) -> None:
    await fill(world, 101)
    assert [len(page) for page in await every(world, "/applications")] == [100, 1]


@pytest.mark.parametrize("top", [1, 2, 3, 4, 5, 999])
async def test_built_in_principals_are_paged_with_the_others(world: World, top: int) -> None:
    made = await fill(world, 3)
    pages = await every(world, f"/servicePrincipals?$top={top}&$select=appId")
    found = [one["appId"] for page in pages for one in page]
    assert all(len(page) <= top for page in pages)
    assert len(found) == len(set(found)) == 8
    assert found[5:] == [one.client_id for one in made]


async def test_a_filter_by_name_is_paged_by_name(world: World) -> None:
    await fill(world, 25)
    clause = quote("startswith(displayName,'APP-001')")
    pages = await every(world, f"/applications?$filter={clause}&$top=4")
    names = [one["displayName"] for page in pages for one in page]
    assert names == [f"app-001{number}" for number in range(10)]


async def test_what_no_index_knows_is_looked_for_within_bounds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it one request could read the whole directory."""
    await fill(world, 30)
    await world.application("tagged", tags=["rare"])
    monkeypatch.setattr(paging, "LOOKED_AT", 10)
    monkeypatch.setattr(paging, "_AT_ONCE", 5)
    clause = quote("tags/any(t:t eq 'rare')")
    pages = await every(world, f"/applications?$filter={clause}")
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
async def test_filters_of_every_kind(world: World, clause: str, count: int) -> None:
    await fill(world, 5)
    assert len((await world.get(f"/applications?$filter={quote(clause)}")).value) == count


async def test_advanced_filters_want_eventual_consistency(world: World) -> None:
    await fill(world, 3)
    clause = quote(f"appId ne '{uuid.UUID(int=1)}'")
    ne = f"/applications?$count=true&$filter={clause}"
    reply = await world.get(ne)
    assert (reply.status, reply.code) == (400, "Request_UnsupportedQuery")
    reply = await world.get(ne, headers=EVENTUAL)
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
async def test_advanced_filters_want_a_count_as_well_and_give_it(
    world: World, clause: str, count: int
) -> None:
    """Programs written for Graph always send both, since it answers nothing else."""
    await fill(world, 3)
    text = "/applications?$filter=" + quote(clause)
    for path, headers in ((text, EVENTUAL), (f"{text}&$count=true", {})):
        reply = await world.get(path, headers=headers)
        assert (reply.status, reply.code) == (400, "Request_UnsupportedQuery")
    reply = await world.get(f"{text}&$count=true", headers=EVENTUAL)
    assert (len(reply.value), reply.body["@odata.count"]) == (count, count)
    alone = await world.get(f"/applications/$count?$filter={quote(clause)}", headers=EVENTUAL)
    assert alone.body == str(count)


async def test_what_cannot_be_counted_within_bounds_is_listed_without_a_count(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it a count could read the whole directory."""
    await fill(world, 30)
    monkeypatch.setattr(paging, "LOOKED_AT", 10)
    monkeypatch.setattr(paging, "_AT_ONCE", 5)
    clause = quote("displayName ne 'app-0001'")
    reply = await world.get(f"/applications?$count=true&$filter={clause}", headers=EVENTUAL)
    assert "@odata.nextLink" in reply.body
    assert "@odata.count" not in reply.body
    alone = await world.get(f"/applications/$count?$filter={clause}", headers=EVENTUAL)
    assert (alone.status, alone.code) == (400, "Request_UnsupportedQuery")


async def test_properties_are_named_in_any_case(world: World) -> None:
    await fill(world, 3)
    await world.application("tagged", tags=["rare"])
    for clause, count in (
        ("displayname eq 'APP-0001'", 1),
        ("startswith(DISPLAYNAME,'app-')", 3),
        (f"appid eq '{uuid.UUID(int=1)}'", 1),
        ("Tags/any(t:t eq 'rare')", 1),
        ("signinaudience eq 'AzureADMyOrg'", 4),
    ):
        reply = await world.get(f"/applications?$filter={quote(clause)}")
        assert len(reply.value) == count, clause
    reply = await world.get("/applications?$select=APPID&$orderby=displayname%20desc&$top=1")
    assert set(reply.value[0]) == {"appId"}
    assert reply.value[0]["appId"] not in {str(uuid.UUID(int=number + 1)) for number in range(3)}


async def test_counts(world: World) -> None:
    await fill(world, 3)
    reply = await world.get("/applications/$count", headers=EVENTUAL)
    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (200, "3", "text/plain")
    reply = await world.get("/servicePrincipals/$count", headers=EVENTUAL)
    assert reply.body == "8"
    plain = await world.get("/applications/$count")
    assert (plain.status, plain.code) == (400, "Request_UnsupportedQuery")
    both = await world.get("/applications?$count=true&$top=1", headers=EVENTUAL)
    assert (both.body["@odata.count"], len(both.value)) == (3, 1)
    assert "@odata.count" not in (await world.get("/applications?$count=true")).body
    hidden = await world.get(
        "/applications?$count=true&$filter=" + quote("tags/any(t:t eq 'x')"), headers=EVENTUAL
    )
    assert (hidden.value, hidden.body["@odata.count"]) == ([], 0)


async def test_an_order_is_kept_across_pages(world: World) -> None:
    await fill(world, 5)
    pages = await every(world, "/applications?$orderby=displayName%20desc&$top=2")
    names = [one["displayName"] for page in pages for one in page]
    assert names == [f"app-000{number}" for number in range(4, -1, -1)]


async def test_an_order_of_too_many_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(world, 5)
    monkeypatch.setattr(paging, "_ORDERED", 3)
    reply = await world.get("/applications?$orderby=displayName")
    assert (reply.status, reply.code) == (400, "Request_UnsupportedQuery")


async def test_a_search_by_name(world: World) -> None:
    await fill(world, 3)
    path = "/applications?$search=" + quote('"displayName:0002"')
    assert [one["displayName"] for one in (await world.get(path, headers=EVENTUAL)).value] == [
        "app-0002"
    ]
    assert (await world.get(path)).code == "Request_UnsupportedQuery"
    for wrong in ("displayName:x", '"tags:x"'):
        reply = await world.get(f"/applications?$search={quote(wrong)}", headers=EVENTUAL)
        assert reply.status == 400


async def test_select_shows_what_is_asked_for(world: World) -> None:
    made = await world.application()
    reply = await world.get(f"/applications/{made['id']}?$select=id,displayName")
    assert reply.body == {
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata"
        "#applications(id,displayName)/$entity",
        "id": made["id"],
        "displayName": "web",
    }
    for path in (f"/applications/{made['id']}", "/applications"):
        wrong = await world.get(f"{path}?$select=colour")
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
async def test_an_option_that_cannot_be_is_refused(world: World, query: str, code: str) -> None:
    reply = await world.get(f"/applications?{query}")
    assert (reply.status, reply.code) == (400, code)


async def test_options_may_be_written_without_their_dollar(world: World) -> None:
    await fill(world, 3)
    assert len((await world.get("/applications?top=2")).value) == 2
    assert (await world.get("/applications?unknown=1")).status == 200


async def test_a_next_link_names_the_host_it_was_asked_by(world: World) -> None:
    await fill(world, 2)
    for host, named in (("localhost:18446", "localhost:18446"), ("e;vil", "graph.microsoft.com")):
        reply = await world.get("/applications?$top=1", headers={"Host": host})
        assert reply.body["@odata.nextLink"].startswith(f"https://{named}/v1.0/applications?")


async def test_a_list_of_several_kinds_shows_what_each_has(world: World) -> None:
    made = await world.application()
    other = await world.principal(made["appId"])
    reference = {"@odata.id": f"https://graph.microsoft.com/v1.0/directoryObjects/{other['id']}"}
    path = f"/applications/{made['id']}/owners"
    await world.post(f"{path}/$ref", reference)
    found = (await world.get(f"{path}?$select=id,userPrincipalName")).value
    assert [set(one) for one in found] == [
        {"@odata.type", "id", "userPrincipalName"},
        {"@odata.type", "id"},
    ]
