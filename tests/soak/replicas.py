"""Checks of two replicas on one database: failover, draining, the same keys, and propagation of changes."""

import asyncio
import itertools
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from tests.soak.balancer import LoadBalancer
from tests.soak.cases import RequestCases
from tests.soak.events import STALE_SECONDS, IssuerCacheAges, ServiceEvents
from tests.soak.replica import AuthorityReplica, run_podpass
from tests.soak.report import Violation, log_progress, milliseconds
from tests.soak.testbed import Testbed
from tests.soak.token_client import PyJwtVerifier, TokenClient

_RATE = 100.0


class SteadyLoad:
    """Clients that send valid requests to one address at a steady rate; each response must be a token."""

    def __init__(self, testbed: Testbed, url: str, *, retries: int, clients: int = 8) -> None:
        self._cases = RequestCases(testbed.issuer)
        self._make = partial(TokenClient, url, testbed.config.ca_file, retries=retries)
        self._clients = clients
        self.took: list[float] = []
        self.failed: list[str] = []
        self.reconnected = 0

    async def run(self) -> None:
        """Send requests until cancelled."""
        await asyncio.gather(*(self._run_client(number) for number in range(self._clients)))

    async def _run_client(self, first: int) -> None:
        async with self._make() as client:
            try:
                for number in itertools.count(first):
                    began = time.monotonic()
                    answer = await client.request_token(self._cases.valid_request(number).form)
                    self.took.append(answer.seconds)
                    if answer.code != 0:
                        self.failed.append(f"{answer.status} {answer.cause}")
                    rest = self._clients / _RATE - (time.monotonic() - began)
                    await asyncio.sleep(max(0.0, rest))
            finally:
                self.reconnected += client.reconnected


async def _during(steady: SteadyLoad, step: Callable[[], object], seconds: float) -> None:
    """Run clients before, during and after a step that runs in a thread."""
    asking = asyncio.ensure_future(steady.run())
    try:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(step)
        await asyncio.sleep(seconds)
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    if not steady.took:
        raise Violation("no client received a response")


async def kill_one_replica(
    testbed: Testbed, stays: AuthorityReplica, goes: AuthorityReplica, seconds: float
) -> dict[str, Any]:
    """Kill a replica: clients of the other replica and clients behind a load balancer get no failure.

    Raises Violation.
    """
    balancer = LoadBalancer([stays.port, goes.port])
    async with balancer.serving():
        here = SteadyLoad(testbed, stays.url, retries=0)
        there = SteadyLoad(testbed, f"https://localhost:{balancer.port}", retries=2)
        asking = asyncio.ensure_future(there.run())
        try:
            await _during(here, goes.kill, seconds)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
    for name, steady in (("of the other replica", here), ("behind a balancer", there)):
        if steady.failed:
            raise Violation(f"a client {name} failed when a replica was killed: {steady.failed[0]}")
    return {
        "through the other": len(here.took),
        "other_ms": milliseconds(here.took),
        "behind a balancer": len(there.took),
        "reconnected": there.reconnected,
        "failed": 0,
    }


async def drain_one_replica(
    testbed: Testbed, stays: AuthorityReplica, goes: AuthorityReplica, seconds: float
) -> dict[str, Any]:
    """Drain a replica: its clients get their responses or connect to the other replica. Raises Violation."""
    ended: list[float] = []
    balancer = LoadBalancer([stays.port, goes.port])
    async with balancer.serving():
        steady = SteadyLoad(testbed, f"https://localhost:{balancer.port}", retries=1)
        await _during(steady, lambda: ended.append(goes.drain()), seconds)
    if steady.failed:
        raise Violation(f"a client failed when its replica was drained: {steady.failed[0]}")
    return {
        "answered": len(steady.took),
        "ms": milliseconds(steady.took),
        "reconnected": steady.reconnected,
        "failed": 0,
        "drained_seconds": round(ended[0], 2),
    }


async def check_propagation(testbed: Testbed, ages: IssuerCacheAges, count: int) -> dict[str, Any]:
    """Change identities; every replica must use each change within a second. Raises Violation."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(TokenClient(one.url, testbed.config.ca_file))
            for one in testbed.replicas
            if one.alive
            for _ in range(2)
        ]
        events = ServiceEvents(testbed, RequestCases(testbed.issuer), clients, ages)
        for number in range(count):
            await events.change_identity(10_000 + number)
    return {
        "changes": len(events.propagation_seconds),
        "seen_everywhere_after_ms": milliseconds(events.propagation_seconds),
    }


async def check_key_agreement(testbed: Testbed) -> dict[str, Any]:
    """Rotate the signing key at once: within a second all replicas publish the new key and sign with it.

    Raises Violation.
    """
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(TokenClient(one.url, testbed.config.ca_file))
            for one in testbed.replicas
            if one.alive
        ]
        before = await _published(clients)
        if len(before) != 1:
            raise Violation(f"replicas publish different keys: {before}")
        await asyncio.to_thread(
            run_podpass, "authority", "rotate", "--at-once", *testbed.config.database_flags()
        )
        await asyncio.sleep(STALE_SECONDS)
        after = await _published(clients)
        if len(after) != 1 or after == before:
            raise Violation(
                f"a second after a rotation replicas publish {after}; before it they published {before}"
            )
        cases, kids = RequestCases(testbed.issuer), set()
        for client in clients:
            request = cases.valid_request(0)
            answer = await client.request_token(request.form)
            # Each token is checked with the keys of every replica, not only of the one that signed it.
            for other in clients:
                kids.add(await PyJwtVerifier(other).check(answer.token, request.client_id))
    if len(kids) != 1:
        raise Violation(f"replicas sign with different keys: {kids}")
    return {"replicas": len(clients), "published": len(next(iter(after)))}


async def _published(clients: list[TokenClient]) -> set[frozenset[str]]:
    return {
        frozenset(str(key["kid"]) for key in await client.published_keys()) for client in clients
    }


async def check_two_replicas(
    testbed: Testbed, ages: IssuerCacheAges, *, seconds: float, changes: int
) -> dict[str, Any]:
    """Run all checks with the first two replicas of a testbed, and restart both afterwards."""
    stays, goes = testbed.replicas[:2]
    report: dict[str, Any] = {"keys": await check_key_agreement(testbed)}
    report["changes"] = await check_propagation(testbed, ages, changes)
    log_progress(f"changes at one replica: {report['changes']}")
    report["drained"] = await drain_one_replica(testbed, stays, goes, seconds)
    log_progress(f"drained one replica: {report['drained']}")
    goes.start()
    report["killed"] = await kill_one_replica(testbed, stays, goes, seconds)
    log_progress(f"killed one replica: {report['killed']}")
    goes.start()
    report["keys_after"] = await check_key_agreement(testbed)
    return report
