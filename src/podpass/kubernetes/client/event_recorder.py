"""Record Events: count those that repeat, limit the writes, and write them in the background.

As in client-go, an Event that repeats is counted, and each object or namespace has a limited number of
writes. Recording never blocks and never fails: Events are best effort.
"""

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

from podpass.clock import Clock, rfc3339, system
from podpass.kubernetes.client.errors import KubeError
from podpass.tasks import cancel_and_wait

_log = logging.getLogger(__name__)

WARNING = "Warning"
_MAX_MESSAGE = 1024

Object = dict[str, Any]
Reference = Mapping[str, Any]
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_SeriesKey = tuple[str, ...]


class EventSink(Protocol):
    """Writes Events to an API server."""

    async def create_event(self, namespace: str, event: Object) -> None:
        """Create an Event. Raises KubeError."""

    async def patch_event(self, namespace: str, name: str, change: Object) -> None:
        """Merge top-level fields into an Event. Raises KubeError; status 404 if the Event does not exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """A token bucket: `burst` writes at once, and one more every `seconds_each` seconds."""

    burst: int
    seconds_each: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLimits:
    """The limits of a recorder.

    `per_bucket` limits the writes for each value of the reference field `bucket_field`; `total` limits all
    writes. With `restarts_count`, an Event that the API server has deleted is created again with the count
    since the last write, not with the total count. One Event is written at most once in `quiet_seconds`.
    """

    max_series: int = 1024
    max_queued: int = 1000
    quiet_seconds: float = 0.0
    bucket_field: str = "uid"
    per_bucket: RateLimit | None = None
    total: RateLimit | None = None
    restarts_count: bool = True


@dataclass(slots=True, kw_only=True)
class EventSeries:
    """The occurrences of one Event so far.

    `name` is the name of the Event object, empty before the first write; `written` is the count in it. Units:
    seconds since the epoch.
    """

    reference: Reference
    type: str
    reason: str
    message: str
    name: str = ""
    count: int = 0
    written: int = 0
    first: float = 0.0
    last: float = 0.0
    quiet_until: float = 0.0
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
        self._total_full_at = 0.0

    def add(self, event: EventSeries, key: str, now: float) -> EventSeries:
        """Count an occurrence of an event with this message; return its series.

        Events with the same object, type, reason and `key` form one series.
        """
        names = (str(event.reference.get(part, "")) for part in ("namespace", "uid"))
        group = (*names, event.type, event.reason)
        series = self.series.get((*group, key))
        if series is None:
            series = event
            series.first = now
        _store(self.series, (*group, key), series, self._limits.max_series)
        series.message = event.message
        series.count += 1
        series.last = now
        return series

    def allow_write(self, series: EventSeries, now: float) -> bool:
        """Return whether a series may be written now; a permitted write counts against the limits."""
        if now < series.quiet_until or not self._take(series, now):
            return False
        series.quiet_until = now + self._limits.quiet_seconds
        return True

    def _take(self, series: EventSeries, now: float) -> bool:
        """Take a token from the bucket of the series and from the total; return whether both had one."""
        limits = self._limits
        if limits.per_bucket is not None:
            bucket = str(series.reference.get(limits.bucket_field) or "")
            full_at = _take_token(limits.per_bucket, self.buckets.get(bucket, now), now)
            if full_at is None:
                return False
            _store(self.buckets, bucket, full_at, limits.max_series)
        if limits.total is not None:
            full_at = _take_token(limits.total, self._total_full_at, now)
            if full_at is None:
                return False
            self._total_full_at = full_at
        return True


def _take_token(limit: RateLimit, full_at: float, now: float) -> float | None:
    """Return the time at which the bucket is full after one more write, or None if it is empty."""
    after = max(full_at, now) + limit.seconds_each
    return None if after > now + limit.burst * limit.seconds_each else after


def _store(values: "OrderedDict[_Key, _Value]", key: _Key, value: _Value, maximum: int) -> None:
    """Store a value as the most recently used; evict the least recently used over the maximum."""
    values[key] = value
    values.move_to_end(key)
    while len(values) > maximum:
        values.popitem(last=False)


class EventRecorder:
    """Records Events in the background; use it as a context, or call `run`.

    A failed write is logged once until the next success: a missing permission would otherwise fill the log.
    It is a warning if the user can fix it by the `hint`, else a debug entry.
    """

    def __init__(
        self,
        sink: EventSink,
        component: str,
        *,
        clock: Clock = system,
        limits: EventLimits | None = None,
        hint: str = "",
    ) -> None:
        self._sink, self._component = sink, component
        self._clock, self._hint = clock, hint
        self._limits = limits or EventLimits()
        self.correlator = EventCorrelator(self._limits)
        self.queue: asyncio.Queue[EventSeries] = asyncio.Queue(self._limits.max_queued)
        self.is_failing = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run(), name="events")
        return self

    async def __aexit__(self, *_: object) -> None:
        await cancel_and_wait(self._task)

    def record(
        self, reference: Reference, type_: str, reason: str, message: str, *, key: str
    ) -> None:
        """Queue an Event about an object; return immediately, before the Event is written.

        `key` distinguishes Events with the same object and reason.
        """
        now = self._clock()
        event = EventSeries(
            reference=reference, type=type_, reason=reason, message=message[:_MAX_MESSAGE]
        )
        series = self.correlator.add(event, key, now)
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
                await self._patch_or_create(series)
                self.is_failing = False
            except KubeError as exc:
                if not self.is_failing:
                    facts = {"status": exc.status, "reason": exc.message}
                    if self._hint:
                        _log.warning("event_write_failed", extra={**facts, "hint": self._hint})
                    else:
                        _log.debug("event_write_failed", extra=facts)
                self.is_failing = True
            except Exception:  # noqa: BLE001 the next Event may succeed
                _log.exception("event_writer_failed")
            finally:
                self.queue.task_done()

    async def _patch_or_create(self, series: EventSeries) -> None:
        if series.name:
            update = _build_update(series)
            try:
                await self._sink.patch_event(series.namespace, series.name, update)
            except KubeError as exc:
                if exc.status != 404:  # the API server deletes Events after an hour
                    raise
            else:
                series.written = update["count"]
                return
            if self._limits.restarts_count:
                series.count, series.first = series.count - series.written, series.last
            series.name, series.written = "", 0
        name = f"{str(series.reference['name'])[:230].rstrip('.-')}.{uuid.uuid4().hex[:16]}"
        event = self._build_event(series, name)
        await self._sink.create_event(series.namespace, event)
        series.name, series.written = name, event["count"]

    def _build_event(self, series: EventSeries, name: str) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": series.namespace},
            "involvedObject": dict(series.reference),
            "type": series.type,
            "reason": series.reason,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "firstTimestamp": rfc3339(series.first),
            **_build_update(series),
        }


def _build_update(series: EventSeries) -> Object:
    return {"message": series.message, "count": series.count, "lastTimestamp": rfc3339(series.last)}
