"""Watches: resumed, listed again after a gap, never ending by themselves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from podpass.kube import KubeClient
from podpass.kube.watching import listed


def thing(name: str, version: int, uid: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": uid or name, "resourceVersion": str(version)}}


def names(events: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    return [(kind, item.get("metadata", {}).get("name", "")) for kind, item in events]


async def take(server: Any, count: int) -> list[tuple[str, Any]]:
    """Watch until so many events have come."""
    found: list[tuple[str, Any]] = []
    async with KubeClient.from_kubeconfig(server.kubeconfig({})) as client:
        stream: AsyncIterator[tuple[str, Any]] = client.watch("/l")
        async with aclosing(stream) as events, asyncio.timeout(20):  # type: ignore[type-var]  # a generator
            async for event in events:
                found.append(event)
                if len(found) == count:
                    break
    return found


def script(lists: list[Any], watches: list[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """Answer lists and watches in turn; the last of each is repeated."""

    def handler(asked: Any) -> Any:
        if asked.query.get("watch") == "true":
            return (watches.pop(0) if len(watches) > 1 else watches[0])(asked)
        return 200, (lists.pop(0) if len(lists) > 1 else lists[0])

    return handler


def stream(*events: tuple[str, Any]) -> Callable[[Any], Any]:
    async def answer(asked: Any) -> None:
        await asked.begin()
        for kind, item in events:
            await asked.event(kind, item)
        await asked.end()

    return answer


def page(version: int, *items: Any) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version)}, "items": list(items)}


async def test_first_the_list_then_what_happens(server: Any) -> None:
    watch = stream(
        ("ADDED", thing("b", 6)), ("MODIFIED", thing("a", 7)), ("DELETED", thing("b", 8))
    )
    server.handler = script([page(5, thing("a", 3))], [watch])
    events = names(await take(server, 5))
    assert events == [
        ("ADDED", "a"),
        ("SYNCED", ""),
        ("ADDED", "b"),
        ("MODIFIED", "a"),
        ("DELETED", "b"),
    ]
    asked = server.asked[1].query
    assert asked["resourceVersion"] == "5"
    assert asked["allowWatchBookmarks"] == "true"
    assert int(asked["timeoutSeconds"]) >= 300


async def test_a_watch_resumes_where_the_last_event_or_bookmark_was(server: Any) -> None:
    watches = [
        stream(("ADDED", thing("a", 6)), ("BOOKMARK", thing("", 9))),
        stream(("ADDED", thing("b", 10))),
    ]
    server.handler = script([page(5)], watches)
    assert names(await take(server, 3)) == [("SYNCED", ""), ("ADDED", "a"), ("ADDED", "b")]
    assert [each.query.get("resourceVersion") for each in server.asked] == [None, "5", "9"]


async def test_an_expired_version_is_listed_again_and_the_vanished_are_told(server: Any) -> None:
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    server.handler = script(
        [page(5, thing("a", 3), thing("b", 4)), page(50, thing("b", 4, uid="new"), thing("c", 40))],
        [stream(("ERROR", gone)), stream(("ADDED", thing("d", 51)))],
    )
    events = await take(server, 9)
    assert names(events)[3:] == [
        ("DELETED", "a"),
        ("DELETED", "b"),
        ("ADDED", "b"),
        ("ADDED", "c"),
        ("SYNCED", ""),
        ("ADDED", "d"),
    ]
    assert events[4][1]["metadata"]["uid"] == "b", "the old one, though the name is taken again"


async def test_a_410_answer_is_like_a_410_event(server: Any) -> None:
    def refused(_: Any) -> Any:
        return 410, {"kind": "Status", "reason": "Expired", "message": "too old"}

    server.handler = script([page(5), page(8)], [refused, stream(("ADDED", thing("a", 9)))])
    assert names(await take(server, 3)) == [("SYNCED", ""), ("SYNCED", ""), ("ADDED", "a")]


async def test_failures_are_tried_again_from_the_same_version(server: Any) -> None:
    def broken(_: Any) -> Any:
        return 500, b"oops"

    def half(asked: Any) -> Any:
        async def answer() -> None:
            await asked.begin()
            await asked.event("ADDED", thing("a", 6))
            await asked.raw(b'{"type":"ADDED","obj')
            await asked.end()

        return answer()

    server.handler = script([page(5)], [broken, half, stream(("ADDED", thing("b", 7)))])
    assert names(await take(server, 3)) == [("SYNCED", ""), ("ADDED", "a"), ("ADDED", "b")]
    assert [each.query.get("resourceVersion") for each in server.asked] == [None, "5", "5", "6"]


async def test_an_event_longer_than_a_read_buffer_is_whole(server: Any) -> None:
    big = {**thing("big", 6), "data": "x" * 300_000}
    server.handler = script([page(5)], [stream(("ADDED", big))])
    events = await take(server, 2)
    assert len(events[1][1]["data"]) == 300_000


def test_a_list_after_nothing_deletes_nothing() -> None:
    known: dict[str, str] = {}
    assert listed([thing("a", 1)], known) == [("ADDED", thing("a", 1))]
    assert listed([], known) == [("DELETED", {"metadata": {"name": "a", "uid": "a"}})]
    assert known == {}
