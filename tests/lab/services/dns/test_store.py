"""DNS zones in each kind of database: pages, conditions of changes, deletion with the zone."""

import asyncio
from dataclasses import replace

import pytest

from podpass.directory import errors
from podpass.directory.model import OtherResource, ResourceGroup, WriteResult
from podpass.directory.store.directory import Directory
from podpass.lab.services.dns.model import TYPE, DnsRecordSet
from podpass.lab.services.dns.store import DnsZones, page_key

SUB = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
ZONE_ID = f"/subscriptions/{SUB}/resourceGroups/web/providers/{TYPE}/example.test"
ZONE = OtherResource(resource_id=ZONE_ID, type=TYPE, name="example.test", location="global")
ONE = DnsRecordSet(zone_id=ZONE_ID, type="TXT", name="a_b.www", ttl=60, records=(("one",),))


@pytest.fixture(autouse=True)
async def zone(directory: Directory) -> None:
    group = ResourceGroup(subscription_id=SUB, name="web", location="eastus")
    await directory.groups.put(group)
    assert await directory.store(DnsZones).put(ZONE) is WriteResult.CREATED


async def put(directory: Directory, new: DnsRecordSet) -> None:
    await directory.store(DnsZones).change(new.zone_id, new.type, new.name, lambda _: new)


async def test_record_sets_are_listed_in_pages_and_found_by_host_name(directory: Directory) -> None:
    written = [replace(ONE, name=name) for name in ("a_b.www", "B", "c")]
    written.append(replace(ONE, name="B", type="A", records=(("192.0.2.1",),)))
    for each in written:
        await put(directory, each)
    listed, after = [], None
    while page := await directory.store(DnsZones).page(ZONE_ID.upper(), after=after, limit=1):
        listed += page
        after = page_key(page[-1])
    assert [page_key(each) for each in listed] == ["a_b.www TXT", "b A", "b TXT", "c TXT"]
    assert await directory.store(DnsZones).count(ZONE_ID) == 4
    found = await directory.store(DnsZones).look_up("b.example.test")
    assert found is not None
    assert {each.type for each in found.record_sets} == {"A", "TXT"}
    # `_` is no wildcard in the search for names below a name.
    exists = {}
    for host in ("www", "ww_", "b.www", "example.test"):
        lookup = await directory.store(DnsZones).look_up(f"{host}.example.test")
        exists[host] = lookup is not None and lookup.exists
    assert exists == {"www": True, "ww_": False, "b.www": False, "example.test": False}


async def test_two_writers_at_the_same_time_lose_no_record(directory: Directory) -> None:
    def add(value: str) -> asyncio.Task[object]:
        def step(old: DnsRecordSet | None) -> DnsRecordSet:
            was = old or replace(ONE, records=())
            return replace(was, records=(*was.records, (value,)))

        change = directory.store(DnsZones).change(ZONE_ID, ONE.type, ONE.name, step)
        return asyncio.ensure_future(change)

    await asyncio.gather(*(add(str(number)) for number in range(10)))
    found = await directory.store(DnsZones).get(ZONE_ID, ONE.type, ONE.name)
    assert found is not None
    assert {value for (value,) in found.records} == set(map(str, range(10)))


async def test_name_outside_every_zone_needs_no_query(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if a flood of queries for other names uses all of the processor."""

    async def fail(*_arguments: object) -> None:
        raise AssertionError("a query")

    assert await directory.store(DnsZones).look_up("www.example.org") is None
    with monkeypatch.context() as patched:
        patched.setattr(directory._session, "read", fail)
        assert await directory.store(DnsZones).look_up("other.example.org") is None
        with pytest.raises(AssertionError, match="a query"):
            await directory.store(DnsZones).look_up("b.example.test")
    new = replace(ZONE, resource_id=ZONE_ID.replace(".test", ".org"), name="example.org")
    await directory.store(DnsZones).put(new)
    assert await directory.store(DnsZones).look_up("other.example.org") is not None


async def test_record_sets_are_deleted_with_their_zone(directory: Directory) -> None:
    await put(directory, ONE)
    assert await directory.other_resources.delete(ZONE_ID)
    assert await directory.store(DnsZones).get(ZONE_ID, ONE.type, ONE.name) is None
    assert await directory.store(DnsZones).look_up("a_b.www.example.test") is None
    with pytest.raises(errors.NotFound):
        await put(directory, ONE)
