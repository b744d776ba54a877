"""Who wants to know that something was written, here or by another process."""

from collections import defaultdict
from collections.abc import Callable, Iterable

Stale = Callable[[], None]


class News:
    """Tells those that keep what they read when it is stale.

    Shapes:  `heard` is false while other processes may write without it being heard of here: nothing
             may be kept then.
    """

    def __init__(self) -> None:
        self.heard = False
        self._listeners: dict[str, list[Stale]] = defaultdict(list)

    def listen(self, topic: str, stale: Stale) -> None:
        """Call back, in the loop, whenever what was read of a topic may be stale."""
        self._listeners[topic].append(stale)

    def tell(self, topics: Iterable[str]) -> None:
        """Tell that these topics were written."""
        for topic in topics:
            for stale in self._listeners.get(topic, ()):
                stale()

    def tell_all(self) -> None:
        """Tell that anything may have been written."""
        self.tell(tuple(self._listeners))

    def hears(self, *, heard: bool) -> None:
        """Note whether others are heard; whatever was read before is stale either way."""
        self.heard = heard
        self.tell_all()
