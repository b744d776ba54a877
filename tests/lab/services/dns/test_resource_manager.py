"""DNS zones and record sets over HTTP: what Azure's clients send, conditions, roles and limits."""

from typing import Any

import pytest

from podpass.lab.services.dns import store
from tests.directory.resource_manager.harness import SUB

GROUP = f"{SUB}/resourceGroups/rg"
TYPE = "Microsoft.Network/dnsZones"
ZONES = f"{GROUP}/providers/{TYPE}"
ZONE = f"{ZONES}/example.test"
TXT = f"{ZONE}/TXT/_acme-challenge.www"
GLOBAL = {"location": "global"}
MANY_TEXTS = [{"value": ["x" * 255] * 16}, {"value": ["x" * 17]}]


def record_set(*values: str, ttl: int = 60) -> dict[str, Any]:
    """Return the body that the client of cert-manager sends."""
    records = [{"value": [value]} for value in values]
    return {"etag": "", "properties": {"TTL": ttl, "TXTRecords": records}}


@pytest.fixture(autouse=True)
async def zone(manager: Any) -> dict[str, Any]:
    await manager.group()
    status, body, _ = await manager.send("PUT", ZONE, GLOBAL)
    assert status == 201
    found: dict[str, Any] = body
    return found


async def test_zone_is_created_shown_listed_tagged_and_deleted(
    manager: Any, zone: dict[str, Any]
) -> None:
    assert (zone["id"], zone["name"], zone["type"]) == (ZONE, "example.test", TYPE)
    assert zone["location"] == "global"
    assert zone["properties"]["numberOfRecordSets"] == 2
    assert zone["properties"]["nameServers"][0] == "ns1-01.azure-dns.com."
    assert (await manager.send("GET", ZONE.replace("example", "EXAMPLE")))[1] == zone
    for path in (ZONES, f"{SUB}/providers/{TYPE}"):
        assert (await manager.send("GET", path))[1]["value"] == [zone]
    status, body, _ = await manager.send("PATCH", ZONE, {"tags": {"team": "web"}})
    assert (status, body["tags"]) == (200, {"team": "web"})
    assert body["etag"] != zone["etag"]
    listed = (await manager.send("GET", f"{GROUP}/resources"))[1]["value"]
    assert [one["id"] for one in listed] == [ZONE]
    assert [(await manager.send("DELETE", ZONE))[0] for _ in range(2)] == [200, 204]
    assert (await manager.send("GET", ZONE))[0] == 404


async def test_record_set_is_written_read_and_removed_as_by_cert_manager(manager: Any) -> None:
    assert await manager.refused("GET", TXT) == "404 NotFound"
    new = {"If-None-Match": "*"}
    status, body, _ = await manager.send("PUT", TXT, record_set("one"), headers=new)
    assert (status, body["id"], body["name"]) == (201, TXT, "_acme-challenge.www")
    assert body["type"] == f"{TYPE}/TXT"
    assert body["properties"]["fqdn"] == "_acme-challenge.www.example.test."
    assert body["properties"]["TXTRecords"] == [{"value": ["one"]}]
    assert body["properties"]["TTL"] == 60
    assert (await manager.send("GET", TXT))[1] == body
    same = {"If-Match": body["etag"]}
    status, changed, _ = await manager.send("PUT", TXT, record_set("one", "two"), headers=same)
    assert status == 200
    assert (await manager.send("DELETE", TXT, headers=same))[0] == 412
    same = {"If-Match": changed["etag"]}
    assert (await manager.send("DELETE", TXT, headers=same))[0] == 200
    assert (await manager.send("DELETE", TXT))[0] == 204
    actions = [one.action for one in await manager.directory.audit.list()]
    assert actions.count(f"{TYPE}/TXT/write") == 2
    assert actions.count(f"{TYPE}/TXT/delete") == 1


async def test_failed_precondition_changes_nothing(manager: Any) -> None:
    _, first, _ = await manager.send("PUT", TXT, record_set("one"))
    for condition in ({"If-None-Match": "*"}, {"If-Match": "other"}):
        status, body, _ = await manager.send("PUT", TXT, record_set("two"), headers=condition)
        assert (status, body["error"]["code"]) == (412, "PreconditionFailed")
    assert (await manager.send("GET", TXT))[1] == first
    missing = {"If-Match": first["etag"]}
    path = f"{ZONE}/TXT/missing"
    assert (await manager.send("PUT", path, record_set("one"), headers=missing))[0] == 412
    exists = {"If-None-Match": "*"}
    assert (await manager.send("PUT", ZONE, GLOBAL, headers=exists))[0] == 412


async def test_record_sets_of_all_types_are_listed_in_pages(manager: Any) -> None:
    bodies = {
        "A/www": {"TTL": 5, "ARecords": [{"ipv4Address": "192.0.2.1"}]},
        "AAAA/www": {"TTL": 5, "AAAARecords": [{"ipv6Address": "2001:DB8::1"}]},
        "CNAME/alias": {"TTL": 5, "CNAMERecord": {"cname": "www.example.test"}},
        "TXT/@": {"TTL": 5, "TXTRecords": [{"value": ["a", "b"]}], "metadata": {"k": "v"}},
    }
    for path, properties in bodies.items():
        status, body, _ = await manager.send("PUT", f"{ZONE}/{path}", {"properties": properties})
        assert status == 201
        assert body["properties"].items() >= {"TTL": 5}.items()
    _, listed, _ = await manager.send("GET", f"{ZONE}/recordsets")
    found = {one["id"].removeprefix(f"{ZONE}/"): one["properties"] for one in listed["value"]}
    assert list(found) == ["NS/@", "SOA/@", "TXT/@", "CNAME/alias", "A/www", "AAAA/www"]
    assert found["AAAA/www"]["AAAARecords"] == [{"ipv6Address": "2001:db8::1"}]
    assert found["CNAME/alias"]["CNAMERecord"] == {"cname": "www.example.test"}
    assert (found["TXT/@"]["metadata"], found["TXT/@"]["fqdn"]) == ({"k": "v"}, "example.test.")
    assert (await manager.send("GET", f"{ZONE}/all"))[1] == listed
    pages: list[list[str]] = []
    path = f"{ZONE}/recordsets?$top=1"
    while path:
        _, page, _ = await manager.send("GET", path, version=None if pages else "2018-05-01")
        pages.append(
            [one["name"] for one in page["value"] if one["type"][-3:] not in ("/NS", "SOA")]
        )
        path = page.get("nextLink", "").removeprefix("https://management.azure.com")
    assert pages == [["@"], ["alias"], ["www"], ["www"]]
    _, only, _ = await manager.send("GET", f"{ZONE}/A")
    assert [one["name"] for one in only["value"]] == ["www"]
    _, shown, _ = await manager.send("GET", ZONE)
    assert shown["properties"]["numberOfRecordSets"] == 6
    assert [(await manager.send("GET", f"{ZONE}/{kind}/@"))[0] for kind in ("NS", "SOA")] == [
        200,
        200,
    ]


async def test_update_keeps_omitted_properties(manager: Any) -> None:
    await manager.send("PUT", TXT, record_set("one"))
    status, body, _ = await manager.send("PATCH", TXT, {"properties": {"TTL": 7}})
    assert (status, body["properties"]["TTL"]) == (200, 7)
    assert body["properties"]["TXTRecords"] == [{"value": ["one"]}]
    body = {"properties": {"TTL": 7}}
    assert (await manager.send("PATCH", f"{ZONE}/TXT/missing", body))[0] == 404


@pytest.mark.parametrize(
    ("path", "properties", "message"),
    [
        ("TXT/a", {"TXTRecords": []}, "'TTL' must be"),
        ("TXT/a", {"TTL": True, "TXTRecords": []}, "'TTL' must be"),
        ("TXT/a", {"TTL": 2**31, "TXTRecords": []}, "'TTL' must be"),
        ("TXT/a", {"TTL": 1, "TXTRecords": [{"value": ["x" * 256]}]}, "at most 255 bytes"),
        ("TXT/a", {"TTL": 1, "TXTRecords": MANY_TEXTS}, "more than 4096 bytes in all"),
        ("TXT/a", {"TTL": 1, "TXTRecords": [{"value": []}]}, "one or more strings"),
        ("TXT/a", {"TTL": 1, "TXTRecords": [{"value": ["x"]}] * 2}, "a record twice"),
        (
            "A/a",
            {"TTL": 1, "ARecords": [{"ipv4Address": f"192.0.2.{n}"} for n in range(21)]},
            "more than 20 records",
        ),
        ("A/a", {"TTL": 1, "ARecords": [{"ipv4Address": "::1"}]}, "not an IPv4 address"),
        ("AAAA/a", {"TTL": 1, "AAAARecords": [{"ipv6Address": "fe80::1%2"}]}, "not an IPv6"),
        ("CNAME/a", {"TTL": 1, "CNAMERecord": {"cname": "not a host"}}, "not a host name"),
        (
            "CNAME/@",
            {"TTL": 1, "CNAMERecord": {"cname": "a.test"}},
            "CNAME record set cannot be at '@'",
        ),
        ("TXT/*", {"TTL": 1, "TXTRecords": []}, "no wildcards"),
        ("TXT/" + "a" * 64, {"TTL": 1, "TXTRecords": []}, "want '@', or labels"),
        ("TXT/a", {"TTL": 1, "targetResource": {"id": "/x"}}, "no alias record sets"),
    ],
    ids=[
        *("no-ttl", "ttl-true", "ttl-large", "string-long", "strings-long", "no-string", "twice"),
        *("many", "version", "scope", "host", "apex", "wildcard", "label", "alias"),
    ],
)
async def test_invalid_record_set_is_refused_and_not_stored(
    manager: Any, path: str, properties: dict[str, Any], message: str
) -> None:
    status, body, _ = await manager.send("PUT", f"{ZONE}/{path}", {"properties": properties})
    assert status in (400, 409)
    assert message in body["error"]["message"]
    assert (await manager.send("GET", f"{ZONE}/{path}"))[0] == 404


async def test_text_records_of_4096_bytes_together_are_stored(manager: Any) -> None:
    records = [MANY_TEXTS[0], {"value": ["x" * 16]}]
    body = {"properties": {"TTL": 1, "TXTRecords": records}}
    status, written, _ = await manager.send("PUT", f"{ZONE}/TXT/a", body)
    assert (status, written["properties"]["TXTRecords"]) == (201, records)


@pytest.mark.parametrize("path", ["TXT/a", "TXT", "NS", "SOA/@", "recordsets", "all"])
async def test_record_set_without_its_zone_names_the_missing_parent(
    manager: Any, path: str
) -> None:
    missing = f"{ZONES}/missing.test/{path}"
    requests: list[tuple[str, Any]] = [("GET", None)]
    if path == "TXT/a":
        requests += [("PUT", record_set("x")), ("PATCH", record_set("x")), ("DELETE", None)]
    for method, body in requests:
        status, answer, _ = await manager.send(method, missing, body)
        assert (status, answer["error"]["code"]) == (404, "ParentResourceNotFound")
        assert "'missing.test'" in answer["error"]["message"]


async def test_cname_is_the_only_record_set_of_its_name(manager: Any) -> None:
    alias = {"properties": {"TTL": 1, "CNAMERecord": {"cname": "a.test"}}}
    await manager.send("PUT", f"{ZONE}/CNAME/one", alias)
    status, body, _ = await manager.send("PUT", f"{ZONE}/TXT/ONE", record_set("x"))
    assert (status, body["error"]["code"]) == (409, "Conflict")
    assert body["error"]["message"].startswith("The name 'ONE' has a record set of another type")
    await manager.send("PUT", f"{ZONE}/TXT/two", record_set("x"))
    assert (await manager.send("PUT", f"{ZONE}/CNAME/two", alias))[0] == 409
    assert (await manager.send("PUT", f"{ZONE}/CNAME/one", alias))[0] == 200


async def test_full_zone_refuses_another_record_set(
    manager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_RECORD_SETS", 1)
    await manager.send("PUT", f"{ZONE}/TXT/a", record_set("x"))
    status, body, _ = await manager.send("PUT", f"{ZONE}/TXT/b", record_set("x"))
    assert (status, "at most 1 record sets" in body["error"]["message"]) == (400, True)
    assert (await manager.send("PUT", f"{ZONE}/TXT/a", record_set("y")))[0] == 200


@pytest.mark.parametrize(
    ("name", "body", "code"),
    [
        ("example", GLOBAL, "BadRequest"),
        ("a..test", GLOBAL, "BadRequest"),
        ("-a.test", GLOBAL, "BadRequest"),
        (".".join(["a" * 50] * 6), GLOBAL, "BadRequest"),
        ("a.test", {"location": "eastus"}, "LocationNotAvailableForResourceType"),
        ("a.test", {**GLOBAL, "properties": {"zoneType": "Private"}}, "BadRequest"),
    ],
    ids=["one-label", "empty-label", "hyphen", "long", "location", "private"],
)
async def test_invalid_zone_is_refused(
    manager: Any, name: str, body: dict[str, Any], code: str
) -> None:
    assert await manager.refused("PUT", f"{ZONES}/{name}", body) == f"400 {code}"
    assert (await manager.send("GET", f"{ZONES}/{name}"))[0] == 404


@pytest.mark.parametrize("name", ["example.test", "www.EXAMPLE.test", "a.b.example.test"])
async def test_zone_with_names_of_another_group_is_refused(manager: Any, name: str) -> None:
    await manager.group("other")
    path = f"{ZONES}/{name}".replace("/rg/", "/other/")
    assert await manager.refused("PUT", path, GLOBAL) == "409 Conflict"
    assert (await manager.send("GET", path))[0] == 404


async def test_zone_that_contains_a_zone_of_another_group_is_refused(manager: Any) -> None:
    await manager.group("other")
    inner = f"{ZONES}/deep.example.org"
    assert (await manager.send("PUT", inner, GLOBAL))[0] == 201
    path = f"{ZONES}/example.org".replace("/rg/", "/other/")
    assert (await manager.send("PUT", path, GLOBAL))[0] == 409
    # Names that only end or begin with the same letters, and zones of one group.
    other = f"{ZONES}/badexample.org".replace("/rg/", "/other/")
    assert (await manager.send("PUT", other, GLOBAL))[0] == 201
    assert (await manager.send("PUT", f"{ZONES}/example.org", GLOBAL))[0] == 201


async def test_role_is_required_for_each_operation(manager: Any) -> None:
    await manager.send("PUT", TXT, record_set("one"))
    await manager.add_caller("nobody")
    await manager.add_caller("reader", "Reader", ZONE)
    await manager.add_caller("writer", "DNS Zone Contributor", ZONE)
    await manager.add_caller("one-set", "DNS Zone Contributor", TXT)
    requests: tuple[tuple[str, str, Any], ...] = (
        *(("GET", path, None) for path in (ZONE, TXT, f"{ZONE}/recordsets", f"{ZONE}/TXT")),
        ("PUT", TXT, record_set("one")),
        ("PATCH", TXT, record_set("one")),
        ("PUT", f"{ZONE}/A/b", {"properties": {"TTL": 1}}),
        ("PUT", ZONE, GLOBAL),
        ("PUT", f"{ZONES}/other.test", GLOBAL),
        ("DELETE", TXT, None),
    )
    allowed = {}
    for caller in ("nobody", "reader", "writer", "one-set"):
        statuses = [
            (await manager.send(method, path, body, caller=caller))[0]
            for method, path, body in requests
        ]
        allowed[caller] = [status < 300 for status in statuses]
        assert set(statuses) <= {200, 201, 403}
        await manager.send("PUT", TXT, record_set("one"))
    no, yes = False, True
    assert allowed == {
        "nobody": [no] * 10,
        "reader": [yes] * 4 + [no] * 6,
        "writer": [yes] * 8 + [no, yes],
        "one-set": [no, yes, no, no, yes, yes, no, no, no, yes],
    }
    _, body, _ = await manager.send("PUT", TXT, record_set("one"), caller="nobody")
    assert f"no role that permits '{TYPE}/TXT/write'" in body["error"]["message"]


async def test_zone_is_deleted_with_its_record_sets_and_roles(manager: Any) -> None:
    await manager.send("PUT", TXT, record_set("one"))
    await manager.add_caller("writer", "DNS Zone Contributor", TXT)
    await manager.send("DELETE", GROUP)
    await manager.group()
    await manager.send("PUT", ZONE, GLOBAL)
    assert (await manager.send("GET", TXT))[0] == 404
    assert (await manager.send("PUT", TXT, record_set("one"), caller="writer"))[0] == 403
