"""A pod that waits for something costs next to nothing.

Every look at a pod reads the clock, so what the clock was asked is the number of looks, a few each.
"""

import asyncio
import time
from typing import Any

import pytest

from tests.kubernetes.kubelet.cluster import Lab, Pod, shell, state

# Six looks a second are due with these settings; a loop that does not sleep takes thousands.
REFRESH_SECONDS, WATCHED_SECONDS, MOST_READINGS = 0.2, 2.0, 600


class CountingClock:
    """The real time, and how often it was asked for."""

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
        ({"name": "app", "image": "example.org/nobody/knows"}, "ImageUnknown"),
        (shell("exit 1"), "CrashLoopBackOff"),
    ],
    ids=["unknown image", "crash loop"],
)
async def test_waiting_pod_is_not_synced_in_a_tight_loop(
    cluster: Lab, container: dict[str, Any], reason: str
) -> None:
    """Fails if a refresh that is due and not done makes the worker look again at once."""
    clock = CountingClock()
    await cluster.start(clock=clock, refresh_seconds=REFRESH_SECONDS)
    await cluster.run("waits", container, restartPolicy="Always")
    await cluster.until("waits", _waits(reason))
    before = clock.readings
    await asyncio.sleep(WATCHED_SECONDS)
    assert clock.readings - before < MOST_READINGS


async def test_repeated_start_failure_writes_nothing_to_disk(cluster: Lab) -> None:
    """Fails if two thousand pods of an unknown image kept the disk, and so the loop, busy for ever."""
    clock = CountingClock()
    await cluster.start(clock=clock)
    made = await cluster.run("waits", {"name": "app", "image": "example.org/nobody/knows"})
    await cluster.until("waits", _waits("ImageUnknown"))
    (file,) = (cluster.folder / "pods" / made["metadata"]["uid"]).rglob("records.json")
    written, before = file.stat().st_mtime_ns, clock.readings
    await asyncio.sleep(2.5)
    assert clock.readings > before  # it was tried again
    assert file.stat().st_mtime_ns == written


async def test_number_of_concurrent_pods_is_limited(cluster: Lab) -> None:
    """Fails if a deployment of thousands kept everybody else from the API server."""
    runtime = await cluster.start()
    assert runtime._pods is not None
    turns = runtime._pods._host.turns
    taken = 0
    while not turns.locked():
        await turns.acquire()
        taken += 1
    assert taken <= 32
    await cluster.run("late", shell("true"))
    await asyncio.sleep(0.5)
    assert "nodeName" not in (await cluster.get("late"))["spec"]
    turns.release()
    await cluster.phase("late", "Succeeded")
