"""The mixed load: everything at once for as long as is wanted, and not one wrong answer."""

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
from tests.soak.asking import Answer, Asker, SecondOpinion
from tests.soak.cases import GRANTED, Cases, Request
from tests.soak.events import Ages, Events
from tests.soak.progress import say
from tests.soak.quantiles import milliseconds
from tests.soak.sampling import Sampler, descriptors, memory
from tests.soak.site import Site
from tests.soak.wrong import Wrong

AGES = Ages(fresh=15, retry=2, refetch=2)
_CONNECTIONS = 4
_UNKNOWN_KEY = 7000272


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much of what.

    Units:   seconds between two of a kind; requests a second of all clients of a kind.
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


class Mixed:
    """One run of the load over a site's replicas."""

    def __init__(self, site: Site, pace: Pace, seed: int) -> None:
        self._site, self._pace = site, pace
        self._random = random.Random(seed)
        self._cases = Cases(site.issuer)
        self._sampler = Sampler()
        self._answers: Counter[str] = Counter()
        self._seconds: list[float] = []
        self._lane_changes = 0

    async def run(self) -> dict[str, Any]:
        """Load until the time is over; give the report.

        Errors:  Wrong, for the first wrong answer.
        """
        async with AsyncExitStack() as stack:
            askers = [
                await stack.enter_async_context(Asker(replica.url, self._site.place.ca_file))
                for replica in self._site.replicas
                for _ in range(_CONNECTIONS)
            ]
            opinions = [SecondOpinion(asker) for asker in askers]
            watchers = askers[::_CONNECTIONS]
            self._events = Events(self._site, self._cases, watchers, AGES)
            await self._until_over(
                [
                    self._ask(askers, opinions, self._pace.good, self._good),
                    self._ask(askers, None, self._pace.bad, lambda number: self._cases.bad(number)),
                    self._write_lane(self._site.directory),
                    self._change_somebody(),
                    self._happen(),
                    self._sample(),
                ]
            )
        return self._report(sum(opinion.checked for opinion in opinions))

    async def _until_over(self, works: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Let all go on until one ends: by what it saw, or because the time is over."""
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _good(self, number: int) -> Request:
        return self._cases.secret(number) if number % 10 == 0 else self._cases.good(number)

    async def _ask(
        self,
        askers: Sequence[Asker],
        opinions: Sequence[SecondOpinion] | None,
        rate: float,
        make: Any,
    ) -> None:
        """Ask at a rate, over all connections in turn; each answer is looked at."""
        async with asyncio.TaskGroup() as group:
            began = time.monotonic()
            for number in itertools.count():
                place = number % len(askers)
                opinion = opinions[place] if opinions else None
                group.create_task(self._ask_once(askers[place], make(number), opinion))
                await asyncio.sleep(max(0.0, began + (number + 1) / rate - time.monotonic()))

    async def _ask_once(
        self, asker: Asker, request: Request, opinion: SecondOpinion | None
    ) -> None:
        unsettled = self._cases.unsettled
        answer = await asker.ask(request.form, request.path)
        self._judge(request, answer, unsettled=unsettled or self._cases.unsettled)
        if answer.code == GRANTED and opinion is not None:
            await opinion.check(answer.token, request.client_id)

    def _judge(self, request: Request, answer: Answer, *, unsettled: bool) -> None:
        if answer.code != request.code and not (unsettled and answer.code == _UNKNOWN_KEY):
            sent = {name: value[:60] for name, value in request.form.items()}
            raise Wrong(f"want {request.code}, got {answer.code} {answer.cause} for {sent}")
        self._answers["granted" if answer.code == GRANTED else f"AADSTS{answer.code}"] += 1
        self._seconds.append(answer.seconds)

    async def _write_lane(self, directory: Directory) -> None:
        for number in itertools.count():
            await lane.change(directory, 1, number)
            self._lane_changes += 1
            await asyncio.sleep(self._pace.writes * self._random.uniform(0.5, 1.5))

    async def _change_somebody(self) -> None:
        for number in itertools.count():
            await self._events.change_somebody(number)

    async def _happen(self) -> None:
        """Let keys be replaced and the issuer stop, again and again, until the time is over."""
        pace, events, outages = self._pace, self._events, itertools.count()

        async def outage() -> None:
            await events.issuer_outage(next(outages), pace.outage_seconds)

        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(pace.signing_key, events.rotate_signing_key))
            group.create_task(self._every(pace.issuer_key, events.rotate_issuer_key))
            group.create_task(self._every(pace.outage, outage))

    async def _every(self, seconds: float, event: Callable[[], Awaitable[None]]) -> None:
        began = time.monotonic()
        over, due = began + self._pace.seconds, began + seconds
        while due < over:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await event()
            due = max(due + seconds, time.monotonic())
            spent, right = time.monotonic() - began, sum(self._answers.values())
            say(f"{spent:.0f} s: {right:,} answers are right; {dict(self._events.done)}")
        await asyncio.sleep(max(0.0, over - time.monotonic()))

    async def _sample(self) -> None:
        while True:
            self._sampler.take((one.name, one.pid) for one in self._site.replicas)
            await asyncio.sleep(self._pace.sample)

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
            "seconds": self._pace.seconds,
            "answers": dict(self._answers.most_common()),
            "wrong_answers": 0,
            "tokens_checked_by_pyjwt": checked,
            "latency_ms": milliseconds(self._seconds),
            "directory_changes": self._lane_changes,
            "events": dict(self._events.done),
            "change_seen_after_ms": milliseconds(self._events.learnt),
            "processes": processes,
        }


def check_flat(report: dict[str, Any]) -> None:
    """Refuse a run in which a process grew.

    Errors:  Wrong.
    """
    for name, seen in report["processes"].items():
        if not seen["flat"]:
            raise Wrong(f"{name} grew: {seen}")
