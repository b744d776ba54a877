"""Watch requests over HTTP: start revision, events and end."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

MAPS = "/api/v1/namespaces/default/configmaps"


class Following:
    """An open watch; `next` returns its next event."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def next(self) -> tuple[str, dict[str, Any]]:
        line = await asyncio.wait_for(self.answer.content.readline(), 10)
        assert line, "the watch has ended"
        event = json.loads(line)
        return event["type"], event["object"]

    async def named(self) -> tuple[str, str]:
        kind, obj = await self.next()
        return kind, obj["metadata"]["name"]


@asynccontextmanager
async def following(live: Any, path: str, accept: str = "") -> AsyncIterator[Following]:
    headers = {"authorization": "Bearer admin-token"} | ({"accept": accept} if accept else {})
    async with live.session.get(live.server + path, headers=headers) as answer:
        assert answer.status == 200
        yield Following(answer)


async def put(live: Any, name: str, **labels: str) -> str:
    body = {"metadata": {"name": name, "labels": labels}}
    made = await live.call("POST", MAPS, body)
    assert made.status == 201, made.text
    return str(made.body["metadata"]["resourceVersion"])


async def relabel(live: Any, name: str, **labels: str | None) -> None:
    done = await live.call(
        "PATCH",
        f"{MAPS}/{name}",
        {"metadata": {"labels": labels}},
        content_type="application/merge-patch+json",
    )
    assert done.status == 200


async def test_watch_resumes_after_its_revision(live: Any) -> None:
    first = await put(live, "a")
    await put(live, "b")
    async with following(live, f"{MAPS}?watch=1&resourceVersion={first}") as watch:
        assert await watch.named() == ("ADDED", "b")
        await relabel(live, "a", x="y")
        assert await watch.named() == ("MODIFIED", "a")
        await live.call("DELETE", f"{MAPS}/b")
        assert await watch.named() == ("DELETED", "b")


async def test_watch_without_a_revision_starts_with_the_current_state(live: Any) -> None:
    await put(live, "a")
    async with following(live, f"{MAPS}?watch=true") as watch:
        names = {(await watch.named())[1] for _ in range(2)}
        assert names == {"a", "kube-root-ca.crt"}
        await put(live, "b")
        assert await watch.named() == ("ADDED", "b")


async def test_revision_from_before_a_restart_is_expired(serve: Any) -> None:
    """Fails if the watch resumes: it would miss the events before the restart without an error."""
    live = await serve()
    old = await put(live, "a")
    await put(live, "b")
    live.cluster.drain()
    live.cluster.store.close()
    again = await serve()
    answer = await again.call("GET", f"{MAPS}?watch=1&resourceVersion={old}&timeoutSeconds=1")
    event = json.loads(answer.text)
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    listed = await again.call("GET", MAPS)
    assert [item["metadata"]["name"] for item in listed.body["items"]] == [
        "a",
        "b",
        "kube-root-ca.crt",
    ]
    current = listed.body["metadata"]["resourceVersion"]
    async with following(again, f"{MAPS}?watch=1&resourceVersion={current}") as watch:
        await put(again, "c")
        assert await watch.named() == ("ADDED", "c")


async def test_revision_above_the_current_one_is_refused(live: Any) -> None:
    answer = await live.call("GET", f"{MAPS}?watch=1&resourceVersion=999999")
    assert answer.status == 504
    assert answer.body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_object_that_starts_or_stops_matching_is_added_or_deleted(live: Any) -> None:
    start = await put(live, "a", app="x")
    path = f"{MAPS}?watch=1&resourceVersion={start}&labelSelector=app%3Dy"
    async with following(live, path) as watch:
        await relabel(live, "a", app="y")
        assert await watch.named() == ("ADDED", "a")
        await relabel(live, "a", more="z")
        assert await watch.named() == ("MODIFIED", "a")
        await relabel(live, "a", app="x")
        kind, gone = await watch.next()
        assert (kind, gone["metadata"]["labels"]["app"]) == ("DELETED", "y")
        assert int(gone["metadata"]["resourceVersion"]) == live.cluster.store.revision


async def test_initial_events_end_with_an_annotated_bookmark(live: Any) -> None:
    await put(live, "a")
    query = (
        "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    )
    async with following(live, f"{MAPS}?{query}") as watch:
        assert await watch.named() == ("ADDED", "a")
        assert await watch.named() == ("ADDED", "kube-root-ca.crt")
        kind, mark = await watch.next()
        assert kind == "BOOKMARK"
        assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert int(mark["metadata"]["resourceVersion"]) == live.cluster.store.revision


async def test_initial_events_need_resource_version_match(live: Any) -> None:
    answer = await live.call("GET", f"{MAPS}?watch=1&sendInitialEvents=true")
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")


async def test_watch_ends_at_its_timeout_with_a_bookmark(live: Any) -> None:
    rv = await put(live, "a")
    answer = await live.call(
        "GET", f"{MAPS}?watch=1&resourceVersion={rv}&timeoutSeconds=1&allowWatchBookmarks=true"
    )
    assert [json.loads(line)["type"] for line in answer.text.splitlines()] == ["BOOKMARK"]


async def test_watched_table_has_column_definitions_once(live: Any) -> None:
    rv = await put(live, "a")
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    async with following(live, f"{MAPS}?watch=1&resourceVersion={rv}", accept) as watch:
        await put(live, "b")
        await put(live, "c")
        _, first = await watch.next()
        _, second = await watch.next()
    assert first["columnDefinitions"][0]["name"] == "Name"
    assert second["columnDefinitions"] is None
    assert [row["cells"][0] for table in (first, second) for row in table["rows"]] == ["b", "c"]


async def test_watch_of_one_namespace_gets_no_events_of_others(live: Any) -> None:
    rv = await put(live, "a")
    async with following(live, f"{MAPS}?watch=1&resourceVersion={rv}") as watch:
        other = "/api/v1/namespaces/kube-system/configmaps"
        await live.call("POST", other, {"metadata": {"name": "elsewhere"}})
        await put(live, "here")
        assert await watch.named() == ("ADDED", "here")


async def test_drain_ends_every_watch(live: Any) -> None:
    async with following(live, f"{MAPS}?watch=1&resourceVersion=0") as watch:
        await watch.next()
        live.cluster.drain()
        assert await asyncio.wait_for(watch.answer.content.read(), 5) == b""
