"""Record an Event on the controller of a refused pod: only the controller receives the refusal itself.

The recorder never delays a response and never fills etcd or the memory of this process. It uses the owner
that a pod names only within the namespace of the pod.
"""

import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from podpass import names
from podpass.clock import Clock, system
from podpass.kubernetes.client.event_recorder import (
    WARNING,
    EventLimits,
    EventRecorder,
    EventSink,
    RateLimit,
)

COMPONENT = "podpass-webhook"
MAX_WAITING = 100
MAX_KNOWN = 1000
QUIET_SECONDS = 60.0
BURST, SECONDS_EACH = 20, 5.0
BURST_OF_ALL, SECONDS_EACH_OF_ALL = 200, 0.5
# The total limit exists because a client that reaches the port can name a thousand namespaces.
LIMITS = EventLimits(
    max_series=MAX_KNOWN,
    max_queued=MAX_WAITING,
    quiet_seconds=QUIET_SECONDS,
    bucket_field="namespace",
    per_bucket=RateLimit(burst=BURST, seconds_each=SECONDS_EACH),
    total=RateLimit(burst=BURST_OF_ALL, seconds_each=SECONDS_EACH_OF_ALL),
    restarts_count=False,
)
_HINT = "allow the webhook to create and patch events"
_NAME = re.compile(r"[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?")
_WORD = re.compile(r"[A-Za-z0-9][-./A-Za-z0-9]{0,126}")
_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_REPEATED = (("metadata", "name"), ("metadata", "generateName"), ("spec", "serviceAccountName"))


class RefusalRecorder:
    """Records Events on the controllers of refused pods; use it as a context.

    Each controller and reason has one Event with a count, written at most once in QUIET_SECONDS. A namespace
    has BURST writes, and one more every SECONDS_EACH. Each replica of the webhook counts for itself.
    """

    def __init__(self, sink: EventSink, clock: Clock = system) -> None:
        self.recorder = EventRecorder(sink, COMPONENT, clock=clock, limits=LIMITS, hint=_HINT)

    async def __aenter__(self) -> Self:
        await self.recorder.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.recorder.__aexit__(kind, error, trace)

    def refused(self, namespace: str, raw: object, code: str, message: str) -> None:
        """Queue the refusal of a raw pod; return immediately, even if the Event cannot be written."""
        controller = find_controller(raw, namespace)
        if controller is not None:
            self.recorder.record(controller, WARNING, names.REFUSED_REASON, message, key=code)


def find_controller(raw: object, namespace: str) -> dict[str, str] | None:
    """Return the controller that a raw pod names; None if it names none or its reference is invalid.

    A user who creates pods may name any owner, so the Event is written in the pod's own namespace. An invalid
    name is free text of that user, and a reader of the Event could mistake it for a message of the webhook.
    """
    if not isinstance(raw, dict) or not _has_valid_names(raw):
        return None
    metadata = raw.get("metadata")
    owners = metadata.get("ownerReferences") if isinstance(metadata, dict) else None
    for owner in owners if isinstance(owners, list) else ():
        if isinstance(owner, dict) and owner.get("controller") is True:
            about = {name: _to_text(owner.get(name)) for name in ("apiVersion", "kind", "uid")}
            name = _to_text(owner.get("name"))
            words = all(_WORD.fullmatch(each) for each in about.values())
            if words and _NAME.fullmatch(name) and _NAMESPACE.fullmatch(namespace):
                return {**about, "name": name, "namespace": namespace}
    return None


def _has_valid_names(pod: Mapping[str, Any]) -> bool:
    """Return whether the names in the pod are valid: the refusal repeats them."""
    for part, key in _REPEATED:
        parent = pod.get(part)
        value = parent.get(key) if isinstance(parent, dict) else None
        if value and not _NAME.fullmatch(_to_text(value).rstrip("-.")):
            return False
    return True


def _to_text(value: object) -> str:
    return value if isinstance(value, str) else ""
