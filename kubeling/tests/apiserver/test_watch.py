"""Watch requests over HTTP: start revision, events and end."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

MAPS = "/api/v1/namespaces/default/configmaps"


class OpenWatch:
    """An open watch; `next` returns its next event."""

    def __init__(self, response: Any) -> None:
        self.response = response

    async def next(self) -> tuple[str, dict[str, Any]]:
        line = await asyncio.wait_for(self.response.content.readline(), 10)
        assert line, "the watch has ended"
        event = json.loads(line)
        return event["type"], event["object"]

    async def next_name(self) -> tuple[str, str]:
        kind, obj = await self.next()
        return kind, obj["metadata"]["name"]


@asynccontextmanager
async def open_watch(live: Any, path: str, accept: str = "") -> AsyncIterator[OpenWatch]:
    headers = {"authorization": "Bearer admin-token"} | ({"accept": accept} if accept else {})
    async with live.session.get(live.server + path, headers=headers) as response:
        assert response.status == 200
        yield OpenWatch(response)


async def create_map(live: Any, name: str, **labels: str) -> str:
    body = {"metadata": {"name": name, "labels": labels}}
    made = await live.call("POST", MAPS, body)
    assert made.status == 201, made.text
    return str(made.body["metadata"]["resourceVersion"])


async def set_labels(live: Any, name: str, **labels: str | None) -> None:
    done = await live.call(
        "PATCH",
        f"{MAPS}/{name}",
        {"metadata": {"labels": labels}},
        content_type="application/merge-patch+json",
    )
    assert done.status == 200


async def test_watch_resumes_after_its_revision(live: Any) -> None:
    first = await create_map(live, "a")
    await create_map(live, "b")
    async with open_watch(live, f"{MAPS}?watch=1&resourceVersion={first}") as watch:
        assert await watch.next_name() == ("ADDED", "b")
        await set_labels(live, "a", x="y")
        assert await watch.next_name() == ("MODIFIED", "a")
        await live.call("DELETE", f"{MAPS}/b")
        assert await watch.next_name() == ("DELETED", "b")


async def test_watch_without_a_revision_starts_with_the_current_state(live: Any) -> None:
    await create_map(live, "a")
    async with open_watch(live, f"{MAPS}?watch=true") as watch:
        names = {(await watch.next_name())[1] for _ in range(2)}
        assert names == {"a", "kube-root-ca.crt"}
        await create_map(live, "b")
        assert await watch.next_name() == ("ADDED", "b")


async def test_revision_from_before_a_restart_is_expired(serve: Any) -> None:
    """Fails if the watch resumes: it would miss the events before the restart without an error."""
    live = await serve()
    old = await create_map(live, "a")
    await create_map(live, "b")
    live.cluster.drain()
    live.cluster.store.close()
    again = await serve()
    response = await again.call("GET", f"{MAPS}?watch=1&resourceVersion={old}&timeoutSeconds=1")
    event = json.loads(response.text)
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    listed = await again.call("GET", MAPS)
    assert [item["metadata"]["name"] for item in listed.body["items"]] == [
        "a",
        "b",
        "kube-root-ca.crt",
    ]
    current = listed.body["metadata"]["resourceVersion"]
    async with open_watch(again, f"{MAPS}?watch=1&resourceVersion={current}") as watch:
        await create_map(again, "c")
        assert await watch.next_name() == ("ADDED", "c")


async def test_revision_above_the_current_one_is_refused(live: Any) -> None:
    response = await live.call("GET", f"{MAPS}?watch=1&resourceVersion=999999")
    assert response.status == 504
    assert response.body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_object_that_starts_or_stops_matching_is_added_or_deleted(live: Any) -> None:
    start = await create_map(live, "a", app="x")
    path = f"{MAPS}?watch=1&resourceVersion={start}&labelSelector=app%3Dy"
    async with open_watch(live, path) as watch:
        await set_labels(live, "a", app="y")
        assert await watch.next_name() == ("ADDED", "a")
        await set_labels(live, "a", more="z")
        assert await watch.next_name() == ("MODIFIED", "a")
        await set_labels(live, "a", app="x")
        kind, gone = await watch.next()
        assert (kind, gone["metadata"]["labels"]["app"]) == ("DELETED", "y")
        assert int(gone["metadata"]["resourceVersion"]) == live.cluster.store.revision


async def test_initial_events_end_with_an_annotated_bookmark(live: Any) -> None:
    await create_map(live, "a")
    query = (
        "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    )
    async with open_watch(live, f"{MAPS}?{query}") as watch:
        assert await watch.next_name() == ("ADDED", "a")
        assert await watch.next_name() == ("ADDED", "kube-root-ca.crt")
        kind, mark = await watch.next()
        assert kind == "BOOKMARK"
        assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert int(mark["metadata"]["resourceVersion"]) == live.cluster.store.revision


async def test_initial_events_need_resource_version_match(live: Any) -> None:
    response = await live.call("GET", f"{MAPS}?watch=1&sendInitialEvents=true")
    assert (response.status, response.body["reason"]) == (422, "Invalid")


async def test_watch_ends_at_its_timeout_with_a_bookmark(live: Any) -> None:
    rv = await create_map(live, "a")
    response = await live.call(
        "GET", f"{MAPS}?watch=1&resourceVersion={rv}&timeoutSeconds=1&allowWatchBookmarks=true"
    )
    assert [json.loads(line)["type"] for line in response.text.splitlines()] == ["BOOKMARK"]


async def test_watched_table_has_column_definitions_once(live: Any) -> None:
    rv = await create_map(live, "a")
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    async with open_watch(live, f"{MAPS}?watch=1&resourceVersion={rv}", accept) as watch:
        await create_map(live, "b")
        await create_map(live, "c")
        _, first = await watch.next()
        _, second = await watch.next()
    assert first["columnDefinitions"][0]["name"] == "Name"
    assert second["columnDefinitions"] is None
    assert [row["cells"][0] for table in (first, second) for row in table["rows"]] == ["b", "c"]


async def test_watch_of_one_namespace_gets_no_events_of_others(live: Any) -> None:
    rv = await create_map(live, "a")
    async with open_watch(live, f"{MAPS}?watch=1&resourceVersion={rv}") as watch:
        other = "/api/v1/namespaces/kube-system/configmaps"
        await live.call("POST", other, {"metadata": {"name": "elsewhere"}})
        await create_map(live, "here")
        assert await watch.next_name() == ("ADDED", "here")


async def test_drain_ends_every_watch(live: Any) -> None:
    async with open_watch(live, f"{MAPS}?watch=1&resourceVersion=0") as watch:
        await watch.next()
        live.cluster.drain()
        assert await asyncio.wait_for(watch.response.content.read(), 5) == b""
