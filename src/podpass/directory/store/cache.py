"""A bounded cache that forgets everything at once, and never keeps what was read before it forgot."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Cache(Generic[Key, Value]):
    """Keep the values used last, loading each once however many want it.

    What is not there is not kept: names that strangers make up cannot push out those that exist.

    Shapes:  `heard` tells whether changes are heard of; while they are not, nothing is kept.
    """

    def __init__(self, size: int, heard: Callable[[], bool] = lambda: True) -> None:
        self._size = size
        self._heard = heard
        self._kept: OrderedDict[Key, Value] = OrderedDict()
        self._loading: dict[Key, asyncio.Future[Value | None]] = {}
        self._generation = 0

    async def get(self, key: Key, load: Callable[[], Awaitable[Value | None]]) -> Value | None:
        """Give a value, loading it if it is not kept."""
        while True:
            if (kept := self.peek(key)) is not None:
                return kept
            if (under_way := self._loading.get(key)) is None:
                return await self._load(key, load)
            await asyncio.wait([under_way])
            if not under_way.cancelled():
                return under_way.result()

    def peek(self, key: Key) -> Value | None:
        """Give a value if it is kept."""
        if (kept := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
        return kept

    def clear(self) -> None:
        """Forget everything, and whatever is being read at this moment."""
        self._generation += 1
        self._kept.clear()
        # Whoever asks from now on must see what made this stale.
        self._loading.clear()

    async def _load(self, key: Key, load: Callable[[], Awaitable[Value | None]]) -> Value | None:
        generation = self._generation
        future = self._loading[key] = asyncio.get_running_loop().create_future()
        try:
            loaded = await load()
            future.set_result(loaded)
        except Exception as exc:
            future.set_exception(exc)
            future.exception()  # nobody else may be waiting
            raise
        finally:
            # Cancelled with its caller: one of those who wait reads for itself.
            future.cancel()
            if self._loading.get(key) is future:
                del self._loading[key]
        if loaded is not None and generation == self._generation and self._heard():
            self._keep(key, loaded)
        return loaded

    def _keep(self, key: Key, value: Value) -> None:
        self._kept[key] = value
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
