"""A waiting pod needs almost no CPU time.

Each sync of a pod reads the clock a few times, so the number of readings shows the number of syncs.
"""

import asyncio
import time
from typing import Any

import pytest

from tests.kubelet.cluster import KubeletCluster, Pod, shell, state

# Six syncs per second are due with these settings; a loop that does not sleep would make thousands.
REFRESH_SECONDS, WATCHED_SECONDS, MOST_READINGS = 0.2, 2.0, 600


class CountingClock:
    """The real time, and the number of readings."""

    def __init__(self) -> None:
        self.readings = 0

    def __call__(self) -> float:
        self.readings += 1
        return time.time()


def _waits(reason: str) -> Any:
    def check(pod: Pod) -> bool:
        return bool(state(pod).get("waiting", {}).get("reason") == reason)

    return check


@pytest.mark.parametrize(
    ("container", "reason"),
    [
        ({"name": "app", "image": "example.org/unknown/image"}, "ImageUnknown"),
        (shell("exit 1"), "CrashLoopBackOff"),
    ],
    ids=["unknown image", "crash loop"],
)
async def test_waiting_pod_is_not_synced_in_a_tight_loop(
    bare_cluster: KubeletCluster, container: dict[str, Any], reason: str
) -> None:
    """Fails if a refresh that is due but not done makes the worker sync again at once."""
    clock = CountingClock()
    await bare_cluster.start(clock=clock, refresh_seconds=REFRESH_SECONDS)
    await bare_cluster.run("waits", container, restartPolicy="Always")
    await bare_cluster.until("waits", _waits(reason))
    before = clock.readings
    await asyncio.sleep(WATCHED_SECONDS)
    assert clock.readings - before < MOST_READINGS


async def test_repeated_start_failure_writes_nothing_to_disk(bare_cluster: KubeletCluster) -> None:
    """Fails if each retry writes to disk: thousands of pods with an unknown image block the event loop."""
    clock = CountingClock()
    await bare_cluster.start(clock=clock)
    made = await bare_cluster.run("waits", {"name": "app", "image": "example.org/unknown/image"})
    await bare_cluster.until("waits", _waits("ImageUnknown"))
    (file,) = (bare_cluster.folder / "pods" / made["metadata"]["uid"]).rglob("records.json")
    written, before = file.stat().st_mtime_ns, clock.readings
    await asyncio.sleep(2.5)
    assert clock.readings > before  # the start was retried
    assert file.stat().st_mtime_ns == written


async def test_number_of_concurrent_pods_is_limited(bare_cluster: KubeletCluster) -> None:
    """Fails if a Deployment of thousands of pods can block other clients of the API server."""
    kubelet = await bare_cluster.start()
    assert kubelet._pods is not None
    semaphore = kubelet._pods._context.concurrency
    taken = 0
    while not semaphore.locked():
        await semaphore.acquire()
        taken += 1
    assert taken <= 32
    await bare_cluster.run("late", shell("true"))
    await bare_cluster.event("late", "Scheduled")
    await asyncio.sleep(0.5)
    assert "startTime" not in (await bare_cluster.get("late"))["status"]
    semaphore.release()
    await bare_cluster.phase("late", "Succeeded")
