"""Callbacks for changes of the database, made by this process or by another one."""

from collections import defaultdict
from collections.abc import Callable, Iterable

OnChange = Callable[[], None]


class ChangeNotifier:
    """Calls subscribers when data that they may have cached has changed.

    While `is_connected` is false, changes of other processes are not noticed, so nothing may be cached.
    """

    def __init__(self) -> None:
        self.is_connected = False
        self._subscribers: dict[str, list[OnChange]] = defaultdict(list)

    def subscribe(self, topic: str, on_change: OnChange) -> None:
        """Call `on_change` in the event loop whenever data of a topic may have changed."""
        self._subscribers[topic].append(on_change)

    def publish(self, topics: Iterable[str]) -> None:
        """Notify the subscribers of these topics."""
        for topic in topics:
            for on_change in self._subscribers.get(topic, ()):
                on_change()

    def publish_all(self) -> None:
        """Notify every subscriber."""
        self.publish(tuple(self._subscribers))

    def set_connected(self, *, connected: bool) -> None:
        """Record whether changes of other processes arrive, and notify all subscribers."""
        self.is_connected = connected
        # Changes may have been missed, so everything that was read before is out of date.
        self.publish_all()
