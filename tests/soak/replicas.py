"""Two replicas on one database: one is killed, one drained, both agree on keys and learn of changes."""

import asyncio
import itertools
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from tests.soak.asking import Asker, SecondOpinion
from tests.soak.balancer import Balancer
from tests.soak.cases import Cases
from tests.soak.events import STALE_SECONDS, Ages, Events
from tests.soak.progress import say
from tests.soak.quantiles import milliseconds
from tests.soak.replica import Replica, podpass
from tests.soak.site import Site
from tests.soak.wrong import Wrong

_RATE = 100.0


class Steady:
    """Clients that ask rightly, on and on, at one address; each answer must be a token.

    Shapes:  `at` is the second of the first failure, `cause` what it was.
    """

    def __init__(self, site: Site, url: str, *, retries: int, clients: int = 8) -> None:
        self._cases = Cases(site.issuer)
        self._make = partial(Asker, url, site.place.ca_file, retries=retries)
        self._clients = clients
        self.took: list[float] = []
        self.failed: list[str] = []
        self.reconnected = 0

    async def run(self) -> None:
        """Ask until cancelled."""
        await asyncio.gather(*(self._one(number) for number in range(self._clients)))

    async def _one(self, place: int) -> None:
        async with self._make() as asker:
            try:
                for number in itertools.count(place):
                    began = time.monotonic()
                    answer = await asker.ask(self._cases.good(number).form)
                    self.took.append(answer.seconds)
                    if answer.code != 0:
                        self.failed.append(f"{answer.status} {answer.cause}")
                    rest = self._clients / _RATE - (time.monotonic() - began)
                    await asyncio.sleep(max(0.0, rest))
            finally:
                self.reconnected += asker.reconnected


async def _during(steady: Steady, step: Callable[[], object], seconds: float) -> None:
    """Let clients ask before, while and after something is done in a thread."""
    asking = asyncio.ensure_future(steady.run())
    try:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(step)
        await asyncio.sleep(seconds)
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    if not steady.took:
        raise Wrong("no client was answered")


async def one_is_killed(
    site: Site, stays: Replica, goes: Replica, seconds: float
) -> dict[str, Any]:
    """Kill a replica: nobody notices at the other, and clients behind a balancer go on.

    Errors:  Wrong.
    """
    balancer = Balancer([stays.port, goes.port])
    async with balancer.serving():
        here = Steady(site, stays.url, retries=0)
        there = Steady(site, f"https://localhost:{balancer.port}", retries=2)
        asking = asyncio.ensure_future(there.run())
        try:
            await _during(here, goes.kill, seconds)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
    for name, steady in (("of the other replica", here), ("behind a balancer", there)):
        if steady.failed:
            raise Wrong(f"a client {name} failed when one was killed: {steady.failed[0]}")
    return {
        "through the other": len(here.took),
        "other_ms": milliseconds(here.took),
        "behind a balancer": len(there.took),
        "reconnected": there.reconnected,
        "failed": 0,
    }


async def one_is_drained(
    site: Site, stays: Replica, goes: Replica, seconds: float
) -> dict[str, Any]:
    """Drain a replica: whoever was connected to it is answered, or connects to the other.

    Errors:  Wrong.
    """
    ended: list[float] = []
    balancer = Balancer([stays.port, goes.port])
    async with balancer.serving():
        steady = Steady(site, f"https://localhost:{balancer.port}", retries=1)
        await _during(steady, lambda: ended.append(goes.drain()), seconds)
    if steady.failed:
        raise Wrong(f"a client failed when its replica was drained: {steady.failed[0]}")
    return {
        "answered": len(steady.took),
        "ms": milliseconds(steady.took),
        "reconnected": steady.reconnected,
        "failed": 0,
        "drained_seconds": round(ended[0], 2),
    }


async def changes_are_seen(site: Site, ages: Ages, count: int) -> dict[str, Any]:
    """Change identities, each seen at every replica within the second.

    Errors:  Wrong.
    """
    async with AsyncExitStack() as stack:
        askers = [
            await stack.enter_async_context(Asker(one.url, site.place.ca_file))
            for one in site.replicas
            if one.alive
            for _ in range(2)
        ]
        events = Events(site, Cases(site.issuer), askers, ages)
        for number in range(count):
            await events.change_somebody(10_000 + number)
    return {"changes": len(events.learnt), "seen_everywhere_after_ms": milliseconds(events.learnt)}


async def keys_agree(site: Site) -> dict[str, Any]:
    """Rotate at once: within a second all replicas publish the new key, and sign with it.

    Errors:  Wrong.
    """
    async with AsyncExitStack() as stack:
        askers = [
            await stack.enter_async_context(Asker(one.url, site.place.ca_file))
            for one in site.replicas
            if one.alive
        ]
        before = await _published(askers)
        if len(before) != 1:
            raise Wrong(f"replicas publish different keys: {before}")
        await asyncio.to_thread(podpass, "authority", "rotate", "--at-once", *site.place.stored())
        await asyncio.sleep(STALE_SECONDS)
        after = await _published(askers)
        if len(after) != 1 or after == before:
            raise Wrong(f"a second after a rotation replicas publish {after}, before it {before}")
        cases, kids = Cases(site.issuer), set()
        for asker in askers:
            request = cases.good(0)
            answer = await asker.ask(request.form)
            # Each token is looked at with the keys of another replica than the one that signed.
            for other in askers:
                kids.add(await SecondOpinion(other).check(answer.token, request.client_id))
    if len(kids) != 1:
        raise Wrong(f"replicas sign with different keys: {kids}")
    return {"replicas": len(askers), "published": len(next(iter(after)))}


async def _published(askers: list[Asker]) -> set[frozenset[str]]:
    return {frozenset(str(key["kid"]) for key in await asker.published()) for asker in askers}


async def replicas(site: Site, ages: Ages, *, seconds: float, changes: int) -> dict[str, Any]:
    """Do all of it with the first two replicas of a site, which run again afterwards."""
    stays, goes = site.replicas[:2]
    report: dict[str, Any] = {"keys": await keys_agree(site)}
    report["changes"] = await changes_are_seen(site, ages, changes)
    say(f"changes at one replica: {report['changes']}")
    report["drained"] = await one_is_drained(site, stays, goes, seconds)
    say(f"one replica drained: {report['drained']}")
    goes.start()
    report["killed"] = await one_is_killed(site, stays, goes, seconds)
    say(f"one replica killed: {report['killed']}")
    goes.start()
    report["keys_after"] = await keys_agree(site)
    return report
