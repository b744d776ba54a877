"""List requests in pages and chunks: all pages have the state of the first page."""

import asyncio
import json
from typing import Any

import pytest
import yaml

from kubeling.apiserver.storage import fairness
from kubeling.apiserver.storage.watch_cache import WatchCache

CORE = "/api/v1/namespaces/default"
MAPS = f"{CORE}/configmaps"
EVERYWHERE = "/api/v1/configmaps"
MERGE = "application/merge-patch+json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


def load_yaml(text: str) -> Any:
    """Parse YAML with libyaml: the parser in Python takes a second for a long list."""
    return yaml.load(text, Loader=yaml.CSafeLoader)


async def create_maps(live: Any, *names: str, **labels: str) -> None:
    for name in names:
        body = {"metadata": {"name": name, "labels": labels}, "data": {"k": "old"}}
        assert (await live.call("POST", MAPS, body)).status == 201


async def set_value(live: Any, name: str, value: str = "new") -> None:
    done = await live.call("PATCH", f"{MAPS}/{name}", {"data": {"k": value}}, content_type=MERGE)
    assert done.status == 200


def names_and_values(body: Any) -> list[tuple[str, str | None]]:
    return [
        (item["metadata"]["name"], item.get("data", {}).get("k"))
        for item in body["items"]
        if item["metadata"]["name"] != "kube-root-ca.crt"
    ]


async def remaining_pages(live: Any, path: str, first: Any, limit: int = 1) -> list[Any]:
    """Return the remaining pages of a list."""
    pages, token = [], first["metadata"].get("continue")
    sign = "&" if "?" in path else "?"
    while token:
        page = (await live.call("GET", f"{path}{sign}limit={limit}&continue={token}")).body
        pages.append(page)
        token = page["metadata"].get("continue")
    return pages


async def test_pages_show_the_state_of_the_first_page(live: Any) -> None:
    """Fails if later pages show the current state: objects would be missing or duplicated."""
    await create_maps(live, "a", "c", "d", "e")
    first = (await live.call("GET", f"{MAPS}?limit=1")).body
    await create_maps(live, "b")
    await set_value(live, "c")
    await live.call("DELETE", f"{MAPS}/d")
    await live.call("DELETE", f"{MAPS}/e")
    await create_maps(live, "e")
    await set_value(live, "e")
    pages = await remaining_pages(live, MAPS, first)
    found = [each for page in [first, *pages] for each in names_and_values(page)]
    assert found == [("a", "old"), ("c", "old"), ("d", "old"), ("e", "old")]
    assert {page["metadata"]["resourceVersion"] for page in [first, *pages]} == {
        first["metadata"]["resourceVersion"]
    }
    now = names_and_values((await live.call("GET", MAPS)).body)
    assert now == [("a", "old"), ("b", "old"), ("c", "new"), ("e", "new")]


async def test_watch_from_the_first_page_gets_later_changes(live: Any) -> None:
    await create_maps(live, "a", "b")
    first = (await live.call("GET", f"{MAPS}?limit=1")).body
    await create_maps(live, "c")
    at = first["metadata"]["resourceVersion"]
    seen = await live.call("GET", f"{MAPS}?watch=1&resourceVersion={at}&timeoutSeconds=1")
    events = [json.loads(line) for line in seen.text.splitlines()]
    assert [(each["type"], each["object"]["metadata"]["name"]) for each in events] == [
        ("ADDED", "c")
    ]


async def test_pages_continue_across_namespaces(live: Any) -> None:
    await live.call("POST", "/api/v1/namespaces", {"metadata": {"name": "default-two"}})
    await create_maps(live, "a", "b")
    whole = (await live.call("GET", EVERYWHERE)).body["items"]
    first = (await live.call("GET", f"{EVERYWHERE}?limit=2")).body
    pages = await remaining_pages(live, EVERYWHERE, first, 2)
    assert [item for page in [first, *pages] for item in page["items"]] == whole
    inside = (await live.call("GET", MAPS)).body["items"]
    assert {item["metadata"]["namespace"] for item in inside} == {"default"}


async def test_page_has_the_remaining_item_count(live: Any) -> None:
    await create_maps(live, "a", "b", "c")
    first = (await live.call("GET", f"{MAPS}?limit=2")).body["metadata"]
    assert first["remainingItemCount"] == 2  # with the ConfigMap of the cluster's CA
    selected = (await live.call("GET", f"{MAPS}?limit=2&labelSelector=!x")).body["metadata"]
    assert "remainingItemCount" not in selected
    assert selected["continue"]
    exact = (await live.call("GET", f"{MAPS}?limit=4")).body["metadata"]
    assert set(exact) == {"resourceVersion"}


async def test_expired_continue_token_is_refused_with_a_new_token(live: Any) -> None:
    await create_maps(live, "a", "b", "c")
    first = (await live.call("GET", f"{MAPS}?limit=1")).body
    token = first["metadata"]["continue"]
    await create_maps(live, "d")
    _clear_watch_cache(live)
    await create_maps(live, "bb")
    refused = await live.call("GET", f"{MAPS}?limit=9&continue={token}")
    assert (refused.status, refused.body["reason"]) == (410, "Expired")
    new_token = refused.body["metadata"]["continue"]
    later = (await live.call("GET", f"{MAPS}?limit=1&continue={new_token}")).body
    assert names_and_values(later) == [("b", "old")]
    assert int(later["metadata"]["resourceVersion"]) == live.cluster.store.revision
    pages = await remaining_pages(live, MAPS, later)
    assert [each for page in pages for each in names_and_values(page)] == [
        ("bb", "old"),
        ("c", "old"),
        ("d", "old"),
    ]


async def test_pages_of_an_earlier_state_expire_after_minutes(live: Any) -> None:
    """Fails if only changes of the listed kind count, or if frequent changes keep a token valid."""
    now, store = 0.0, live.cluster.store
    store.watch_cache = WatchCache(store.revision, clock=lambda: now)
    await create_maps(live, "a", "b", "c")
    first = (await live.call("GET", f"{MAPS}?limit=1")).body
    following = f"{MAPS}?limit=9&continue={first['metadata']['continue']}"
    revision = first["metadata"]["resourceVersion"]
    exact = f"{MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact&limit=9"
    secrets = MAPS.replace("configmaps", "secrets")
    for number in range(371):
        now += 1
        created = await live.call("POST", secrets, {"metadata": {"name": f"s-{number}"}})
        assert created.status == 201
        if number == 298:
            assert [(await live.call("GET", each)).status for each in (following, exact)] == [
                200
            ] * 2
    for page in (following, exact):
        refused = await live.call("GET", page)
        assert (refused.status, refused.body["reason"]) == (410, "Expired")


def _clear_watch_cache(live: Any) -> None:
    """Drop all events of the watch cache."""
    live.cluster.store.watch_cache = WatchCache(live.cluster.store.revision)


async def test_exact_version_lists_the_earlier_state(live: Any) -> None:
    await create_maps(live, "a", "b")
    at = live.cluster.store.revision
    await set_value(live, "a")
    await live.call("DELETE", f"{MAPS}/b")
    for query in ("&resourceVersionMatch=Exact", "&limit=9"):
        then = (await live.call("GET", f"{MAPS}?resourceVersion={at}{query}")).body
        assert names_and_values(then) == [("a", "old"), ("b", "old")]
        assert then["metadata"]["resourceVersion"] == str(at)
    for query in ("", "&resourceVersionMatch=NotOlderThan"):
        now = (await live.call("GET", f"{MAPS}?resourceVersion={at}{query}")).body
        assert names_and_values(now) == [("a", "new")]
    _clear_watch_cache(live)
    await set_value(live, "a", "newer")
    gone = await live.call("GET", f"{MAPS}?resourceVersion={at}&resourceVersionMatch=Exact")
    assert (gone.status, gone.body["reason"]) == (410, "Expired")
    assert "continue" not in gone.body["metadata"]


async def test_version_zero_ignores_the_limit(live: Any) -> None:
    await create_maps(live, "a", "b", "c")
    found = (await live.call("GET", f"{MAPS}?resourceVersion=0&limit=1")).body
    assert len(found["items"]) == 4
    assert "continue" not in found["metadata"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("resourceVersionMatch=Exact", "resourceVersionMatch"),
        ("resourceVersion=1&resourceVersionMatch=Maybe", "resourceVersionMatch"),
        ("resourceVersion=0&resourceVersionMatch=Exact", "resourceVersionMatch"),
        ("sendInitialEvents=true", "sendInitialEvents"),
        ("watch=1&resourceVersionMatch=NotOlderThan", "resourceVersionMatch"),
        ("watch=1&sendInitialEvents=true&resourceVersionMatch=Exact", "resourceVersionMatch"),
    ],
)
async def test_contradicting_list_options_are_refused(live: Any, query: str, field: str) -> None:
    response = await live.call("GET", f"{MAPS}?{query}")
    assert (response.status, response.body["reason"]) == (422, "Invalid")
    assert response.body["details"]["causes"][0]["field"] == field


@pytest.mark.parametrize(
    "token", ["nonsense", "e30", "eyJydiI6MH0", "eyJydiI6LTIsInN0YXJ0IjpbIiIsIiJdfQ"]
)
async def test_forged_continue_token_is_refused(live: Any, token: str) -> None:
    response = await live.call("GET", f"{MAPS}?limit=1&continue={token}")
    assert (response.status, response.body["reason"]) == (400, "BadRequest")


async def test_continue_token_with_resource_version_is_refused(live: Any) -> None:
    await create_maps(live, "a", "b")
    token = (await live.call("GET", f"{MAPS}?limit=1")).body["metadata"]["continue"]
    response = await live.call("GET", f"{MAPS}?limit=1&continue={token}&resourceVersion=1")
    assert response.status == 400


async def _store_many(live: Any, count: int) -> list[str]:
    """Store many objects directly, without the API."""
    from kubeling.apiserver.kinds import kind_by_name as kind_named

    names = [f"m-{number:04}" for number in range(count)]
    for name in names:
        metadata = {"name": name, "namespace": "default", "uid": name}
        metadata["creationTimestamp"] = "2026-01-01T00:00:00Z"
        obj = {"metadata": metadata, "data": {"text": "ü" * 100}}
        live.cluster.store.create(kind_named("ConfigMap"), obj)
    return names


@pytest.mark.parametrize(
    ("accept", "member"),
    [
        ("application/json", "items"),
        (METADATA, "items"),
        (TABLE, "rows"),
        ("application/yaml", "items"),
    ],
)
@pytest.mark.parametrize("pretty", ["", "?pretty=true"])
async def test_long_list_is_sent_complete_in_chunks(
    live: Any, accept: str, member: str, pretty: str
) -> None:
    names = await _store_many(live, 1500)
    response = await live.call("GET", MAPS + pretty, accept=accept)
    assert "content-length" not in response.headers
    body = load_yaml(response.text) if "yaml" in accept else response.body
    found = [(each.get("object") or each)["metadata"]["name"] for each in body[member]]
    assert found == ["kube-root-ca.crt", *names]
    alone = (
        await live.call("GET", f"{MAPS}?fieldSelector=metadata.name=m-0001", accept=accept)
    ).text
    one = (load_yaml(alone) if "yaml" in accept else json.loads(alone))[member]
    assert one == [each for each in body[member] if "m-0001" in json.dumps(each)]


@pytest.mark.parametrize("accept", ["application/json", METADATA, TABLE, "application/yaml"])
async def test_empty_list_has_the_list_kind(live: Any, accept: str) -> None:
    response = await live.call("GET", f"{CORE}/pods", accept=accept)
    body = yaml.safe_load(response.text)
    assert body["rows" if accept == TABLE else "items"] == []


async def _loop_iterations(doing: asyncio.Task[Any]) -> int:
    """Count the event-loop iterations until a task is done."""
    iterations = 0
    while not doing.done():
        await asyncio.sleep(0)
        iterations += 1
    return iterations


@pytest.mark.parametrize("query", ["", "?labelSelector=!nope"])
@pytest.mark.parametrize("accept", ["application/json", TABLE])
async def test_long_list_yields_to_other_requests(
    live: Any, monkeypatch: pytest.MonkeyPatch, query: str, accept: str
) -> None:
    """Fails if a list is filtered or encoded without yielding: other requests would wait for its end."""
    await _store_many(live, 2000)
    quick = await _loop_iterations(
        asyncio.create_task(live.call("GET", MAPS + query, accept=accept))
    )
    monkeypatch.setattr(fairness, "_SLICE_SECONDS", 0.0)  # yield after each object
    listing = asyncio.create_task(live.call("GET", MAPS + query, accept=accept))
    iterations = await _loop_iterations(listing)
    assert listing.result().status == 200
    assert iterations > max(quick, 2000)


async def test_deletion_of_a_collection_yields_to_other_requests(live: Any) -> None:
    await _store_many(live, 300)
    deleting = asyncio.create_task(live.call("DELETE", f"{MAPS}?labelSelector=!nope"))
    iterations = await _loop_iterations(deleting)
    assert len(deleting.result().body["items"]) == 301
    assert iterations > 300
