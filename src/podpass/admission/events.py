"""Tells the controller of a refused pod about it, by an Event: whoever scaled a Deployment sees no answer.

What enters is a refusal; what leaves are writes to the API server, later and one at a time. It must never
hold up a verdict, fill the cluster's database or this process's memory, or trust what a pod says of its owner
further than to its own namespace.
"""

import asyncio
import logging
import re
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from podpass import names
from podpass.clock import Clock, rfc3339, system
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.tasks import end

_log = logging.getLogger(__name__)

COMPONENT = "podpass-webhook"
MAX_WAITING = 100
MAX_KNOWN = 1000
QUIET_SECONDS = 60.0
BURST, SECONDS_EACH = 20, 5.0
BURST_OF_ALL, SECONDS_EACH_OF_ALL = 200, 0.5
_MAX_MESSAGE = 1024
_NAME = re.compile(r"[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?")
_WORD = re.compile(r"[A-Za-z0-9][-./A-Za-z0-9]{0,126}")
_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_REPEATED = (("metadata", "name"), ("metadata", "generateName"), ("spec", "serviceAccountName"))


@dataclass(slots=True)
class Refusal:
    """What was refused about one controller for one reason, so far.

    Shapes:  `about` is the reference to the controller; `event` is the name of what was written of it.
    Units:   seconds since the epoch.
    """

    about: Mapping[str, str]
    first: float
    message: str = ""
    event: str = ""
    count: int = 0
    last: float = 0.0
    quiet_until: float = 0.0
    waiting: bool = False


class Events:
    """Writes Events on controllers of refused pods; use it as a context.

    One controller and reason is one Event that counts on, written at most once in QUIET_SECONDS. A namespace
    has BURST writes, and one more every SECONDS_EACH; all together have theirs, since whoever reaches the
    port can name a thousand namespaces. Each replica counts its own.
    """

    def __init__(self, client: KubeClient, clock: Clock = system) -> None:
        self._client = client
        self._clock = clock
        self._known: OrderedDict[tuple[str, str, str], Refusal] = OrderedDict()
        self._budgets: OrderedDict[str, float] = OrderedDict()
        self._full_at = 0.0
        self._waiting: asyncio.Queue[Refusal] = asyncio.Queue(MAX_WAITING)
        self._writing: asyncio.Task[None] | None = None
        self._failed = False

    async def __aenter__(self) -> Self:
        self._writing = asyncio.create_task(self._write_all(), name="events")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await end(self._writing)

    def refused(self, namespace: str, raw: object, code: str, message: str) -> None:
        """Note that a raw pod was refused; returns at once, whatever becomes of it."""
        about = controller(raw, namespace)
        if about is None:
            return
        now = self._clock()
        refusal = self._known.setdefault(
            (namespace, about["uid"], code), Refusal(about=about, first=now)
        )
        self._known.move_to_end((namespace, about["uid"], code))
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        refusal.count += 1
        refusal.last, refusal.message = now, message[:_MAX_MESSAGE]
        if refusal.waiting or now < refusal.quiet_until or self._waiting.full():
            return
        if self._may_write(namespace, now):
            refusal.waiting, refusal.quiet_until = True, now + QUIET_SECONDS
            self._waiting.put_nowait(refusal)

    def _may_write(self, namespace: str, now: float) -> bool:
        """Take one of a namespace's writes, and of all; what is kept is when they will be there again."""
        full_at = max(self._budgets.get(namespace, now), now) + SECONDS_EACH
        if full_at > now + BURST * SECONDS_EACH:
            return False
        self._budgets[namespace] = full_at
        self._budgets.move_to_end(namespace)
        if len(self._budgets) > MAX_KNOWN:
            self._budgets.popitem(last=False)
        of_all = max(self._full_at, now) + SECONDS_EACH_OF_ALL
        if of_all > now + BURST_OF_ALL * SECONDS_EACH_OF_ALL:
            return False
        self._full_at = of_all
        return True

    async def _write_all(self) -> None:
        while True:
            refusal = await self._waiting.get()
            refusal.waiting = False
            try:
                await self._write(refusal)
                self._failed = False
            except KubeError as exc:
                self._complain(exc)
            except Exception:  # noqa: BLE001 the next one may go well
                _log.exception("event_broken")

    def _complain(self, exc: KubeError) -> None:
        # Once, until one is written again: a missing right would otherwise fill the log with itself.
        if not self._failed:
            hint = "let the webhook create and patch events"
            facts = {"status": exc.status, "reason": exc.message, "hint": hint}
            _log.warning("event_not_written", extra=facts)
        self._failed = True

    async def _write(self, refusal: Refusal) -> None:
        path = f"/api/v1/namespaces/{refusal.about['namespace']}/events"
        if refusal.event:
            try:
                await self._client.patch(f"{path}/{refusal.event}", _changed(refusal))
            except KubeError as exc:
                if exc.status != 404:  # they are kept for an hour
                    raise
            else:
                return
        name = f"{refusal.about['name'][:230].rstrip('.-')}.{uuid.uuid4().hex[:16]}"
        await self._client.create(path, written(refusal, name))
        refusal.event = name


def controller(raw: object, namespace: str) -> dict[str, str] | None:
    """Find the controller a raw pod names; None where there is none, or one no object could be.

    Whoever creates pods may name any owner, so the Event lies in the pod's own namespace. Names that no
    object can have are free text, which whoever reads the Event would take for the webhook's own words.
    """
    if not isinstance(raw, dict) or not _has_fit_names(raw):
        return None
    metadata = raw.get("metadata")
    owners = metadata.get("ownerReferences") if isinstance(metadata, dict) else None
    for owner in owners if isinstance(owners, list) else ():
        if isinstance(owner, dict) and owner.get("controller") is True:
            about = {name: _text(owner.get(name)) for name in ("apiVersion", "kind", "uid")}
            name = _text(owner.get("name"))
            words = all(_WORD.fullmatch(each) for each in about.values())
            if words and _NAME.fullmatch(name) and _NAMESPACE.fullmatch(namespace):
                return {**about, "name": name, "namespace": namespace}
    return None


def _has_fit_names(pod: Mapping[str, Any]) -> bool:
    """Tell whether a pod's names, which its refusal repeats, could be names."""
    for part, key in _REPEATED:
        held = pod.get(part)
        said = held.get(key) if isinstance(held, dict) else None
        if said and not _NAME.fullmatch(_text(said).rstrip("-.")):
            return False
    return True


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def written(refusal: Refusal, name: str) -> dict[str, Any]:
    """Write the Event of a refusal."""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": refusal.about["namespace"]},
        "involvedObject": dict(refusal.about),
        "type": "Warning",
        "reason": names.REFUSED_REASON,
        "source": {"component": COMPONENT},
        "firstTimestamp": rfc3339(refusal.first),
        **_changed(refusal),
    }


def _changed(refusal: Refusal) -> dict[str, Any]:
    return {
        "message": refusal.message,
        "count": refusal.count,
        "lastTimestamp": rfc3339(refusal.last),
    }
