"""Concurrent lookups: a hanging one delays no other name, and does not keep the process alive."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from podpass.http import resolver
from podpass.http.resolver import NameNotResolved, Resolver


@pytest.fixture
def hanging_lookups(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Block lookups of names that begin with `slow` until the test ends; yield the list of lookups."""
    looked: list[str] = []
    over = threading.Event()
    real: Callable[..., Any] = socket.getaddrinfo

    def resolve_slowly(host: str, *args: Any, **more: Any) -> Any:
        looked.append(host)
        if host.startswith("slow"):
            over.wait(10)
            raise socket.gaierror
        return real("127.0.0.1" if host.startswith("good") else host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_slowly)
    yield looked
    over.set()


async def wait_for(finding: Any, seconds: float = 0.05) -> Any:
    async with asyncio.timeout(seconds):
        return await finding


async def test_addresses_of_name_are_unique(hanging_lookups: list[str]) -> None:
    assert await Resolver().find("good.test") == ("127.0.0.1",)
    assert await Resolver().find("::1") == ("::1",)
    for name in ("nowhere.invalid", "\x00", "a" * 300, "xn--" + "\u0430" * 70):
        with pytest.raises(NameNotResolved):
            await Resolver().find(name)
    assert hanging_lookups[0] == "good.test"


async def test_hanging_name_uses_one_thread(hanging_lookups: list[str]) -> None:
    names = Resolver()
    for _ in range(5):
        with pytest.raises(TimeoutError):
            await wait_for(names.find("slow.test"))
    assert hanging_lookups == ["slow.test"]
    assert await wait_for(names.find("good.test"), 5) == ("127.0.0.1",)


async def test_cached_names_resolve_while_all_threads_hang(
    hanging_lookups: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "MAX_THREADS", 2)
    names = Resolver()
    await names.find("good.test")
    for n in range(2):
        with pytest.raises(TimeoutError):
            await wait_for(names.find(f"slow-{n}.test"))
    assert await wait_for(names.find("good.test"), 5) == ("127.0.0.1",)
    with pytest.raises(NameNotResolved):
        await names.find("good-too.test")
    assert hanging_lookups == ["good.test", "slow-0.test", "slow-1.test"]
    hung = [each for each in threading.enumerate() if each.name.startswith("resolve slow")]
    assert len(hung) == 2
    assert all(each.daemon for each in hung)


async def test_cache_size_is_limited(
    hanging_lookups: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "MAX_CACHED", 2)
    names = Resolver()
    for n in range(5):
        await names.find(f"good-{n}.test")
    assert list(names._cache) == ["good-3.test", "good-4.test"]
    assert len(hanging_lookups) == 5
    assert not names._lookups
