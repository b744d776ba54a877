"""What is kept in memory is bounded, read once however many want it, and never older than the last change."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from podpass.directory.store.cache import Cache


class Source:
    """What a cache reads from, which answers when it is let."""

    def __init__(self) -> None:
        self.value: str | None = "old"
        self.reads = 0
        self.answer = asyncio.Event()

    async def __call__(self) -> str | None:
        self.reads += 1
        value = self.value
        await self.answer.wait()
        return value


async def begun(*asked: Awaitable[str | None]) -> list["asyncio.Future[str | None]"]:
    """Let several ask, and wait until they wait."""
    tasks: list[asyncio.Future[str | None]] = [asyncio.ensure_future(one) for one in asked]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_it_is_bounded_and_does_not_keep_what_is_not_there() -> None:
    cache: Cache[int, str] = Cache(2)
    loaded: list[int] = []

    def load(key: int) -> Callable[[], Awaitable[str | None]]:
        async def run() -> str | None:
            loaded.append(key)
            return None if key < 0 else str(key)

        return run

    for key in (1, 2, 1, -1, -1, 1, 3, 2):
        await cache.get(key, load(key))
    assert loaded == [1, 2, -1, -1, 3, 2]


async def test_many_who_want_the_same_read_it_once() -> None:
    cache, source = Cache[str, str](2), Source()
    tasks = await begun(*(cache.get("a", source) for _ in range(5)))
    source.answer.set()
    assert await asyncio.gather(*tasks) == ["old"] * 5
    assert source.reads == 1


async def test_what_was_being_read_when_it_became_stale_is_not_kept() -> None:
    cache, source = Cache[str, str](2), Source()
    early = await begun(cache.get("a", source))
    source.value = "new"
    cache.clear()
    late = await begun(cache.get("a", source))
    source.answer.set()
    assert await asyncio.gather(*early, *late) == ["old", "new"]
    assert await cache.get("a", source) == "new"
    assert source.reads == 2


async def test_what_was_read_before_a_change_is_not_found_after_it() -> None:
    cache, source = Cache[str, str](2), Source()
    early = await begun(cache.get("a", source))
    source.value = "new"
    cache.clear()
    source.answer.set()
    assert await early[0] == "old"
    assert await cache.get("a", source) == "new"


async def test_nothing_is_kept_while_changes_are_not_heard_of() -> None:
    heard = False
    cache: Cache[str, str] = Cache(2, lambda: heard)
    source = Source()
    source.answer.set()
    for _ in range(3):
        await cache.get("a", source)
    assert source.reads == 3
    heard = True
    for _ in range(3):
        await cache.get("a", source)
    assert source.reads == 4


async def test_whoever_waits_reads_for_itself_when_the_first_goes_away() -> None:
    cache, source = Cache[str, str](2), Source()
    first, second = await begun(cache.get("a", source), cache.get("a", source))
    first.cancel()
    await begun()
    source.answer.set()
    assert await second == "old"
    assert source.reads == 2


async def test_a_read_that_fails_is_told_to_all_who_waited_and_not_kept() -> None:
    cache, source = Cache[str, str](2), Source()

    async def fail() -> str | None:
        await source()
        raise LookupError("gone")

    tasks = await begun(cache.get("a", fail), cache.get("a", fail))
    source.answer.set()
    for one in tasks:
        with pytest.raises(LookupError):
            await one
    assert await cache.get("a", source) == "old"
