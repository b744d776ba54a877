"""Events of the kubelet: written in the background, and counted when they repeat."""

import time

from kubeling.api import Api
from kubeling.event_recorder import (
    NORMAL,
    WARNING,
    ApiEvents,
    EventCorrelator,
    EventLimits,
    EventRecorder,
    EventSeries,
    RateLimit,
    object_reference,
)
from kubeling.kubelet.kubelet import COMPONENT, EVENT_LIMITS
from tests.kubelet.cluster import KubeletCluster, eventually

POD = {"metadata": {"name": "p", "namespace": "default", "uid": "u", "resourceVersion": "1"}}


def new_recorder(api: Api) -> EventRecorder:
    sink = ApiEvents(api)
    return EventRecorder(sink, COMPONENT, host="node", clock=time.time, limits=EVENT_LIMITS)


def test_reference_to_a_container_has_its_field_path() -> None:
    assert object_reference(POD)["kind"] == "Pod"
    assert object_reference(POD, "m")["fieldPath"] == "spec.containers{m}"
    assert object_reference(POD, "i", init=True)["fieldPath"] == "spec.initContainers{i}"


def series(message: str, uid: str = "u") -> EventSeries:
    reference = {"namespace": "n", "uid": uid}
    return EventSeries(
        reference=reference, type=NORMAL, reason="Created", component="c", message=message
    )


def test_similar_events_are_combined() -> None:
    correlator = EventCorrelator(EventLimits(max_similar=2))
    for number in range(5):
        found = correlator.add(series(f"pod {number}"), 0.0)
    assert found.message == "(combined from similar events): pod 4"
    assert [each.count for each in correlator.series.values()] == [1, 1, 3]
    assert correlator.add(series("pod 0"), 0.0).count == 2


def test_writes_per_object_are_limited_and_refilled() -> None:
    limit = RateLimit(burst=2, seconds_each=10)
    correlator = EventCorrelator(EventLimits(per_object=limit))
    for uid in ("one", "other"):
        allowed = [correlator.allow_write(series(str(number), uid), 0.0) for number in range(3)]
        assert allowed == [True, True, False]
    assert [correlator.allow_write(series("x", "one"), 10.0) for _ in range(2)] == [True, False]


async def test_equal_events_are_counted(bare_cluster: KubeletCluster) -> None:
    async with new_recorder(bare_cluster.client) as recorder:
        for _ in range(3):
            recorder.record(object_reference(POD, "m"), WARNING, "BackOff", "again")
        recorder.record(object_reference(POD, "n"), NORMAL, "BackOff", "again")

        async def are_counted() -> bool:
            found = await bare_cluster.events("p")
            return {each["involvedObject"]["fieldPath"]: each["count"] for each in found} == {
                "spec.containers{m}": 3,
                "spec.containers{n}": 1,
            }

        await eventually(are_counted)
        event = (await bare_cluster.events("p"))[0]
        assert event["source"] == {"component": "kubelet", "host": "node"}


async def test_deleted_event_is_created_again(bare_cluster: KubeletCluster) -> None:
    async with new_recorder(bare_cluster.client) as recorder:
        recorder.record(object_reference(POD), NORMAL, "Killing", "x")
        first = (await bare_cluster.event("p", "Killing"))["metadata"]["name"]
        await bare_cluster.client.delete(f"/api/v1/namespaces/default/events/{first}")
        recorder.record(object_reference(POD), NORMAL, "Killing", "x")
        again = await bare_cluster.event("p", "Killing")
        assert again["metadata"]["name"] != first
        assert again["count"] == 1


async def test_recorder_stops_when_the_api_server_is_unavailable(
    bare_cluster: KubeletCluster,
) -> None:
    async with (
        bare_cluster.disconnected(),
        new_recorder(bare_cluster.connection) as recorder,
    ):
        for number in range(2000):
            recorder.record(object_reference(POD), NORMAL, "Killing", str(number))
