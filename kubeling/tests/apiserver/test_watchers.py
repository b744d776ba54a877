"""Many watchers, slow watchers and watchers of different views: shared encoding and resumption."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from kubeling.apiserver import handler, websocket_streams
from kubeling.apiserver.read import object_response, watch
from kubeling.apiserver.storage.fairness import CooperativeYield
from kubeling.apiserver.storage.watch_cache import WatchCache
from tests.apiserver.test_watch import MAPS, create_map, open_watch, set_labels

METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
INITIAL = (
    "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return every object that is encoded for a watch event, once for each encoding."""
    calls: list[bytes] = []
    real = object_response.encode_in_event

    def counted(kind: Any, raw: bytes, *rest: Any) -> bytes:
        calls.append(raw)
        return real(kind, raw, *rest)

    monkeypatch.setattr(object_response, "encode_in_event", counted)
    return calls


@pytest.mark.parametrize("accept", ["", METADATA, TABLE])
async def test_change_is_encoded_once_for_watchers_of_the_same_view(
    live: Any, encoded: list[bytes], accept: str
) -> None:
    start = await create_map(live, "a", app="x")
    path = f"{MAPS}?watch=1&resourceVersion={start}&labelSelector=app%3Dx"
    async with AsyncExitStack() as stack:
        watches = [
            await stack.enter_async_context(open_watch(live, path, accept)) for _ in range(20)
        ]
        await set_labels(live, "a", more="z")
        events = [await each.next() for each in watches]
    assert len({json.dumps(each) for each in events}) == 1
    assert len(encoded) == 1


async def _first_event(live: Any, path: str, accept: str) -> Any:
    async with open_watch(live, path, accept) as stream:
        return await stream.next()


async def test_watchers_of_different_views_get_different_events(live: Any) -> None:
    """Fails if the id of a view does not include every parameter that changes its events."""
    start = await create_map(live, "a", app="x")
    begin = f"watch=1&resourceVersion={start}"
    paths = {
        f"{MAPS}?{begin}": ("MODIFIED", "ConfigMap"),
        f"{MAPS}?{begin}&labelSelector=app%3Dy": ("ADDED", "ConfigMap"),
        f"{MAPS}?{begin}&labelSelector=app%3Dx": ("DELETED", "ConfigMap"),
        f"/api/v1/configmaps?{begin}&fieldSelector=metadata.name%3Da": ("MODIFIED", "ConfigMap"),
    }
    await set_labels(live, "a", app="y")
    for path, (change, kind) in paths.items():
        found, obj = await _first_event(live, path, "")
        assert (found, obj["kind"]) == (change, kind)
    shown = (await _first_event(live, f"{MAPS}?{begin}", METADATA))[1]
    assert set(shown) == {"kind", "apiVersion", "metadata"}
    for include, member in (("None", None), ("Metadata", METADATA[20:41]), ("Object", "ConfigMap")):
        row = (await _first_event(live, f"{MAPS}?{begin}&includeObject={include}", TABLE))[1][
            "rows"
        ][0]
        assert row.get("object", {}).get("kind") == member


async def test_watch_with_unknown_include_object_is_refused(live: Any) -> None:
    response = await live.call("GET", f"{MAPS}?watch=1&includeObject=All", accept=TABLE)
    assert (response.status, response.body["reason"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("accept", "kind"), [("", "ConfigMap"), (METADATA, "PartialObjectMetadata"), (TABLE, "Table")]
)
async def test_bookmark_has_the_watched_output_format(live: Any, accept: str, kind: str) -> None:
    """Fails if the bookmark has the watched kind: a client of metadata cannot decode that."""
    async with open_watch(live, f"{MAPS}?{INITIAL}", accept) as stream:
        assert (await stream.next())[0] == "ADDED"
        change, mark = await stream.next()
        assert (change, mark["kind"]) == ("BOOKMARK", kind)
        assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_bookmarks_are_sent_at_intervals_with_the_current_revision(
    live: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if an unchanged resource gets no bookmarks: its clients would resume from an expired version."""
    monkeypatch.setattr(watch, "_BOOKMARK_SECONDS", 0.2)
    start = await create_map(live, "a")
    path = f"/api/v1/secrets?watch=1&resourceVersion={start}&allowWatchBookmarks=true"
    async with open_watch(live, path) as stream:
        change, mark = await stream.next()
        assert (change, mark["metadata"]["resourceVersion"]) == ("BOOKMARK", start)
        later = await create_map(live, "b")
        for _ in range(10):
            change, mark = await stream.next()
            assert change == "BOOKMARK"
            if mark["metadata"]["resourceVersion"] == later:
                return
    raise AssertionError("no bookmark has the current revision")


async def test_watch_of_an_unchanged_resource_never_expires(live: Any) -> None:
    """Fails if events of other resources expire the watch."""
    live.cluster.store.watch_cache = WatchCache(live.cluster.store.revision, max_events=3)
    start = live.cluster.store.revision
    async with open_watch(live, f"/api/v1/secrets?watch=1&resourceVersion={start}") as stream:
        for number in range(8):
            await create_map(live, f"m-{number}")
        await live.call("POST", MAPS.replace("configmaps", "secrets"), {"metadata": {"name": "s"}})
        assert await stream.next_name() == ("ADDED", "s")
    late = f"{MAPS}?watch=1&resourceVersion={start}&timeoutSeconds=1"
    gone = json.loads((await live.call("GET", late)).text)
    assert (gone["type"], gone["object"]["code"]) == ("ERROR", 410)


@pytest.mark.parametrize("part", [handler, websocket_streams], ids=["http", "websocket"])
async def test_client_that_does_not_read_is_disconnected(
    live: Any, monkeypatch: pytest.MonkeyPatch, part: Any
) -> None:
    """Fails without the timeout: the server would never release the connection and its data."""
    monkeypatch.setattr(watch, "_WRITE_TIMEOUT_SECONDS", 2.0)
    disconnected = asyncio.Event()

    def log(event: str, **_: Any) -> None:
        if event == "slow_client_disconnected":
            disconnected.set()

    monkeypatch.setattr(part._log, "info", log)
    start = await create_map(live, "big")
    path = f"{MAPS}?watch=1&resourceVersion={start}"
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(open_watch(live, path))
        if part is handler:
            blocked = await stack.enter_async_context(open_watch(live, path))
            transport = blocked.response.connection.transport
        else:
            url = live.server.replace("https", "wss") + path
            headers = {"authorization": "Bearer admin-token"}
            socket = live.session.ws_connect(url, headers=headers)
            transport = (await stack.enter_async_context(socket))._conn.transport
        transport.pause_reading()
        for number in range(60):
            body = {"data": {"k": "x" * 450_000, "n": str(number)}}
            kind = "application/merge-patch+json"
            await live.call("PATCH", f"{MAPS}/big", body, content_type=kind)
            assert (await other.next())[1]["data"]["n"] == str(number)
        await asyncio.wait_for(disconnected.wait(), 30)
        transport.resume_reading()
        if part is handler:
            with pytest.raises(aiohttp.ClientPayloadError):
                await blocked.response.content.read()


async def test_watch_resumes_at_its_revision_after_a_restart(serve: Any) -> None:
    live = await serve()
    await create_map(live, "a")
    at = live.cluster.store.revision
    live.cluster.drain()
    live.cluster.store.close()
    again = await serve()
    async with open_watch(again, f"{MAPS}?watch=1&resourceVersion={at}") as stream:
        await create_map(again, "b")
        change, found = await stream.next()
        assert (change, found["metadata"]["name"]) == ("ADDED", "b")
        assert int(found["metadata"]["resourceVersion"]) > at


async def test_initial_state_is_of_one_revision(live: Any) -> None:
    """Fails if the state is read while it is sent: later changes would be sent twice or out of order."""
    for number in range(40):
        await create_map(live, f"m-{number:02}")
    async with open_watch(live, f"{MAPS}?{INITIAL}") as stream:
        await set_labels(live, "m-39", x="y")
        first = [await stream.next() for _ in range(41)]
        assert {change for change, _ in first} == {"ADDED"}
        assert not any("x" in (obj["metadata"].get("labels") or {}) for _, obj in first)
        assert (await stream.next())[0] == "BOOKMARK"
        assert await stream.next_name() == ("MODIFIED", "m-39")


async def test_two_hundred_watchers_get_every_change(live: Any) -> None:
    start = await create_map(live, "a")
    path = f"{MAPS}?watch=1&resourceVersion={start}"
    connector = aiohttp.TCPConnector(ssl=live.session.connector._ssl, limit=0)

    async def watcher(session: aiohttp.ClientSession) -> list[str]:
        headers = {"authorization": "Bearer admin-token"}
        async with session.get(live.server + path, headers=headers) as response:
            lines = [await asyncio.wait_for(response.content.readline(), 60) for _ in range(30)]
        return [json.loads(line)["object"]["metadata"]["labels"]["n"] for line in lines]

    async with aiohttp.ClientSession(connector=connector) as session:
        watchers = [asyncio.create_task(watcher(session)) for _ in range(200)]
        for number in range(30):
            await set_labels(live, "a", n=str(number))
        for each in watchers:
            assert await each == [str(number) for number in range(30)]
    await asyncio.sleep(0)


async def test_watch_with_an_expensive_selector_lets_other_requests_run(
    live: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if one chunk reads all changes when no change matches the selector."""
    start = await create_map(live, "a", app="x")
    for at in range(20):
        await set_labels(live, "a", app="y", number=str(at))
    await set_labels(live, "a", app="x")
    monkeypatch.setattr(CooperativeYield, "is_due", True)
    sizes = []
    build = watch.WatchView._build_chunk

    def recorded(self: Any, events: Any, revision: int) -> Any:
        chunk = build(self, events, revision)
        sizes.append(sum(event.revision <= chunk.revision for event in events))
        return chunk

    monkeypatch.setattr(watch.WatchView, "_build_chunk", recorded)
    path = f"{MAPS}?watch=1&resourceVersion={start}&labelSelector=app%3Dx"
    async with open_watch(live, path, "") as stream:
        events = [await stream.next(), await stream.next()]
    assert events[0][0] == "DELETED"
    assert events[1][0] == "ADDED"
    assert set(sizes) == {1}
