"""Forgets events that nothing has been added to for an hour."""

from podpass.clock import rfc3339
from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.controllers.client import Writer

_KIND = named("Event")
_EVENT_SECONDS = 3600
_LOOK_SECONDS = 60.0


class Forgetting:
    """Keeps the number of events bounded by time."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def look(self, _: str, __: str) -> float:
        """Forget old events; say when to look again."""
        store, limit = self._writer.store, rfc3339(self._writer.now - _EVENT_SECONDS)
        for entry in store.entries(_KIND):
            event = entry.object()
            times = (event.get("lastTimestamp"), event.get("eventTime"))
            last = max(event["metadata"]["creationTimestamp"], *(time or "" for time in times))
            if last < limit:
                store.delete(_KIND, event, entry.revision)
        return _LOOK_SECONDS
