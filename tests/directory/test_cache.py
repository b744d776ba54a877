"""The cache is bounded, loads each key once, and never returns a value from before a clear."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from podpass.directory.store.cache import Cache


class Source:
    """A source of values whose loads block until the test releases them."""

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
    """Start several reads, and return when all of them wait."""
    tasks: list[asyncio.Future[str | None]] = [asyncio.ensure_future(one) for one in asked]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_cache_is_bounded_and_does_not_store_missing_values() -> None:
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


async def test_concurrent_reads_of_one_key_load_it_once() -> None:
    cache, source = Cache[str, str](2), Source()
    tasks = await begun(*(cache.get("a", source) for _ in range(5)))
    source.answer.set()
    assert await asyncio.gather(*tasks) == ["old"] * 5
    assert source.reads == 1


async def test_value_is_not_cached_if_the_cache_was_cleared_during_the_load() -> None:
    cache, source = Cache[str, str](2), Source()
    early = await begun(cache.get("a", source))
    source.value = "new"
    cache.clear()
    late = await begun(cache.get("a", source))
    source.answer.set()
    assert await asyncio.gather(*early, *late) == ["old", "new"]
    assert await cache.get("a", source) == "new"
    assert source.reads == 2


async def test_value_that_was_loaded_before_a_clear_is_not_returned_after_it() -> None:
    cache, source = Cache[str, str](2), Source()
    early = await begun(cache.get("a", source))
    source.value = "new"
    cache.clear()
    source.answer.set()
    assert await early[0] == "old"
    assert await cache.get("a", source) == "new"


async def test_nothing_is_cached_while_notifications_are_disconnected() -> None:
    connected = False
    cache: Cache[str, str] = Cache(2, lambda: connected)
    source = Source()
    source.answer.set()
    for _ in range(3):
        await cache.get("a", source)
    assert source.reads == 3
    connected = True
    for _ in range(3):
        await cache.get("a", source)
    assert source.reads == 4


async def test_waiting_caller_loads_the_value_if_the_first_caller_is_cancelled() -> None:
    cache, source = Cache[str, str](2), Source()
    first, second = await begun(cache.get("a", source), cache.get("a", source))
    first.cancel()
    await begun()
    source.answer.set()
    assert await second == "old"
    assert source.reads == 2


async def test_failed_load_raises_for_all_waiting_callers_and_is_not_cached() -> None:
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
