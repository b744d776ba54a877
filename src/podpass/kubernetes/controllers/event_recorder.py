"""Events about what controllers do: the first few of a kind in full, then one that counts, then silence.

Without a limit a deployment of two thousand pods would write two thousand events about itself, and each
refused pod one more.
"""

import uuid
from collections import OrderedDict
from dataclasses import dataclass, field

from podpass.clock import rfc3339
from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.apiserver.status import StatusError
from podpass.kubernetes.apiserver.storage.storage import Object
from podpass.kubernetes.controllers.client import Writer

NORMAL, WARNING = "Normal", "Warning"
_MOST_ALIKE = 10
_BURST = 25
_REFILL_SECONDS = 300.0
_REMEMBERED = 4096
_MAX_MESSAGE = 1024
_COMBINED = "(combined from similar events)"


@dataclass(slots=True)
class _About:
    """What was told of one object.

    Shapes:  `names` are the events by reason and message, `alike` the number of messages of a reason.
    """

    left: float = _BURST
    last: float = 0.0
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    alike: dict[str, int] = field(default_factory=dict)


class Notes:
    """Writes the events of one controller."""

    def __init__(self, writer: Writer, component: str) -> None:
        self._writer, self._component = writer, component
        self._told: OrderedDict[str, _About] = OrderedDict()

    async def record(self, kind: str, obj: Object, type_: str, reason: str, message: str) -> None:
        """Tell of an object; an event that cannot be written is no reason to stop."""
        about = self._about(obj["metadata"]["uid"])
        if not self._may(about):
            return
        told = (reason, message)
        if told not in about.names:
            count = about.alike[reason] = about.alike.get(reason, 0) + 1
            if count > _MOST_ALIKE:
                told, message = (reason, _COMBINED), f"{_COMBINED}: {message}"
        made = self._event(kind, obj["metadata"], type_, reason, message[:_MAX_MESSAGE])
        try:
            await self._write(about, told, made)
        except StatusError:
            return

    def _about(self, uid: str) -> _About:
        about = self._told.setdefault(uid, _About())
        self._told.move_to_end(uid)
        while len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        return about

    def _may(self, about: _About) -> bool:
        """Take one from the bucket of an object, if there is one left."""
        now = self._writer.now
        about.left = min(_BURST, about.left + (now - about.last) / _REFILL_SECONDS)
        about.last = now
        if about.left < 1:
            return False
        about.left -= 1
        return True

    async def _write(self, about: _About, told: tuple[str, str], made: Object) -> None:
        if name := about.names.get(told):
            try:
                await self._again(name, made)
            except StatusError as exc:
                if exc.status != 404:
                    raise
            else:
                return
        about.names[told] = made["metadata"]["name"]
        await self._writer.create("Event", made)

    async def _again(self, name: str, made: Object) -> None:
        """Count an event that was written before."""

        def seen(event: Object) -> Object:
            count = (event.get("count") or 1) + 1
            kept = {part: made[part] for part in ("message", "lastTimestamp")}
            return {**event, **kept, "metadata": {**event["metadata"]}, "count": count}

        await self._writer.change("Event", made["metadata"]["namespace"], name, seen)

    def _event(self, kind: str, metadata: Object, type_: str, reason: str, message: str) -> Object:
        now = rfc3339(self._writer.now)
        return {
            "metadata": {
                "name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}",
                "namespace": metadata["namespace"],
            },
            "involvedObject": {
                "kind": kind,
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "apiVersion": named(kind).api_version,
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
            "reason": reason,
            "message": message,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "type": type_,
        }
