"""Two thousand labelled pods while everything around the webhook goes wrong, on a real API server.

Half of them are made by a Deployment that is scaled up, half by eight clients at once. All the while
certificates rotate, every few seconds; replicas are replaced, killed with -9 one after the other, and
accounts are annotated anew; the API server is started anew twice.

What holds: no labelled pod is ever stored unmutated, and none is refused, with one exception that nobody
can help: a call that a replica was answering at the moment of its `kill -9` is cut off, and an API server
sends no review twice. Such are told apart here from every other refusal, and are no more than can be under
way. A replica that is asked to end (SIGTERM) cuts off nothing. On a cluster a kill costs more: kube-proxy
leads new connections to the dead replica too until its endpoint is gone, while `service.py` goes past what
refuses. PODPASS_STORM_PODS is how many pods there are at least.
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
from tests.control_plane.plane import Plane
from tests.control_plane.storm import makers, site
from tests.control_plane.storm.makers import PODS, SPACE, Accounts, Clients, Scaled
from tests.control_plane.storm.site import Pod, Site, until

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        Path(sys.executable).is_relative_to("/tmp"),
        reason="the chart's pods have a /tmp of their own, and the replicas' Python lies there",
    ),
]
__all__ = ["helm"]

COUNT = int(os.environ.get("PODPASS_STORM_PODS", "2000"))
# A controller's pods come as fast as the API server takes them.
CONTROLLERS = ["--kube-api-qps=300", "--kube-api-burst=300"]
# A server that is told to end waits so long for watches, which end with it alone; a minute otherwise.
API_SERVER = ["--request-timeout=5s"]
# How long after a change of an account a replica may still not have heard of it.
LAG_SECONDS = 10.0


@dataclass
class Storm:
    """Everything that is in it."""

    plane: Plane
    site: Site
    clients: Clients
    scaled: Scaled
    accounts: Accounts
    kills: int = 0
    seen: int = 0

    async def during(self, what: Callable[[], Awaitable[None]], pods: int) -> list[str]:
        """Make pods while something happens; then look at the next one. Give what was refused meanwhile."""
        began = time.monotonic()
        before, told = len(await self.scaled.refused()), len(self.clients.refused)
        over = asyncio.Event()
        async with asyncio.TaskGroup() as making:
            making.create_task(self.clients.make(pods // 2, over))
            making.create_task(self.scaled.grow(pods - pods // 2, over))
            await what()
            over.set()
        await self.site.until_ready()
        await self.next_is_right()
        refused = self.clients.refused[told:] + (await self.scaled.refused())[before:]
        took = time.monotonic() - began
        print(f"{what.__name__}: {took:.1f} s, {len(refused)} cut off or refused")
        return refused

    async def next_is_right(self) -> None:
        self.seen += 1
        pod = await self.clients.create(self.site.admin, f"next-{self.seen}")
        assert not makers.faults(pod, self.accounts.valid(time.time(), LAG_SECONDS))

    # ------------------------------------------------------------------------------------ what happens

    async def nothing(self) -> None:
        """Let certificates rotate: twice at least."""
        before = len(self.site.certificates)

        async def twice() -> bool:
            return len(self.site.certificates) >= before + 2

        await until(twice)

    async def annotated(self) -> None:
        wanted = await self.accounts.annotate(time.time())
        self.seen += 1
        tries = iter(range(1000))

        async def heard() -> bool:
            name = f"annotated-{self.seen}-{next(tries)}"
            pod = await self.clients.create(self.site.admin, name)
            return makers.client_ids(pod) == {wanted}

        await until(heard, LAG_SECONDS)

    async def killed(self) -> None:
        for replica in await self.site.replicas():
            await self._kill(replica)
            await self.next_is_right()
            await self.site.until_replaced(replica)

    async def _kill(self, replica: Pod) -> None:
        self.kills += 1
        await self.site.kill(replica)

    async def restarted(self) -> None:
        await asyncio.to_thread(self.plane.restart_api_server)

    async def all_at_once(self) -> None:
        await self.accounts.annotate(time.time())
        first, second = await self.site.replicas()
        await self._kill(first)
        await self.restarted()
        await self.site.until_replaced(first)
        await self._kill(second)
        await self.annotated()
        await self.site.until_replaced(second)


async def test_no_labelled_pod_is_stored_unmutated_or_refused_in_a_storm(
    helm: Helm, tmp_path: Path
) -> None:
    with plane.running(tmp_path / "plane", API_SERVER, CONTROLLERS) as running:
        async with site.installed(running, helm, tmp_path) as webhook:
            storm = await _prepared(running, webhook)
            part = COUNT // 6
            for calm in (storm.nothing, webhook.roll_over, storm.annotated, storm.restarted):
                refused = await storm.during(calm, part)
                assert refused == [], calm.__name__
            for violent in (storm.killed, storm.all_at_once):
                refused = await storm.during(violent, part)
                assert [each for each in refused if not makers.is_cut_off(each)] == []
            # A client has one pod under way at a time; the harness is one more.
            assert len(storm.clients.refused) <= storm.kills * (makers.CLIENTS + 1)
            await _judge(storm, part * 6)


async def _prepared(running: Plane, webhook: Site) -> Storm:
    admin = webhook.admin
    await admin.create("/api/v1/namespaces", {"metadata": {"name": SPACE}})
    accounts, scaled = Accounts(admin), Scaled(admin)
    await accounts.annotate(time.time())
    await scaled.create()
    return Storm(running, webhook, Clients(running), scaled, accounts)


async def _judge(storm: Storm, count: int) -> None:
    """Look at what the API server has in the end."""
    pods, _ = await storm.site.admin.list(PODS)
    made = [pod["metadata"]["name"].partition("-")[0] for pod in pods]
    assert made.count("client") == storm.clients.made
    assert made.count("scaled") == storm.scaled.replicas
    assert len(made) >= count
    problems = []
    for pod in pods:
        created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"]).timestamp()
        problems += makers.faults(pod, storm.accounts.valid(created, LAG_SECONDS))
    assert not problems, problems[:10]
    print(len(pods), "pods;", len(storm.site.certificates), "certificates;", storm.clients.away)
