"""Private DNS zones over HTTP: record sets and links, as external-dns, cert-manager and `az` ask for them."""

from typing import Any

import pytest

from podpass.lab.services.dns.store import DnsZones
from tests.directory.resource_manager.harness import SUB

TYPE = "Microsoft.Network/privateDnsZones"
ZONES = f"{SUB}/resourceGroups/rg/providers/{TYPE}"
ZONE = f"{ZONES}/example.internal"
LINK = f"{ZONE}/virtualNetworkLinks/main"
NETWORK = f"{SUB}/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/main"
GLOBAL = {"location": "global"}
LINKED = {**GLOBAL, "properties": {"virtualNetwork": {"id": NETWORK}}}


@pytest.fixture(autouse=True)
async def zone(manager: Any) -> dict[str, Any]:
    await manager.group()
    status, body, _ = await manager.send("PUT", ZONE, GLOBAL)
    assert status == 201
    found: dict[str, Any] = body
    return found


async def test_private_zone_is_created_shown_listed_tagged_and_deleted(
    manager: Any, zone: dict[str, Any]
) -> None:
    assert (zone["id"], zone["type"], zone["location"]) == (ZONE, TYPE, "global")
    assert zone["properties"]["numberOfRecordSets"] == 1
    for path in (ZONES, f"{SUB}/providers/{TYPE}"):
        assert (await manager.send("GET", path))[1]["value"] == [zone]
    stale = {"If-Match": "stale"}
    assert (await manager.send("PATCH", ZONE, {"tags": {}}, headers=stale))[0] == 412
    _, body, _ = await manager.send("PATCH", ZONE, {"tags": {"team": "web"}})
    assert body["tags"] == {"team": "web"}
    assert body["etag"] != zone["etag"]
    assert [(await manager.send("DELETE", ZONE))[0] for _ in range(2)] == [200, 204]


async def test_record_sets_have_the_members_of_private_zones(manager: Any) -> None:
    record = {"properties": {"ttl": 300, "aRecords": [{"ipv4Address": "10.0.0.4"}]}}
    status, body, _ = await manager.send("PUT", f"{ZONE}/A/web", record)
    assert (status, body["type"]) == (201, f"{TYPE}/A")
    assert body["properties"]["aRecords"] == [{"ipv4Address": "10.0.0.4"}]
    assert (body["properties"]["ttl"], body["properties"]["fqdn"]) == (300, "web.example.internal.")
    soa, listed = (await manager.send("GET", f"{ZONE}/ALL"))[1]["value"]
    assert (soa["name"], soa["type"]) == ("@", f"{TYPE}/SOA")
    assert soa["properties"]["soaRecord"]["minimumTtl"] == 300
    assert listed == body
    changed: dict[str, Any] = {"properties": {"aRecords": []}}
    etag = {"If-Match": body["etag"]}
    assert (await manager.send("PATCH", f"{ZONE}/A/web", changed, headers=etag))[0] == 200
    assert (await manager.send("DELETE", f"{ZONE}/A/web", headers=etag))[0] == 412
    assert (await manager.send("DELETE", f"{ZONE}/A/web"))[0] == 200
    # The members of public zones are not those of private zones.
    status, body, _ = await manager.send("PUT", f"{ZONE}/A/web", {"properties": {"ARecords": []}})
    assert (status, "TTL" in body["error"]["message"]) == (400, True)


async def test_zone_with_a_link_is_deleted_only_after_the_link(manager: Any) -> None:
    status, body, _ = await manager.send("PUT", LINK, LINKED)
    assert (status, body["id"]) == (201, LINK)
    assert body["type"] == f"{TYPE}/virtualNetworkLinks"
    assert body["properties"]["registrationEnabled"] is False
    assert (await manager.send("GET", f"{ZONE}/virtualNetworkLinks"))[1]["value"] == [body]
    shown = (await manager.send("GET", ZONE))[1]["properties"]
    assert shown["numberOfVirtualNetworkLinks"] == 1
    assert await manager.refused("DELETE", ZONE) == "409 CannotDeleteResource"
    assert [(await manager.send("DELETE", path))[0] for path in (LINK, ZONE)] == [200, 200]
    assert await manager.refused("PUT", LINK, LINKED) == "404 ParentResourceNotFound"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{ZONES}/internal", GLOBAL),
        (f"{ZONES}/other.internal", {"location": "eastus"}),
        (f"{ZONE}/virtualNetworkLinks/-", LINKED),
        (LINK, {**GLOBAL, "properties": {"virtualNetwork": {"id": "/subscriptions/s"}}}),
        (LINK, {**LINKED, "location": "eastus"}),
    ],
    ids=["one-label", "region", "link-name", "network", "link-region"],
)
async def test_invalid_zone_or_link_is_refused(manager: Any, path: str, body: Any) -> None:
    assert (await manager.send("PUT", path, body))[0] == 400
    assert (await manager.send("GET", path))[0] == 404


async def test_role_for_private_zones_does_not_reach_public_zones(manager: Any) -> None:
    await manager.add_caller("dns", "Private DNS Zone Contributor", SUB)
    assert (await manager.send("PUT", LINK, LINKED, caller="dns"))[0] == 201
    public = ZONE.replace("privateDnsZones", "dnsZones")
    assert (await manager.send("PUT", public, GLOBAL, caller="dns"))[0] == 403


async def test_records_of_a_private_zone_are_not_resolved_and_reserve_no_name(manager: Any) -> None:
    store = manager.directory.store(DnsZones)
    assert await store.look_up("web.example.internal") is None
    public = ZONE.replace("privateDnsZones", "dnsZones")
    assert (await manager.send("PUT", public, GLOBAL))[0] == 201
