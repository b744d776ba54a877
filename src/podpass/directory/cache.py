"""A bounded cache that forgets everything at once."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Cache(Generic[Key, Value]):
    """Keep the values used last.

    What is not there is not kept: names that strangers make up cannot push out those that exist.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key, load: Callable[[], Value | None]) -> Value | None:
        """Give a value, loading it if it is not kept."""
        if (kept := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return kept
        loaded = load()
        if loaded is not None:
            self._kept[key] = loaded
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return loaded

    def clear(self) -> None:
        self._kept.clear()
