"""Events: sent in the background, counted when they repeat."""

import time

from podpass.kubernetes.client import KubeClient, Target
from podpass.kubernetes.kubelet.event_recorder import NORMAL, WARNING, Recorder, reference
from tests.kubernetes.kubelet.cluster import Lab, eventually

POD = {"metadata": {"name": "p", "namespace": "default", "uid": "u", "resourceVersion": "1"}}


def test_reference_to_a_container_has_its_field_path() -> None:
    assert reference(POD)["kind"] == "Pod"
    assert reference(POD, "m")["fieldPath"] == "spec.containers{m}"
    assert reference(POD, "i", init=True)["fieldPath"] == "spec.initContainers{i}"


async def test_equal_events_are_counted(cluster: Lab) -> None:
    recorder = Recorder(cluster.client, "node", time.time)
    recorder.start()
    for _ in range(3):
        recorder.record(WARNING, reference(POD, "m"), "BackOff", "again")
    recorder.record(NORMAL, reference(POD, "n"), "BackOff", "again")

    async def told() -> bool:
        found = {each["involvedObject"]["fieldPath"]: each for each in await cluster.events("p")}
        return {path: each["count"] for path, each in found.items()} == {
            "spec.containers{m}": 3,
            "spec.containers{n}": 1,
        }

    await eventually(told)
    event = (await cluster.events("p"))[0]
    assert event["source"] == {"component": "kubelet", "host": "node"}
    await recorder.stop()


async def test_deleted_event_is_created_again(cluster: Lab) -> None:
    recorder = Recorder(cluster.client, "node", time.time)
    recorder.start()
    recorder.record(NORMAL, reference(POD), "Killing", "x")
    first = (await cluster.event("p", "Killing"))["metadata"]["name"]
    await cluster.client.delete(f"/api/v1/namespaces/default/events/{first}")
    recorder.record(NORMAL, reference(POD), "Killing", "x")
    again = await cluster.event("p", "Killing")
    assert again["metadata"]["name"] != first
    assert again["count"] == 1
    await recorder.stop()


async def test_recorder_stops_when_the_api_server_is_unavailable() -> None:
    async with KubeClient(Target(server="http://127.0.0.1:1")) as nobody:
        recorder = Recorder(nobody, "node", time.time)
        recorder.start()
        for number in range(2000):
            recorder.record(NORMAL, reference(POD), "Killing", str(number))
        await recorder.stop()
