"""Lists in pages and in pieces: one state from the first page to the last, whoever writes meanwhile."""

import asyncio
import json
from typing import Any

import pytest
import yaml

from podpass.kubernetes.apiserver.storage import fairness
from podpass.kubernetes.apiserver.storage.watch_cache import History

CORE = "/api/v1/namespaces/default"
MAPS = f"{CORE}/configmaps"
EVERYWHERE = "/api/v1/configmaps"
MERGE = "application/merge-patch+json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


async def put(live: Any, *names: str, **labels: str) -> None:
    for name in names:
        body = {"metadata": {"name": name, "labels": labels}, "data": {"k": "old"}}
        assert (await live.call("POST", MAPS, body)).status == 201


async def change(live: Any, name: str, value: str = "new") -> None:
    done = await live.call("PATCH", f"{MAPS}/{name}", {"data": {"k": value}}, content_type=MERGE)
    assert done.status == 200


def named(body: Any) -> list[tuple[str, str | None]]:
    return [
        (item["metadata"]["name"], item.get("data", {}).get("k"))
        for item in body["items"]
        if item["metadata"]["name"] != "kube-root-ca.crt"
    ]


async def rest(live: Any, path: str, first: Any, limit: int = 1) -> list[Any]:
    """Give the other pages of a list."""
    pages, token = [], first["metadata"].get("continue")
    sign = "&" if "?" in path else "?"
    while token:
        page = (await live.call("GET", f"{path}{sign}limit={limit}&continue={token}")).body
        pages.append(page)
        token = page["metadata"].get("continue")
    return pages


async def test_pages_are_of_one_state_while_others_write(live: Any) -> None:
    """Fails if later pages show the state of now: what moved past the cursor would be lost or doubled."""
    await put(live, "a", "c", "d", "e")
    first = (await live.call("GET", f"{MAPS}?limit=1")).body
    await put(live, "b")
    await change(live, "c")
    await live.call("DELETE", f"{MAPS}/d")
    await live.call("DELETE", f"{MAPS}/e")
    await put(live, "e")
    await change(live, "e")
    pages = await rest(live, MAPS, first)
    found = [each for page in [first, *pages] for each in named(page)]
    assert found == [("a", "old"), ("c", "old"), ("d", "old"), ("e", "old")]
    assert {page["metadata"]["resourceVersion"] for page in [first, *pages]} == {
        first["metadata"]["resourceVersion"]
    }
    now = named((await live.call("GET", MAPS)).body)
    assert now == [("a", "old"), ("b", "old"), ("c", "new"), ("e", "new")]


async def test_a_watch_from_the_first_page_sees_what_came_since(live: Any) -> None:
    await put(live, "a", "b")
    first = (await live.call("GET", f"{MAPS}?limit=1")).body
    await put(live, "c")
    at = first["metadata"]["resourceVersion"]
    seen = await live.call("GET", f"{MAPS}?watch=1&resourceVersion={at}&timeoutSeconds=1")
    events = [json.loads(line) for line in seen.text.splitlines()]
    assert [(each["type"], each["object"]["metadata"]["name"]) for each in events] == [
        ("ADDED", "c")
    ]


async def test_pages_go_on_across_namespaces(live: Any) -> None:
    await live.call("POST", "/api/v1/namespaces", {"metadata": {"name": "default-two"}})
    await put(live, "a", "b")
    whole = (await live.call("GET", EVERYWHERE)).body["items"]
    first = (await live.call("GET", f"{EVERYWHERE}?limit=2")).body
    pages = await rest(live, EVERYWHERE, first, 2)
    assert [item for page in [first, *pages] for item in page["items"]] == whole
    inside = (await live.call("GET", MAPS)).body["items"]
    assert {item["metadata"]["namespace"] for item in inside} == {"default"}


async def test_a_page_says_how_many_come_after_it(live: Any) -> None:
    await put(live, "a", "b", "c")
    first = (await live.call("GET", f"{MAPS}?limit=2")).body["metadata"]
    assert first["remainingItemCount"] == 2  # and the cluster's own
    selected = (await live.call("GET", f"{MAPS}?limit=2&labelSelector=!x")).body["metadata"]
    assert "remainingItemCount" not in selected
    assert selected["continue"]
    exact = (await live.call("GET", f"{MAPS}?limit=4")).body["metadata"]
    assert set(exact) == {"resourceVersion"}


async def test_an_expired_token_brings_one_that_goes_on(live: Any) -> None:
    await put(live, "a", "b", "c")
    first = (await live.call("GET", f"{MAPS}?limit=1")).body
    token = first["metadata"]["continue"]
    await put(live, "d")
    _forget(live)
    await put(live, "bb")
    refused = await live.call("GET", f"{MAPS}?limit=9&continue={token}")
    assert (refused.status, refused.body["reason"]) == (410, "Expired")
    go_on = refused.body["metadata"]["continue"]
    later = (await live.call("GET", f"{MAPS}?limit=1&continue={go_on}")).body
    assert named(later) == [("b", "old")]
    assert int(later["metadata"]["resourceVersion"]) == live.cluster.store.revision
    pages = await rest(live, MAPS, later)
    assert [each for page in pages for each in named(page)] == [
        ("bb", "old"),
        ("c", "old"),
        ("d", "old"),
    ]


def _forget(live: Any) -> None:
    """Let the window of changes begin now."""
    live.cluster.store.history = History(live.cluster.store.revision)


async def test_an_exact_version_is_listed_as_it_was(live: Any) -> None:
    await put(live, "a", "b")
    at = live.cluster.store.revision
    await change(live, "a")
    await live.call("DELETE", f"{MAPS}/b")
    for query in ("&resourceVersionMatch=Exact", "&limit=9"):
        then = (await live.call("GET", f"{MAPS}?resourceVersion={at}{query}")).body
        assert named(then) == [("a", "old"), ("b", "old")]
        assert then["metadata"]["resourceVersion"] == str(at)
    for query in ("", "&resourceVersionMatch=NotOlderThan"):
        now = (await live.call("GET", f"{MAPS}?resourceVersion={at}{query}")).body
        assert named(now) == [("a", "new")]
    _forget(live)
    await change(live, "a", "newer")
    gone = await live.call("GET", f"{MAPS}?resourceVersion={at}&resourceVersionMatch=Exact")
    assert (gone.status, gone.body["reason"]) == (410, "Expired")
    assert "continue" not in gone.body["metadata"]


async def test_of_version_zero_all_is_sent_whatever_the_limit(live: Any) -> None:
    await put(live, "a", "b", "c")
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
async def test_options_that_contradict_each_other_are_refused(
    live: Any, query: str, field: str
) -> None:
    answer = await live.call("GET", f"{MAPS}?{query}")
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")
    assert answer.body["details"]["causes"][0]["field"] == field


@pytest.mark.parametrize(
    "token", ["nonsense", "e30", "eyJydiI6MH0", "eyJydiI6LTIsInN0YXJ0IjpbIiIsIiJdfQ"]
)
async def test_a_token_that_was_made_up_is_refused(live: Any, token: str) -> None:
    answer = await live.call("GET", f"{MAPS}?limit=1&continue={token}")
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")


async def test_a_token_and_a_version_do_not_go_together(live: Any) -> None:
    await put(live, "a", "b")
    token = (await live.call("GET", f"{MAPS}?limit=1")).body["metadata"]["continue"]
    answer = await live.call("GET", f"{MAPS}?limit=1&continue={token}&resourceVersion=1")
    assert answer.status == 400


async def _fill(live: Any, count: int) -> list[str]:
    """Store many objects at once, past the API."""
    from podpass.kubernetes.apiserver.kinds import named as kind_named

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
async def test_a_long_list_comes_in_pieces_and_is_whole(
    live: Any, accept: str, member: str, pretty: str
) -> None:
    names = await _fill(live, 1500)
    answer = await live.call("GET", MAPS + pretty, accept=accept)
    assert "content-length" not in answer.headers
    body = yaml.safe_load(answer.text) if "yaml" in accept else answer.body
    found = [(each.get("object") or each)["metadata"]["name"] for each in body[member]]
    assert found == ["kube-root-ca.crt", *names]
    alone = (
        await live.call("GET", f"{MAPS}?fieldSelector=metadata.name=m-0001", accept=accept)
    ).text
    one = (yaml.safe_load(alone) if "yaml" in accept else json.loads(alone))[member]
    assert one == [each for each in body[member] if "m-0001" in json.dumps(each)]


@pytest.mark.parametrize("accept", ["application/json", METADATA, TABLE, "application/yaml"])
async def test_an_empty_list_is_a_list(live: Any, accept: str) -> None:
    answer = await live.call("GET", f"{CORE}/pods", accept=accept)
    body = yaml.safe_load(answer.text)
    assert body["rows" if accept == TABLE else "items"] == []


async def _turns(doing: asyncio.Task[Any]) -> int:
    """Count how often the loop turns until something is done."""
    turns = 0
    while not doing.done():
        await asyncio.sleep(0)
        turns += 1
    return turns


@pytest.mark.parametrize("query", ["", "?labelSelector=!nope"])
@pytest.mark.parametrize("accept", ["application/json", TABLE])
async def test_others_have_their_turns_while_a_long_list_is_written(
    live: Any, monkeypatch: pytest.MonkeyPatch, query: str, accept: str
) -> None:
    """Fails if a list is tested or written in one go: all others would wait for its end."""
    await _fill(live, 2000)
    quick = await _turns(asyncio.create_task(live.call("GET", MAPS + query, accept=accept)))
    monkeypatch.setattr(fairness, "_TURN_SECONDS", 0.0)  # each object is as much as is done at once
    listing = asyncio.create_task(live.call("GET", MAPS + query, accept=accept))
    turns = await _turns(listing)
    assert listing.result().status == 200
    assert turns > max(quick, 2000)


async def test_others_have_their_turns_while_a_collection_is_deleted(live: Any) -> None:
    await _fill(live, 300)
    deleting = asyncio.create_task(live.call("DELETE", f"{MAPS}?labelSelector=!nope"))
    turns = await _turns(deleting)
    assert len(deleting.result().body["items"]) == 301
    assert turns > 300
