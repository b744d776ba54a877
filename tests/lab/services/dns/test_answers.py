"""Names of DNS zones: a real directory behind the resolver, asked by a real client."""

from collections.abc import AsyncIterator
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from podpass.database import Database
from podpass.directory.model import OtherResource, ResourceGroup
from podpass.directory.store.directory import Directory
from podpass.lab.services import answer_names, create_directory
from podpass.lab.services.dns.model import TYPE, DnsRecordSet
from podpass.lab.services.dns.store import DnsZones
from tests.lab.names.server import Cloud, running

SUB = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
GROUP = f"/subscriptions/{SUB}/resourceGroups/rg"
ZONES = ("example.test", "deep.example.test", "graph.microsoft.com")
LONG = ("x" * 250,) * 4


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[Directory]:
    async with create_directory(Database(f"sqlite:///{tmp_path / 'directory.db'}")) as found:
        await found.groups.put(ResourceGroup(subscription_id=SUB, name="rg", location="eastus"))
        for name in ZONES:
            zone = OtherResource(
                resource_id=f"{GROUP}/providers/{TYPE}/{name}",
                type=TYPE,
                name=name,
                location="global",
            )
            await found.store(DnsZones).put(zone)
        await put(found, "TXT", "_acme-challenge.WWW", ("one",), ('a "b" \\ c', "ü"))
        await put(found, "A", "app", ("192.0.2.1",), ("192.0.2.2",))
        await put(found, "CNAME", "alias", ("App.example.test",))
        await put(found, "CNAME", "away", ("www.example.org.",))
        await put(found, "CNAME", "loop", ("loop.example.test",))
        await put(found, "TXT", "empty")
        await put(found, "TXT", "long", *(("y", *LONG[:-1], str(n) * 200) for n in range(9)))
        yield found


async def put(
    directory: Directory, kind: str, name: str, *records: tuple[str, ...], zone: str = ZONES[0]
) -> None:
    zone_id = f"{GROUP}/providers/{TYPE}/{zone}"
    new = DnsRecordSet(zone_id=zone_id, type=kind, name=name, ttl=60, records=records)
    await directory.store(DnsZones).change(zone_id, kind, name, lambda _: new)


@pytest.fixture
async def cloud(directory: Directory) -> AsyncIterator[Cloud]:
    async with running(answer_name=answer_names(directory)) as found:
        yield found


def shown(reply: dns.message.Message) -> list[str]:
    texts = (sorted(f"{each.name} {each.ttl} {item}" for item in each) for each in reply.answer)
    return [text for each in texts for text in each]


async def test_record_of_a_zone_is_answered_as_it_was_written(cloud: Cloud) -> None:
    reply = await cloud.ask("_acme-challenge.www.example.test", "TXT")
    strings = sorted(item.strings for each in reply.answer for item in each)
    assert strings == [(b'a "b" \\ c', "ü".encode()), (b"one",)]
    assert shown(await cloud.ask("app.EXAMPLE.test")) == [
        "app.EXAMPLE.test. 60 192.0.2.1",
        "app.EXAMPLE.test. 60 192.0.2.2",
    ]


async def test_changed_record_is_answered_at_once(cloud: Cloud, directory: Directory) -> None:
    name = "new.example.test"
    assert (await cloud.ask(name, "TXT")).rcode() == dns.rcode.NXDOMAIN
    await put(directory, "TXT", "new", ("value",))
    assert shown(await cloud.ask(name, "TXT")) == ['new.example.test. 60 "value"']
    await directory.store(DnsZones).change(
        f"{GROUP}/providers/{TYPE}/{ZONES[0]}", "TXT", "new", lambda _: None
    )
    assert (await cloud.ask(name, "TXT")).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("app.example.test", "TXT", "NOERROR"),
        ("www.example.test", "A", "NOERROR"),
        ("example.test", "A", "NOERROR"),
        ("empty.example.test", "TXT", "NXDOMAIN"),
        ("challenge.www.example.test", "TXT", "NXDOMAIN"),
        ("app.deep.example.test", "A", "NXDOMAIN"),
    ],
)
async def test_name_without_a_record_has_the_start_of_authority_of_its_zone(
    cloud: Cloud, name: str, kind: str, code: str
) -> None:
    reply = await cloud.ask(name, kind)
    assert (dns.rcode.to_text(reply.rcode()), reply.answer) == (code, [])
    zone = "deep.example.test." if "deep" in name else "example.test."
    assert [each.name.to_text() for each in reply.authority] == [zone]


async def test_alias_is_followed_within_the_zones(cloud: Cloud) -> None:
    assert shown(await cloud.ask("alias.example.test")) == [
        "alias.example.test. 60 App.example.test.",
        "App.example.test. 60 192.0.2.1",
        "App.example.test. 60 192.0.2.2",
    ]
    only = ["alias.example.test. 60 App.example.test."]
    assert shown(await cloud.ask("alias.example.test", "CNAME")) == only
    away = await cloud.ask("away.example.test")
    assert (shown(away), away.authority) == (["away.example.test. 60 www.example.org."], [])


async def test_alias_of_itself_is_followed_a_few_times_only(cloud: Cloud) -> None:
    reply = await cloud.ask("loop.example.test")
    assert {each.rdtype for each in reply.answer} == {dns.rdatatype.CNAME}
    assert len(reply.to_wire()) < 512


async def test_zone_has_its_servers_and_its_start_of_authority(cloud: Cloud) -> None:
    servers = shown(await cloud.ask("example.test", "NS"))
    assert servers[0] == "example.test. 172800 ns1-01.azure-dns.com."
    (soa,) = shown(await cloud.ask("example.test", "SOA"))
    assert soa.startswith("example.test. 3600 ns1-01.azure-dns.com. azuredns-hostmaster.")
    assert shown(await cloud.ask("app.example.test", "SOA")) == []


async def test_name_that_the_gateway_serves_belongs_to_no_zone(
    cloud: Cloud, directory: Directory
) -> None:
    await put(directory, "A", "@", ("192.0.2.66",), zone="graph.microsoft.com")
    assert shown(await cloud.ask("graph.microsoft.com")) == ["graph.microsoft.com. 5 10.96.7.7"]
    # A resolver of the pod could keep the address that follows the alias.
    await put(directory, "CNAME", "graph", ("Graph.microsoft.com.",))
    alias = ["graph.example.test. 60 Graph.microsoft.com."]
    assert shown(await cloud.ask("graph.example.test")) == alias


async def test_reserved_domain_belongs_to_no_zone(directory: Directory) -> None:
    running_ = running(answer_name=answer_names(directory), reserved=["deep.example.test"])
    await put(directory, "A", "app", ("192.0.2.66",), zone="deep.example.test")
    await put(directory, "CNAME", "inner", ("app.deep.example.test",))
    async with running_ as cloud:
        assert (await cloud.ask("app.deep.example.test")).rcode() == dns.rcode.REFUSED
        inner = shown(await cloud.ask("inner.example.test"))
        assert inner == ["inner.example.test. 60 app.deep.example.test."]


async def test_large_answer_is_truncated_over_udp_and_complete_over_tcp(cloud: Cloud) -> None:
    name = "long.example.test"
    for edns in (-1, 0):
        reply = await cloud.ask(name, "TXT", edns=edns)
        assert (bool(reply.flags & dns.flags.TC), reply.answer) == (True, [])
    complete = await cloud.ask(name, "TXT", tcp=True)
    assert len(shown(complete)) == 9
    assert len(complete.to_wire()) > 4096


async def test_name_outside_every_zone_is_refused(cloud: Cloud) -> None:
    assert (await cloud.ask("test")).rcode() == dns.rcode.REFUSED
    assert (await cloud.ask("badexample.test")).rcode() == dns.rcode.REFUSED
