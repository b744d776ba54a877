"""`podpass webhook` at full rate while thousands of accounts change and are listed again and again."""

import asyncio
import itertools
import json
import random
import ssl
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from bench.admission import review
from bench.api import Cluster, kubeconfig
from bench.load import Server, load
from podpass.http.server import bind, serving
from tests.servers.webhook.running import Webhook
from tests.soak.progress import say
from tests.soak.sampling import Sampler, descriptors, memory
from tests.soak.wrong import Wrong

STALL_SECONDS = 0.05
_STALL = 'podpass_admission_loop_stall_seconds{of="%s"}'
_CACHE = 'podpass_admission_account_cache_total{result="%s"}'
_REQUESTS = "podpass_admission_requests_total{"
_MUTATED = _REQUESTS + 'outcome="mutated",reason=""}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much of what.

    Units:   `changes` of accounts a second; seconds between two of a kind, and for a stretch of the load.
    """

    seconds: float
    accounts: int = 10_000
    connections: int = 16
    changes: float = 200.0
    relist: float = 5.0
    sample: float = 1.0
    stretch: float = 10.0


class Admission:
    """One run: an API server of a few lines, the process in front of it, and its load."""

    def __init__(self, folder: Path, pace: Pace, seed: int) -> None:
        self._folder, self._pace = folder, pace
        self._random = random.Random(seed)
        self._cluster = Cluster(pace.accounts)
        self._sampler = Sampler()
        self._stalls = {"late": 0.0, "own": 0.0}
        self._rates: list[float] = []
        self._p99: list[float] = []

    async def run(self) -> dict[str, Any]:
        """Load until the time is over; give the report.

        Errors:  Wrong, for a pod that was not mutated.
        """
        async with AsyncExitStack() as stack:
            sock = bind("127.0.0.1", 0)
            config = self._folder / "kubeconfig"
            config.write_text(kubeconfig(sock))
            await stack.enter_async_context(serving(self._cluster.app, sock))
            webhook = Webhook(self._folder, trustme.CA(), config)
            webhook.write_certificate()
            stack.callback(webhook.stop)
            await asyncio.to_thread(webhook.start_quietly)
            await self._until_over(self._ask(webhook), self._change(), self._look(webhook))
            found = await asyncio.to_thread(webhook.metrics)
            return self._report(found)

    async def _until_over(self, *parts: Coroutine[Any, Any, None]) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in parts]
            await asyncio.sleep(self._pace.seconds)
            for task in tasks:
                task.cancel()

    async def _ask(self, webhook: Webhook) -> None:
        """Ask as fast as answers come, on connections that are new every other moment."""
        body = review()
        head = (
            "POST /mutate-v1-pod HTTP/1.1\r\nhost: localhost\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        tls = ssl.create_default_context()
        webhook.ca.configure_trust(tls)
        server = Server(port=webhook.port("webhook"), pid=webhook.pid)
        while True:
            found = await load(
                head.encode() + body,
                server,
                tls,
                connections=self._pace.connections,
                seconds=self._pace.stretch,
            )
            self._rates.append(found.per_second)
            self._p99.append(found.p99_ms)

    async def _change(self) -> None:
        relist = time.monotonic() + self._pace.relist
        for count in itertools.count(1):
            self._cluster.touch(self._random.randrange(self._pace.accounts))
            if time.monotonic() >= relist:
                self._cluster.expire()
                relist = time.monotonic() + self._pace.relist
            if count % 1000 == 0:
                say(f"{count:,} changes, {self._cluster.lists} lists, stalls {self._stalls}")
            await asyncio.sleep(1 / self._pace.changes)

    async def _look(self, webhook: Webhook) -> None:
        while True:
            self._sampler.take([("webhook", webhook.pid)])
            found = await asyncio.to_thread(webhook.metrics)
            for of in self._stalls:
                self._stalls[of] = max(self._stalls[of], found[_STALL % of])
            await asyncio.sleep(self._pace.sample)

    def _report(self, found: dict[str, float]) -> dict[str, Any]:
        wrong = {
            name: count
            for name, count in found.items()
            if name.startswith(_REQUESTS) and name != _MUTATED and count
        }
        if wrong:
            raise Wrong(f"pods that were not mutated: {json.dumps(wrong)}")
        return {
            "accounts": self._pace.accounts,
            "pods mutated": int(found[_MUTATED]),
            "requests a second": round(sum(self._rates) / max(len(self._rates), 1)),
            "lists": self._cluster.lists,
            "read live": int(found[_CACHE % "live"]),
            "longest stall_ms": {of: round(s * 1000, 1) for of, s in self._stalls.items()},
            "processes": {
                name: {
                    "memory_mb": round(memory(samples).median, 1),
                    "memory_rise_mb": round(memory(samples).rise, 2),
                    "descriptors": descriptors(samples).median,
                    "descriptors_rise": round(descriptors(samples).rise, 2),
                    "flat": memory(samples).flat and descriptors(samples).flat,
                }
                for name, samples in self._sampler.samples.items()
            },
        }


def check_stall(report: dict[str, Any]) -> None:
    """Refuse a run in which the process itself kept its loop for too long.

    Errors:  Wrong.
    """
    longest = report["longest stall_ms"]["own"]
    if longest > STALL_SECONDS * 1000:
        raise Wrong(f"the event loop stood still for {longest} ms")
