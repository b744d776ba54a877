"""`podpass webhook` at full rate while thousands of ServiceAccounts change and are listed repeatedly."""

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
from bench.fake_api_server import FakeApiServer, kubeconfig
from bench.load import LoadedServer, run_load
from podpass.http.server import bind, serving
from tests.servers.webhook.running import Webhook
from tests.soak.report import Violation, log_progress
from tests.soak.sampling import ProcessSampler, descriptors, memory

STALL_SECONDS = 0.05
_STALL = 'podpass_admission_event_loop_lag_seconds{part="%s"}'
_CACHE = 'podpass_admission_account_lookups_total{result="%s"}'
_REQUESTS = "podpass_admission_requests_total{"
_MUTATED = _REQUESTS + 'outcome="mutated",reason=""}'


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookLoadPlan:
    """The rates of a load on the webhook.

    Units: `changes` in accounts a second; `relist` and `sample` in seconds between two of a kind; `stretch`
    in seconds of one load measurement.
    """

    seconds: float
    accounts: int = 10_000
    connections: int = 16
    changes: float = 200.0
    relist: float = 5.0
    sample: float = 1.0
    stretch: float = 10.0


class WebhookLoad:
    """Runs a minimal API server, the webhook process, and the load."""

    def __init__(self, folder: Path, plan: WebhookLoadPlan, seed: int) -> None:
        self._folder, self._plan = folder, plan
        self._random = random.Random(seed)
        self._cluster = FakeApiServer(plan.accounts)
        self._sampler = ProcessSampler()
        self._stalls = {"total": 0.0, "process": 0.0}
        self._rates: list[float] = []
        self._p99: list[float] = []

    async def run(self) -> dict[str, Any]:
        """Run the load for its time and return the report.

        Raises Violation, for a pod that was not mutated.
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
            await self._run_for_duration(
                self._send_reviews(webhook), self._change(), self._sample(webhook)
            )
            found = await asyncio.to_thread(webhook.metrics)
            return self._report(found)

    async def _run_for_duration(self, *parts: Coroutine[Any, Any, None]) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in parts]
            await asyncio.sleep(self._plan.seconds)
            for task in tasks:
                task.cancel()

    async def _send_reviews(self, webhook: Webhook) -> None:
        """Send reviews as fast as responses arrive, on new connections for each measurement."""
        body = review()
        head = (
            "POST /mutate-v1-pod HTTP/1.1\r\nhost: localhost\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        tls = ssl.create_default_context()
        webhook.ca.configure_trust(tls)
        server = LoadedServer(port=webhook.port("webhook"), pid=webhook.pid)
        while True:
            found = await run_load(
                head.encode() + body,
                server,
                tls,
                connections=self._plan.connections,
                seconds=self._plan.stretch,
            )
            self._rates.append(found.per_second)
            self._p99.append(found.p99_ms)

    async def _change(self) -> None:
        relist = time.monotonic() + self._plan.relist
        for count in itertools.count(1):
            self._cluster.touch(self._random.randrange(self._plan.accounts))
            if time.monotonic() >= relist:
                self._cluster.expire()
                relist = time.monotonic() + self._plan.relist
            if count % 1000 == 0:
                log_progress(
                    f"{count:,} changes, {self._cluster.lists} lists, stalls {self._stalls}"
                )
            await asyncio.sleep(1 / self._plan.changes)

    async def _sample(self, webhook: Webhook) -> None:
        while True:
            self._sampler.record([("webhook", webhook.pid)])
            found = await asyncio.to_thread(webhook.metrics)
            for part in self._stalls:
                self._stalls[part] = max(self._stalls[part], found[_STALL % part])
            await asyncio.sleep(self._plan.sample)

    def _report(self, found: dict[str, float]) -> dict[str, Any]:
        wrong = {
            name: count
            for name, count in found.items()
            if name.startswith(_REQUESTS) and name != _MUTATED and count
        }
        if wrong:
            raise Violation(f"pods that were not mutated: {json.dumps(wrong)}")
        return {
            "accounts": self._plan.accounts,
            "pods mutated": int(found[_MUTATED]),
            "requests a second": round(sum(self._rates) / max(len(self._rates), 1)),
            "lists": self._cluster.lists,
            "read live": int(found[_CACHE % "live"]),
            "longest stall_ms": {part: round(s * 1000, 1) for part, s in self._stalls.items()},
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
    """Check that the process itself did not block its event loop for too long. Raises Violation."""
    longest = report["longest stall_ms"]["process"]
    if longest > STALL_SECONDS * 1000:
        raise Violation(f"the event loop was blocked for {longest} ms")
