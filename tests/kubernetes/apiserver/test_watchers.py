"""Many watchers, slow watchers, watchers of parts: what they share, and how each of them goes on."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from podpass.kubernetes.apiserver.read import object_response, watch
from podpass.kubernetes.apiserver.storage.watch_cache import History
from tests.kubernetes.apiserver.test_watch import MAPS, following, put, relabel

METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
INITIAL = (
    "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every object that is written into a watch's event, once for each time it is."""
    calls: list[bytes] = []
    real = object_response.in_event

    def counted(kind: Any, raw: bytes, *rest: Any) -> bytes:
        calls.append(raw)
        return real(kind, raw, *rest)

    monkeypatch.setattr(object_response, "in_event", counted)
    return calls


@pytest.mark.parametrize("accept", ["", METADATA, TABLE])
async def test_a_change_is_written_once_for_all_who_see_the_same(
    live: Any, written: list[bytes], accept: str
) -> None:
    start = await put(live, "a", app="x")
    path = f"{MAPS}?watch=1&resourceVersion={start}&labelSelector=app%3Dx"
    async with asyncio.TaskGroup() as group:
        seen = [group.create_task(_first(live, path, accept)) for _ in range(20)]
        await asyncio.sleep(1)
        await relabel(live, "a", more="z")
    assert len({json.dumps(each.result()) for each in seen}) == 1
    assert len(written) == 1


async def _first(live: Any, path: str, accept: str) -> Any:
    async with following(live, path, accept) as stream:
        return await stream.next()


async def test_what_one_sees_is_nobody_elses(live: Any) -> None:
    """Fails if views are told apart by less than all that makes them differ."""
    start = await put(live, "a", app="x")
    begin = f"watch=1&resourceVersion={start}"
    paths = {
        f"{MAPS}?{begin}": ("MODIFIED", "ConfigMap"),
        f"{MAPS}?{begin}&labelSelector=app%3Dy": ("ADDED", "ConfigMap"),
        f"{MAPS}?{begin}&labelSelector=app%3Dx": ("DELETED", "ConfigMap"),
        f"/api/v1/configmaps?{begin}&fieldSelector=metadata.name%3Da": ("MODIFIED", "ConfigMap"),
    }
    await relabel(live, "a", app="y")
    for path, (change, kind) in paths.items():
        found, obj = await _first(live, path, "")
        assert (found, obj["kind"]) == (change, kind)
    shown = (await _first(live, f"{MAPS}?{begin}", METADATA))[1]
    assert set(shown) == {"kind", "apiVersion", "metadata"}
    for include, member in (("None", None), ("Metadata", METADATA[20:41]), ("Object", "ConfigMap")):
        row = (await _first(live, f"{MAPS}?{begin}&includeObject={include}", TABLE))[1]["rows"][0]
        assert row.get("object", {}).get("kind") == member


async def test_a_table_with_odd_contents_is_refused_before_it_begins(live: Any) -> None:
    answer = await live.call("GET", f"{MAPS}?watch=1&includeObject=All", accept=TABLE)
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("accept", "kind"), [("", "ConfigMap"), (METADATA, "PartialObjectMetadata"), (TABLE, "Table")]
)
async def test_a_bookmark_is_of_the_form_that_is_watched(live: Any, accept: str, kind: str) -> None:
    """Fails if it is the kind itself: a client of metadata cannot read that."""
    async with following(live, f"{MAPS}?{INITIAL}", accept) as stream:
        assert (await stream.next())[0] == "ADDED"
        change, mark = await stream.next()
        assert (change, mark["kind"]) == ("BOOKMARK", kind)
        assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_bookmarks_come_at_intervals_and_move_on(
    live: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if a quiet resource is told nothing: its clients would resume from a version long gone."""
    monkeypatch.setattr(watch, "_BOOKMARK_SECONDS", 0.2)
    start = await put(live, "a")
    path = f"/api/v1/secrets?watch=1&resourceVersion={start}&allowWatchBookmarks=true"
    async with following(live, path) as stream:
        change, mark = await stream.next()
        assert (change, mark["metadata"]["resourceVersion"]) == ("BOOKMARK", start)
        later = await put(live, "b")
        for _ in range(10):
            change, mark = await stream.next()
            assert change == "BOOKMARK"
            if mark["metadata"]["resourceVersion"] == later:
                return
    raise AssertionError("no bookmark came to the present")


async def test_a_quiet_resource_never_expires(live: Any) -> None:
    """Fails if the window alone counts: it moves by what changes elsewhere."""
    live.cluster.store.history = History(live.cluster.store.revision, max_events=3)
    start = live.cluster.store.revision
    async with following(live, f"/api/v1/secrets?watch=1&resourceVersion={start}") as stream:
        for number in range(8):
            await put(live, f"m-{number}")
        await live.call("POST", MAPS.replace("configmaps", "secrets"), {"metadata": {"name": "s"}})
        assert await stream.named() == ("ADDED", "s")
    late = f"{MAPS}?watch=1&resourceVersion={start}&timeoutSeconds=1"
    gone = json.loads((await live.call("GET", late)).text)
    assert (gone["type"], gone["object"]["code"]) == ("ERROR", 410)


async def test_a_client_that_reads_nothing_is_cut_off(
    live: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails without the bound: its connection would keep what it was sent for ever."""
    monkeypatch.setattr(watch, "_PATIENCE_SECONDS", 0.5)
    start = await put(live, "big")
    path = f"{MAPS}?watch=1&resourceVersion={start}"
    async with following(live, path) as stuck, following(live, path) as other:
        stuck.answer.connection.transport.pause_reading()
        for number in range(60):
            body = {"data": {"k": "x" * 450_000, "n": str(number)}}
            kind = "application/merge-patch+json"
            await live.call("PATCH", f"{MAPS}/big", body, content_type=kind)
            assert (await other.next())[1]["data"]["n"] == str(number)
        await asyncio.sleep(1.5)
        stuck.answer.connection.transport.resume_reading()
        with pytest.raises(aiohttp.ClientPayloadError):
            await stuck.answer.content.read()


async def test_a_watcher_goes_on_after_a_restart_where_it_was(serve: Any) -> None:
    live = await serve()
    await put(live, "a")
    at = live.cluster.store.revision
    live.cluster.drain()
    live.cluster.store.close()
    again = await serve()
    async with following(again, f"{MAPS}?watch=1&resourceVersion={at}") as stream:
        await put(again, "b")
        change, found = await stream.next()
        assert (change, found["metadata"]["name"]) == ("ADDED", "b")
        assert int(found["metadata"]["resourceVersion"]) > at


async def test_the_state_at_the_start_is_of_one_moment(live: Any) -> None:
    """Fails if it is read while it is sent: what changed meanwhile would be told twice or out of order."""
    for number in range(40):
        await put(live, f"m-{number:02}")
    async with following(live, f"{MAPS}?{INITIAL}") as stream:
        await relabel(live, "m-39", x="y")
        first = [await stream.next() for _ in range(41)]
        assert {change for change, _ in first} == {"ADDED"}
        assert not any("x" in (obj["metadata"].get("labels") or {}) for _, obj in first)
        assert (await stream.next())[0] == "BOOKMARK"
        assert await stream.named() == ("MODIFIED", "m-39")


async def test_two_hundred_watchers_each_see_every_change(live: Any) -> None:
    start = await put(live, "a")
    path = f"{MAPS}?watch=1&resourceVersion={start}"
    connector = aiohttp.TCPConnector(ssl=live.session.connector._ssl, limit=0)

    async def watcher(session: aiohttp.ClientSession) -> list[str]:
        headers = {"authorization": "Bearer admin-token"}
        async with session.get(live.server + path, headers=headers) as answer:
            lines = [await asyncio.wait_for(answer.content.readline(), 60) for _ in range(30)]
        return [json.loads(line)["object"]["metadata"]["labels"]["n"] for line in lines]

    async with aiohttp.ClientSession(connector=connector) as session:
        watchers = [asyncio.create_task(watcher(session)) for _ in range(200)]
        for number in range(30):
            await relabel(live, "a", n=str(number))
        for each in watchers:
            assert await each == [str(number) for number in range(30)]
    await asyncio.sleep(0)
