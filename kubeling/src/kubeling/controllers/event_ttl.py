"""Delete events that have not changed for an hour."""

from kubeling.apiserver.kinds import kind_by_name
from kubeling.clock import rfc3339
from kubeling.controllers.client import ControllerClient

_KIND = kind_by_name("Event")
_TTL_SECONDS = 3600
_PERIOD_SECONDS = 60.0


class EventTTLController:
    """Deletes expired events."""

    def __init__(self, client: ControllerClient) -> None:
        self._client = client

    async def reconcile(self, _: str, __: str) -> float:
        """Delete expired events; return the requeue delay."""
        store, limit = self._client.store, rfc3339(self._client.now - _TTL_SECONDS)
        for entry in store.list_stored(_KIND):
            event = entry.object()
            times = (event.get("lastTimestamp"), event.get("eventTime"))
            last = max(event["metadata"]["creationTimestamp"], *(time or "" for time in times))
            if last < limit:
                store.delete(_KIND, event, entry.revision)
        return _PERIOD_SECONDS
