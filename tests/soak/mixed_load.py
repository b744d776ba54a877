"""The mixed load: all kinds of requests and events at once for a given time, without one wrong response."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from podpass.directory.store.directory import Directory
from tests.soak import lane
from tests.soak.cases import GRANTED, CaseRequest, RequestCases
from tests.soak.events import IssuerCacheAges, ServiceEvents
from tests.soak.report import Violation, log_progress, milliseconds
from tests.soak.sampling import ProcessSampler, descriptors, memory
from tests.soak.testbed import Testbed
from tests.soak.token_client import PyJwtVerifier, TokenClient, TokenResponse

AGES = IssuerCacheAges(fresh=15, retry=2, refetch=2)
_CONNECTIONS = 4
_UNKNOWN_KEY = 7000272


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedLoadPlan:
    """The rates of a mixed load.

    Units: `good` and `bad` in requests a second; the other values in seconds between two events of a kind.
    """

    seconds: float
    good: float = 60.0
    bad: float = 30.0
    writes: float = 0.5
    signing_key: float = 60.0
    issuer_key: float = 90.0
    outage: float = 150.0
    outage_seconds: float = 10.0
    sample: float = 2.0


class MixedLoad:
    """Runs the load on a testbed's replicas."""

    def __init__(self, testbed: Testbed, plan: MixedLoadPlan, seed: int) -> None:
        self._testbed, self._plan = testbed, plan
        self._random = random.Random(seed)
        self._cases = RequestCases(testbed.issuer)
        self._sampler = ProcessSampler()
        self._answers: Counter[str] = Counter()
        self._seconds: list[float] = []
        self._lane_changes = 0

    async def run(self) -> dict[str, Any]:
        """Run the load for its time and return the report. Raises Violation, for the first wrong response."""
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(
                    TokenClient(replica.url, self._testbed.config.ca_file)
                )
                for replica in self._testbed.replicas
                for _ in range(_CONNECTIONS)
            ]
            opinions = [PyJwtVerifier(client) for client in clients]
            watchers = clients[::_CONNECTIONS]
            self._events = ServiceEvents(self._testbed, self._cases, watchers, AGES)
            await self._run_until_first_end(
                [
                    self._send_requests(clients, opinions, self._plan.good, self._good),
                    self._send_requests(
                        clients,
                        None,
                        self._plan.bad,
                        lambda number: self._cases.invalid_request(number),
                    ),
                    self._write_lane(self._testbed.directory),
                    self._change_identity(),
                    self._run_events(),
                    self._sample(),
                ]
            )
        return self._report(sum(opinion.checked for opinion in opinions))

    async def _run_until_first_end(self, works: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Run all coroutines until one ends: with a violation, or because the time is over."""
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _good(self, number: int) -> CaseRequest:
        return (
            self._cases.secret_request(number)
            if number % 10 == 0
            else self._cases.valid_request(number)
        )

    async def _send_requests(
        self,
        clients: Sequence[TokenClient],
        opinions: Sequence[PyJwtVerifier] | None,
        rate: float,
        make: Any,
    ) -> None:
        """Send requests at a rate, round robin over all connections, and check each response."""
        async with asyncio.TaskGroup() as group:
            began = time.monotonic()
            for number in itertools.count():
                place = number % len(clients)
                opinion = opinions[place] if opinions else None
                group.create_task(self._request_once(clients[place], make(number), opinion))
                await asyncio.sleep(max(0.0, began + (number + 1) / rate - time.monotonic()))

    async def _request_once(
        self, client: TokenClient, request: CaseRequest, opinion: PyJwtVerifier | None
    ) -> None:
        key_rotating = self._cases.key_rotating
        answer = await client.request_token(request.form, request.path)
        self._check_response(request, answer, key_rotating=key_rotating or self._cases.key_rotating)
        if answer.code == GRANTED and opinion is not None:
            await opinion.check(answer.token, request.client_id)

    def _check_response(
        self, request: CaseRequest, answer: TokenResponse, *, key_rotating: bool
    ) -> None:
        if answer.code != request.code and not (key_rotating and answer.code == _UNKNOWN_KEY):
            sent = {name: value[:60] for name, value in request.form.items()}
            raise Violation(f"got {answer.code} {answer.cause}, want {request.code} for {sent}")
        self._answers["granted" if answer.code == GRANTED else f"AADSTS{answer.code}"] += 1
        self._seconds.append(answer.seconds)

    async def _write_lane(self, directory: Directory) -> None:
        for number in itertools.count():
            await lane.apply_change(directory, 1, number)
            self._lane_changes += 1
            await asyncio.sleep(self._plan.writes * self._random.uniform(0.5, 1.5))

    async def _change_identity(self) -> None:
        for number in itertools.count():
            await self._events.change_identity(number)

    async def _run_events(self) -> None:
        """Rotate keys and stop the issuer at their intervals until the time is over."""
        plan, events, outages = self._plan, self._events, itertools.count()

        async def outage() -> None:
            await events.issuer_outage(next(outages), plan.outage_seconds)

        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(plan.signing_key, events.rotate_signing_key))
            group.create_task(self._repeat(plan.issuer_key, events.rotate_issuer_key))
            group.create_task(self._repeat(plan.outage, outage))

    async def _repeat(self, seconds: float, event: Callable[[], Awaitable[None]]) -> None:
        began = time.monotonic()
        over, due = began + self._plan.seconds, began + seconds
        while due < over:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await event()
            due = max(due + seconds, time.monotonic())
            spent, right = time.monotonic() - began, sum(self._answers.values())
            log_progress(f"{spent:.0f} s: {right:,} correct responses; {dict(self._events.done)}")
        await asyncio.sleep(max(0.0, over - time.monotonic()))

    async def _sample(self) -> None:
        while True:
            self._sampler.record((one.name, one.pid) for one in self._testbed.replicas)
            await asyncio.sleep(self._plan.sample)

    def _report(self, checked: int) -> dict[str, Any]:
        processes = {}
        for name, samples in self._sampler.samples.items():
            memory_trend, descriptor_trend = memory(samples), descriptors(samples)
            processes[name] = {
                "memory_mb": round(memory_trend.median, 1),
                "memory_rise_mb": round(memory_trend.rise, 1),
                "memory_allowed_mb": round(memory_trend.allowed, 1),
                "descriptors": descriptor_trend.median,
                "descriptor_rise": round(descriptor_trend.rise, 1),
                "flat": memory_trend.flat and descriptor_trend.flat,
            }
        return {
            "seconds": self._plan.seconds,
            "answers": dict(self._answers.most_common()),
            "wrong_answers": 0,
            "tokens_checked_by_pyjwt": checked,
            "latency_ms": milliseconds(self._seconds),
            "directory_changes": self._lane_changes,
            "events": dict(self._events.done),
            "change_seen_after_ms": milliseconds(self._events.propagation_seconds),
            "processes": processes,
        }


def check_flat(report: dict[str, Any]) -> None:
    """Check that no process grew. Raises Violation."""
    for name, seen in report["processes"].items():
        if not seen["flat"]:
            raise Violation(f"{name} grew: {seen}")
