"""Hundreds of labelled pods on a real API server while the webhook's replicas and certificates change.

A Deployment that is scaled up creates half of the pods, and eight concurrent clients the other half. During
this time certificates rotate every few seconds, replicas are replaced and killed with -9 one by one, the
accounts' annotations change, and the API server is restarted twice.

No labelled pod may be stored unmutated, and none may be refused, with one unavoidable exception: `kill -9`
breaks a call in flight, and an API server does not retry a review. These errors are counted separately and
are at most as many as calls can be in flight. A replica that gets SIGTERM breaks no call. On a cluster a kill
breaks more calls, because kube-proxy sends new connections to the dead replica until its endpoint is removed,
while `service.py` skips endpoints that refuse. PODPASS_STORM_PODS is the minimum number of pods.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from tests.charts.conftest import helm
from tests.charts.rendering import Helm
from tests.control_plane import plane
from tests.control_plane.plane import PlaneThread
from tests.control_plane.storm import installed_webhook, pod_creation
from tests.control_plane.storm.installed_webhook import InstalledWebhook, Pod, wait_until
from tests.control_plane.storm.pod_creation import (
    PODS,
    SPACE,
    AnnotatedAccounts,
    PodClients,
    ScaledDeployment,
)

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        Path(sys.executable).is_relative_to("/tmp"),
        reason="the chart's pods have their own /tmp, and the replicas' Python is in the host's",
    ),
]
__all__ = ["helm"]

COUNT = int(os.environ.get("PODPASS_STORM_PODS", "600"))
# The controller creates pods as fast as the API server accepts them.
CONTROLLERS = ["--kube-api-qps=300", "--kube-api-burst=300"]
# A terminating API server waits this long for watches, instead of a minute.
API_SERVER = ["--request-timeout=5s"]
# How long a replica may use an account's old annotations.
LAG_SECONDS = 10.0


@dataclass
class Storm:
    """The parts of the test and its counters."""

    plane: PlaneThread
    webhook: InstalledWebhook
    clients: PodClients
    scaled: ScaledDeployment
    accounts: AnnotatedAccounts
    kills: int = 0
    seen: int = 0

    async def create_pods_during(self, what: Callable[[], Awaitable[None]], pods: int) -> list[str]:
        """Create pods during an event, then check one more pod; return the refusals."""
        began = time.monotonic()
        before, first = len(await self.scaled.refused()), len(self.clients.refused)
        over = asyncio.Event()
        async with asyncio.TaskGroup() as making:
            making.create_task(self.clients.make(pods // 2, over))
            making.create_task(self.scaled.scale_up(pods - pods // 2, over))
            await what()
            over.set()
        await self.webhook.wait_until_ready()
        await self.check_next_pod()
        refused = self.clients.refused[first:] + (await self.scaled.refused())[before:]
        took = time.monotonic() - began
        print(f"{what.__name__}: {took:.1f} s, {len(refused)} cut off or refused")
        return refused

    async def check_next_pod(self) -> None:
        self.seen += 1
        pod = await self.clients.create(self.webhook.admin, f"next-{self.seen}")
        assert not pod_creation.find_faults(pod, self.accounts.valid(time.time(), LAG_SECONDS))

    # ------------------------------------------------------------------------------------------ events

    async def rotate_certificates(self) -> None:
        """Wait until certificates have rotated at least twice."""
        before = len(self.webhook.certificates)

        async def has_rotated_twice() -> bool:
            return len(self.webhook.certificates) >= before + 2

        await wait_until(has_rotated_twice)

    async def change_annotations(self) -> None:
        wanted = await self.accounts.annotate(time.time())
        self.seen += 1
        tries = iter(range(1000))

        async def is_updated() -> bool:
            name = f"annotated-{self.seen}-{next(tries)}"
            pod = await self.clients.create(self.webhook.admin, name)
            return pod_creation.client_ids(pod) == {wanted}

        await wait_until(is_updated, LAG_SECONDS)

    async def kill_replicas(self) -> None:
        for replica in await self.webhook.replicas():
            await self._kill(replica)
            await self.check_next_pod()
            await self.webhook.wait_until_restarted(replica)

    async def _kill(self, replica: Pod) -> None:
        self.kills += 1
        await self.webhook.kill(replica)

    async def restart_api_server(self) -> None:
        await asyncio.to_thread(self.plane.restart_api_server)

    async def all_events_at_once(self) -> None:
        await self.accounts.annotate(time.time())
        first, second = await self.webhook.replicas()
        await self._kill(first)
        await self.restart_api_server()
        await self.webhook.wait_until_restarted(first)
        await self._kill(second)
        await self.change_annotations()
        await self.webhook.wait_until_restarted(second)


async def test_no_labelled_pod_is_stored_unmutated_or_refused_in_a_storm(
    helm: Helm, tmp_path: Path
) -> None:
    with plane.running(tmp_path / "plane", API_SERVER, CONTROLLERS) as running:
        async with installed_webhook.install_webhook(running, helm, tmp_path) as webhook:
            storm = await _prepared(running, webhook)
            part = COUNT // 6
            for calm in (
                storm.rotate_certificates,
                webhook.restart_rollout,
                storm.change_annotations,
                storm.restart_api_server,
            ):
                refused = await storm.create_pods_during(calm, part)
                assert refused == [], calm.__name__
            for violent in (storm.kill_replicas, storm.all_events_at_once):
                refused = await storm.create_pods_during(violent, part)
                assert [each for each in refused if not pod_creation.is_broken_call(each)] == []
            # Each client has one pod in flight; the test itself has one more.
            assert len(storm.clients.refused) <= storm.kills * (pod_creation.CLIENTS + 1)
            await _check_all_pods(storm, part * 6)


async def _prepared(running: PlaneThread, webhook: InstalledWebhook) -> Storm:
    admin = webhook.admin
    await admin.create("/api/v1/namespaces", {"metadata": {"name": SPACE}})
    accounts, scaled = AnnotatedAccounts(admin), ScaledDeployment(admin)
    await accounts.annotate(time.time())
    await scaled.create()
    return Storm(running, webhook, PodClients(running), scaled, accounts)


async def _check_all_pods(storm: Storm, count: int) -> None:
    """Check all pods that the API server has stored."""
    pods, _ = await storm.webhook.admin.list(PODS)
    made = [pod["metadata"]["name"].partition("-")[0] for pod in pods]
    assert made.count("client") == storm.clients.made
    assert made.count("scaled") == storm.scaled.replicas
    assert len(made) >= count
    problems = []
    for pod in pods:
        created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"]).timestamp()
        problems += pod_creation.find_faults(pod, storm.accounts.valid(created, LAG_SECONDS))
    assert not problems, problems[:10]
    print(len(pods), "pods;", len(storm.webhook.certificates), "certificates;", storm.clients.away)
