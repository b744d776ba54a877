"""Record Events: correlate equal and similar ones, limit the writes, and write them in the background.

As in client-go, an Event that repeats is counted, similar Events are combined, and each object or namespace
has a limited number of writes. Recording never blocks and never fails: Events are best effort.
"""

import asyncio
import contextlib
import logging
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

from kubeling.api import Api, ApiError, BackOff
from kubeling.clock import Clock, rfc3339, system
from kubeling.tasks import cancel_and_wait

_log = logging.getLogger(__name__)

NORMAL, WARNING = "Normal", "Warning"
_MAX_MESSAGE = 1024
_MAX_QUEUED = 1000
_COMBINED = "(combined from similar events)"

Object = dict[str, Any]
Reference = Mapping[str, Any]
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_SeriesKey = tuple[str, ...]


class EventSink(Protocol):
    """Writes Events to an API server."""

    async def create_event(self, namespace: str, event: Object) -> None:
        """Create an Event. Raises ApiError."""

    async def patch_event(self, namespace: str, name: str, change: Object) -> None:
        """Merge top-level fields into an Event. Raises ApiError: status 404 if the Event does not exist."""


class ApiEvents:
    """The `EventSink` of a user of the API server."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create_event(self, namespace: str, event: Object) -> None:
        """Create an Event."""
        await self._api.create(f"/api/v1/namespaces/{namespace}/events", event)

    async def patch_event(self, namespace: str, name: str, change: Object) -> None:
        """Merge top-level fields into an Event."""
        await self._api.patch(f"/api/v1/namespaces/{namespace}/events/{name}", change)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """A token bucket: `burst` writes at once, and one more every `seconds_each` seconds."""

    burst: int
    seconds_each: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLimits:
    """The limits of a recorder.

    `per_object` limits the writes for each object. More than `max_similar` messages with the same object and
    reason are combined. `attempts` is the number of attempts per write; `drain_seconds` is how long the
    recorder writes queued Events when it stops.
    """

    max_series: int = 1024
    max_similar: int | None = None
    per_object: RateLimit | None = None
    attempts: int = 1
    drain_seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class EventSeries:
    """The occurrences of one Event so far.

    `name` is the name of the Event object, empty before the first write; `written` is the count in the
    object. Times are in seconds since the epoch.
    """

    reference: Reference
    type: str
    reason: str
    component: str
    message: str = ""
    name: str = ""
    count: int = 0
    written: int = 0
    first: float = 0.0
    last: float = 0.0
    queued: bool = False

    @property
    def namespace(self) -> str:
        return self.reference.get("namespace") or "default"


class EventCorrelator:
    """Groups Events into series and limits how often each is written. It does no I/O."""

    def __init__(self, limits: EventLimits) -> None:
        self._limits = limits
        self.series: OrderedDict[_SeriesKey, EventSeries] = OrderedDict()
        self.buckets: OrderedDict[str, float] = OrderedDict()
        self._similar: OrderedDict[_SeriesKey, int] = OrderedDict()

    def add(self, event: EventSeries, now: float) -> EventSeries:
        """Count an occurrence of an event; return its series.

        Events with the same object, type, reason, component and message form one series.
        """
        group = _group(event)
        key = message = event.message
        if self._is_combined(group, key):
            key, message = _COMBINED, f"{_COMBINED}: {message}"
        series = self.series.get((*group, key))
        if series is None:
            series = event
            series.first = now
        _store(self.series, (*group, key), series, self._limits.max_series)
        series.message = message[:_MAX_MESSAGE]
        series.count += 1
        series.last = now
        return series

    def allow_write(self, series: EventSeries, now: float) -> bool:
        """Return whether a series may be written now; a permitted write takes a token from its bucket."""
        limit = self._limits.per_object
        if limit is None:
            return True
        bucket = str(series.reference.get("uid") or "")
        full_at = max(self.buckets.get(bucket, now), now) + limit.seconds_each
        if full_at > now + limit.burst * limit.seconds_each:
            return False
        _store(self.buckets, bucket, full_at, self._limits.max_series)
        return True

    def _is_combined(self, group: _SeriesKey, key: str) -> bool:
        """Return whether a message is combined: it is new, and there are enough similar messages."""
        maximum = self._limits.max_similar
        if maximum is None or (*group, key) in self.series:
            return False
        count = self._similar.get(group, 0) + 1
        _store(self._similar, group, count, self._limits.max_series)
        return count > maximum


def _group(event: EventSeries) -> _SeriesKey:
    reference = event.reference
    names = (str(reference.get(part, "")) for part in ("namespace", "uid", "fieldPath"))
    return (*names, event.type, event.reason, event.component)


def _store(values: "OrderedDict[_Key, _Value]", key: _Key, value: _Value, maximum: int) -> None:
    """Store a value as the most recently used; evict the least recently used over the maximum."""
    values[key] = value
    values.move_to_end(key)
    while len(values) > maximum:
        values.popitem(last=False)


class EventRecorder:
    """Records Events in the background; use it as a context, or call `run`.

    A failed write is logged once until the next success: a missing permission would otherwise fill the log.
    """

    def __init__(
        self,
        sink: EventSink,
        component: str,
        *,
        host: str = "",
        clock: Clock = system,
        limits: EventLimits | None = None,
    ) -> None:
        self._sink, self._component, self._host = sink, component, host
        self._clock, self._limits = clock, limits or EventLimits()
        self.correlator = EventCorrelator(self._limits)
        self.queue: asyncio.Queue[EventSeries] = asyncio.Queue(_MAX_QUEUED)
        self.is_failing = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run(), name="events")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Write queued Events for `drain_seconds`, then stop."""
        if self._limits.drain_seconds:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.drain_seconds):
                    await self.queue.join()
        await cancel_and_wait(self._task)

    def record(
        self,
        reference: Reference,
        type_: str,
        reason: str,
        message: str,
        *,
        component: str = "",
    ) -> None:
        """Queue an Event about an object; return immediately, before the Event is written."""
        now = self._clock()
        message = message[:_MAX_MESSAGE]
        event = EventSeries(
            reference=reference,
            type=type_,
            reason=reason,
            component=component or self._component,
            message=message,
        )
        series = self.correlator.add(event, now)
        if series.queued or self.queue.full() or not self.correlator.allow_write(series, now):
            return
        series.queued = True
        self.queue.put_nowait(series)

    async def run(self) -> None:
        """Write queued Events until cancelled."""
        while True:
            series = await self.queue.get()
            series.queued = False
            try:
                await self._write(series)
                self.is_failing = False
            except ApiError as exc:
                if not self.is_failing:
                    facts = {"status": exc.status, "reason": exc.message}
                    _log.debug("event_write_failed", extra=facts)
                self.is_failing = True
            except Exception:  # noqa: BLE001 the next Event may succeed
                _log.exception("event_writer_failed")
            finally:
                self.queue.task_done()

    async def _write(self, series: EventSeries) -> None:
        """Write a series; retry while the API server is unavailable. Raises ApiError."""
        back_off = BackOff()
        for left in reversed(range(self._limits.attempts)):
            try:
                await self._patch_or_create(series)
            except ApiError as exc:
                if exc.status < 500 or not left:
                    raise
                await back_off.wait()
            else:
                return

    async def _patch_or_create(self, series: EventSeries) -> None:
        if series.name:
            update = _build_update(series)
            try:
                await self._sink.patch_event(series.namespace, series.name, update)
            except ApiError as exc:
                if exc.status != 404:  # the API server deletes Events after an hour
                    raise
            else:
                series.written = update["count"]
                return
            # A new Event has the count since the last write, not the count of all occurrences.
            series.count, series.first = series.count - series.written, series.last
            series.name, series.written = "", 0
        name = f"{str(series.reference['name'])[:230].rstrip('.-')}.{uuid.uuid4().hex[:16]}"
        event = self._build_event(series, name)
        await self._sink.create_event(series.namespace, event)
        series.name, series.written = name, event["count"]

    def _build_event(self, series: EventSeries, name: str) -> Object:
        host = {"host": self._host} if self._host else {}
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": series.namespace},
            "involvedObject": dict(series.reference),
            "type": series.type,
            "reason": series.reason,
            "source": {"component": series.component, **host},
            "reportingComponent": series.component,
            **({"reportingInstance": self._host} if self._host else {}),
            "firstTimestamp": rfc3339(series.first),
            **_build_update(series),
        }


def _build_update(series: EventSeries) -> Object:
    return {
        "message": series.message,
        "count": series.count,
        "lastTimestamp": rfc3339(series.last),
    }


def object_reference(
    obj: Mapping[str, Any], container: str = "", *, init: bool = False
) -> Reference:
    """Return the reference to an object, or to one container of a pod."""
    meta = obj["metadata"]
    reference = {
        "kind": obj.get("kind") or "Pod",
        "apiVersion": obj.get("apiVersion") or "v1",
        "name": meta["name"],
        "namespace": meta.get("namespace"),
        "uid": meta.get("uid"),
        "resourceVersion": meta.get("resourceVersion"),
    }
    if container:
        field = "initContainers" if init else "containers"
        reference["fieldPath"] = f"spec.{field}{{{container}}}"
    return {key: value for key, value in reference.items() if value}
