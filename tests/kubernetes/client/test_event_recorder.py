"""The event recorder: correlation, limits, and the background queue."""

import asyncio
import logging
from typing import Any

import pytest

from podpass.kubernetes.client import KubeError
from podpass.kubernetes.client.event_recorder import WARNING, EventLimits, EventRecorder, RateLimit


class Sink:
    """Events in memory; `status` is the status of each response."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.writes = 0
        self.status = 200

    async def create_event(self, namespace: str, event: dict[str, Any]) -> None:
        self._respond()
        assert event["metadata"]["namespace"] == namespace
        self.events[event["metadata"]["name"]] = event

    async def patch_event(self, namespace: str, name: str, change: dict[str, Any]) -> None:
        self._respond()
        assert namespace
        if name not in self.events:
            raise KubeError(404, "NotFound", "not found")
        self.events[name] |= change

    def _respond(self) -> None:
        self.writes += 1
        if self.status != 200:
            raise KubeError(self.status, "Refused", f"status {self.status}")

    def counts(self) -> list[tuple[str, int]]:
        return [(each["message"], each["count"]) for each in self.events.values()]


class Recording:
    """A recorder with an in-memory sink and a clock that tests set."""

    def __init__(self, **limits: Any) -> None:
        self.now, self.sink = 1000.0, Sink()
        self.recorder = EventRecorder(
            self.sink, "test", clock=lambda: self.now, limits=EventLimits(**limits)
        )

    async def record(self, message: str, *, uid: str = "u", key: str = "") -> None:
        """Record an event and write all queued events."""
        self.queue(message, uid=uid, key=key)
        await self.write()

    def queue(self, message: str, *, uid: str = "u", key: str = "") -> None:
        reference = {"kind": "Pod", "name": "p", "namespace": "n", "uid": uid}
        self.recorder.record(reference, WARNING, "Created", message, key=key or message)

    async def write(self) -> None:
        async with self.recorder:
            await asyncio.wait_for(self.recorder.queue.join(), 30)


async def test_equal_events_are_counted_in_one_event() -> None:
    recording = Recording()
    for _ in range(3):
        await recording.record("x")
    assert recording.sink.counts() == [("x", 3)]


async def test_queued_events_are_written_once_with_their_count() -> None:
    recording = Recording()
    for _ in range(5):
        recording.queue("x")
    await recording.write()
    assert (recording.sink.counts(), recording.sink.writes) == ([("x", 5)], 1)


async def test_writes_per_object_are_limited_and_refilled() -> None:
    recording = Recording(per_bucket=RateLimit(burst=2, seconds_each=10))
    for number in range(5):
        await recording.record(str(number))
        await recording.record(str(number), uid="other")
    assert recording.sink.writes == 4
    recording.now += 10
    await recording.record("5")
    await recording.record("6")
    assert recording.sink.writes == 5


async def test_limited_occurrences_are_counted_by_the_next_write() -> None:
    recording = Recording(per_bucket=RateLimit(burst=1, seconds_each=10))
    for _ in range(4):
        await recording.record("x")
    assert recording.sink.counts() == [("x", 1)]
    recording.now += 10
    await recording.record("x")
    assert recording.sink.counts() == [("x", 5)]


@pytest.mark.parametrize(("restarts", "count"), [(True, 1), (False, 3)])
async def test_deleted_event_is_created_again(restarts: bool, count: int) -> None:
    recording = Recording(restarts_count=restarts)
    await recording.record("x")
    await recording.record("x")
    recording.sink.events.clear()
    await recording.record("x")
    assert recording.sink.counts() == [("x", count)]


async def test_key_groups_events_with_different_messages() -> None:
    recording = Recording()
    await recording.record("first", key="code")
    await recording.record("second", key="code")
    assert recording.sink.counts() == [("second", 2)]


async def test_full_queue_drops_the_event() -> None:
    recording = Recording(max_queued=1)
    recording.queue("a")
    recording.queue("b")
    await recording.write()
    assert recording.sink.counts() == [("a", 1)]


async def test_failure_is_logged_once_until_the_next_success(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    recording = Recording()
    for status in (403, 403, 200, 403):
        recording.sink.status = status
        await recording.record("x")
    assert [each.msg for each in caplog.records if each.name.endswith("event_recorder")] == [
        "event_write_failed",
        "event_write_failed",
    ]
