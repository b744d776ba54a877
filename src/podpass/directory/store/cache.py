"""A bounded cache that is cleared completely and never stores a value that was read before the last clear."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Cache(Generic[Key, Value]):
    """A least-recently-used cache. Concurrent callers of one key share one load.

    Missing values are not cached, so requests with invented names cannot evict existing values.

    While `is_connected` returns false, change notifications do not arrive and nothing is cached.
    """

    def __init__(self, size: int, is_connected: Callable[[], bool] = lambda: True) -> None:
        self._size = size
        self._is_connected = is_connected
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._loading: dict[Key, asyncio.Future[Value | None]] = {}
        self._generation = 0

    async def get(self, key: Key, load: Callable[[], Awaitable[Value | None]]) -> Value | None:
        """Return a value; load it if it is not cached."""
        while True:
            if (cached := self.peek(key)) is not None:
                return cached
            if (running := self._loading.get(key)) is None:
                return await self._load(key, load)
            await asyncio.wait([running])
            if not running.cancelled():
                return running.result()

    def peek(self, key: Key) -> Value | None:
        """Return a cached value, without loading."""
        if (cached := self._values.get(key)) is not None:
            self._values.move_to_end(key)
        return cached

    def clear(self) -> None:
        """Drop all values, and the results of running loads."""
        self._generation += 1
        self._values.clear()
        # Later callers must get the value after the change, so they do not wait for a running load.
        self._loading.clear()

    async def _load(self, key: Key, load: Callable[[], Awaitable[Value | None]]) -> Value | None:
        generation = self._generation
        future = self._loading[key] = asyncio.get_running_loop().create_future()
        try:
            loaded = await load()
            future.set_result(loaded)
        except Exception as exc:
            future.set_exception(exc)
            future.exception()  # retrieve the exception, because there may be no other caller
            raise
        finally:
            # If the caller was cancelled, a waiting caller loads the value itself.
            future.cancel()
            if self._loading.get(key) is future:
                del self._loading[key]
        if loaded is not None and generation == self._generation and self._is_connected():
            self._store(key, loaded)
        return loaded

    def _store(self, key: Key, value: Value) -> None:
        self._values[key] = value
        if len(self._values) > self._size:
            self._values.popitem(last=False)
