"""Watches: they resume, list again after a gap, and reconnect."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from podpass.kubernetes.client import KubeClient
from podpass.kubernetes.client.reflector import ListDiff


def new_object(name: str, version: int, uid: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": uid or name, "resourceVersion": str(version)}}


def names(events: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    return [(kind, item.get("metadata", {}).get("name", "")) for kind, item in events]


async def collect_events(server: Any, count: int) -> list[tuple[str, Any]]:
    """Watch until `count` events have arrived; return them."""
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
    """Return a handler that responds with the lists and watches in order, and repeats the last of each."""

    def handler(request: Any) -> Any:
        if request.query.get("watch") == "true":
            return (watches.pop(0) if len(watches) > 1 else watches[0])(request)
        return 200, (lists.pop(0) if len(lists) > 1 else lists[0])

    return handler


def stream(*events: tuple[str, Any]) -> Callable[[Any], Any]:
    async def answer(request: Any) -> None:
        await request.begin()
        for kind, item in events:
            await request.event(kind, item)
        await request.end()

    return answer


def page(version: int, *items: Any) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version)}, "items": list(items)}


async def test_watch_yields_the_list_and_then_changes(server: Any) -> None:
    watch = stream(
        ("ADDED", new_object("b", 6)),
        ("MODIFIED", new_object("a", 7)),
        ("DELETED", new_object("b", 8)),
    )
    server.handler = script([page(5, new_object("a", 3))], [watch])
    events = names(await collect_events(server, 5))
    assert events == [
        ("ADDED", "a"),
        ("SYNCED", ""),
        ("ADDED", "b"),
        ("MODIFIED", "a"),
        ("DELETED", "b"),
    ]
    request = server.requests[1].query
    assert request["resourceVersion"] == "5"
    assert request["allowWatchBookmarks"] == "true"
    assert int(request["timeoutSeconds"]) >= 300


async def test_watch_resumes_at_the_last_event_or_bookmark(server: Any) -> None:
    watches = [
        stream(("ADDED", new_object("a", 6)), ("BOOKMARK", new_object("", 9))),
        stream(("ADDED", new_object("b", 10))),
    ]
    server.handler = script([page(5)], watches)
    assert names(await collect_events(server, 3)) == [
        ("SYNCED", ""),
        ("ADDED", "a"),
        ("ADDED", "b"),
    ]
    assert [each.query.get("resourceVersion") for each in server.requests] == [None, "5", "9"]


async def test_expired_version_is_listed_again_with_deletions(server: Any) -> None:
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    server.handler = script(
        [
            page(5, new_object("a", 3), new_object("b", 4)),
            page(50, new_object("b", 4, uid="new"), new_object("c", 40)),
        ],
        [stream(("ERROR", gone)), stream(("ADDED", new_object("d", 51)))],
    )
    events = await collect_events(server, 9)
    assert names(events)[3:] == [
        ("DELETED", "b"),
        ("ADDED", "b"),
        ("ADDED", "c"),
        ("DELETED", "a"),
        ("SYNCED", ""),
        ("ADDED", "d"),
    ]
    assert events[3][1]["metadata"]["uid"] == "b", (
        "the deleted object, although another object has its name"
    )


async def test_410_response_is_handled_like_a_410_event(server: Any) -> None:
    def refused(_: Any) -> Any:
        return 410, {"kind": "Status", "reason": "Expired", "message": "too old"}

    server.handler = script([page(5), page(8)], [refused, stream(("ADDED", new_object("a", 9)))])
    assert names(await collect_events(server, 3)) == [
        ("SYNCED", ""),
        ("SYNCED", ""),
        ("ADDED", "a"),
    ]


async def test_failed_watch_is_retried_from_the_same_version(server: Any) -> None:
    def broken(_: Any) -> Any:
        return 500, b"oops"

    def half(request: Any) -> Any:
        async def answer() -> None:
            await request.begin()
            await request.event("ADDED", new_object("a", 6))
            await request.raw(b'{"type":"ADDED","obj')
            await request.end()

        return answer()

    server.handler = script([page(5)], [broken, half, stream(("ADDED", new_object("b", 7)))])
    assert names(await collect_events(server, 3)) == [
        ("SYNCED", ""),
        ("ADDED", "a"),
        ("ADDED", "b"),
    ]
    assert [each.query.get("resourceVersion") for each in server.requests] == [None, "5", "5", "6"]


async def test_event_longer_than_the_read_buffer_is_complete(server: Any) -> None:
    big = {**new_object("big", 6), "data": "x" * 300_000}
    server.handler = script([page(5)], [stream(("ADDED", big))])
    events = await collect_events(server, 2)
    assert len(events[1][1]["data"]) == 300_000


def test_first_list_yields_no_deletions() -> None:
    known: dict[str, str] = {}
    first = ListDiff(known)
    assert list(first.add_page([new_object("a", 1)])) == [("ADDED", new_object("a", 1))]
    assert list(first.deleted()) == []
    assert list(ListDiff(known).deleted()) == [("DELETED", {"metadata": {"name": "a", "uid": "a"}})]
    assert known == {}


async def test_object_on_no_page_is_deleted(server: Any) -> None:
    def two_pages(request: Any) -> Any:
        if request.query.get("continue") == "next":
            return 200, page(9, new_object("c", 3))
        return 200, {
            "metadata": {"resourceVersion": "9", "continue": "next"},
            "items": [new_object("a", 3)],
        }

    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    calls = [lambda _: (200, page(5, new_object("b", 1), new_object("c", 2))), two_pages, two_pages]
    watches = [stream(("ERROR", gone)), stream(("ADDED", new_object("d", 10)))]

    def handler(request: Any) -> Any:
        if request.query.get("watch") == "true":
            return watches.pop(0)(request)
        return calls.pop(0)(request)

    server.handler = handler
    assert names(await collect_events(server, 8))[3:] == [
        ("ADDED", "a"),
        ("ADDED", "c"),
        ("DELETED", "b"),
        ("SYNCED", ""),
        ("ADDED", "d"),
    ]


async def test_metadata_only_watch_requests_partial_metadata(server: Any) -> None:
    """A server without support for partial metadata sends the whole object."""
    server.handler = script([page(5, new_object("a", 3))], [stream(("ADDED", new_object("b", 6)))])
    async with KubeClient.from_kubeconfig(server.kubeconfig({})) as client:
        events: AsyncIterator[tuple[str, Any]] = client.watch("/l", metadata_only=True)
        async with aclosing(events) as found, asyncio.timeout(20):  # type: ignore[type-var]  # a generator
            assert names([await anext(found) for _ in range(3)])[-1] == ("ADDED", "b")
        await client.get("/l/a", metadata_only=True)
        await client.get("/l/a")
    accepts = [each.headers["accept"] for each in server.requests]
    form = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1,application/json"
    assert accepts[:2] == [form.format("List"), form.format("")]
    assert accepts[-2:] == [form.format(""), "application/json"]


async def test_forbidden_watch_is_logged_and_listed_again(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(_: Any) -> Any:
        return 403, {"kind": "Status", "reason": "Forbidden", "message": "cannot watch things"}

    server.handler = script([page(5), page(8, new_object("a", 7))], [refused, stream()])
    assert names(await collect_events(server, 3)) == [
        ("SYNCED", ""),
        ("ADDED", "a"),
        ("SYNCED", ""),
    ]
    assert [each.cause for each in caplog.records if each.msg == "watch_interrupted"] == [  # type: ignore[attr-defined]
        "cannot watch things"
    ]
