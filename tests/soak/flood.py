"""The p99 of well-behaved clients before and during a flood of bad requests."""

import asyncio
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.soak.cases import RequestCases
from tests.soak.flood_process import KINDS
from tests.soak.report import Violation, log_progress, quantile
from tests.soak.testbed import Testbed
from tests.soak.token_client import TokenClient

GOOD_RATE, FLOOD_RATE = 50.0, 1000.0
RATIO = 2.0
_CLIENTS = 8
_FLOOD_PROCESS = Path(__file__).with_name("flood_process.py")


async def measure_good_clients(testbed: Testbed, seconds: float) -> list[float]:
    """Send valid requests at a steady rate over keep-alive connections; return the seconds of each.

    Raises Violation, if a request is refused.
    """
    cases, took = RequestCases(testbed.issuer), list[float]()

    async def once(client: TokenClient, number: int) -> None:
        answer = await client.request_token(cases.valid_request(number).form)
        if answer.code != 0:
            raise Violation(f"a well-behaved client was refused: {answer.status} {answer.cause}")
        took.append(answer.seconds)

    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                TokenClient(testbed.replicas[0].url, testbed.config.ca_file)
            )
            for _ in range(_CLIENTS)
        ]
        for number, client in enumerate(clients):
            await once(client, number)
        took.clear()
        async with asyncio.TaskGroup() as group:
            began = time.monotonic()
            for number in itertools.count():
                if time.monotonic() - began > seconds:
                    break
                group.create_task(once(clients[number % _CLIENTS], number))
                due = began + (number + 1) / GOOD_RATE
                await asyncio.sleep(max(0.0, due - time.monotonic()))
    return took


async def measure_floods(
    testbed: Testbed, seconds: float, *, rounds: int, nice: int = 19
) -> dict[str, Any]:
    """Measure each kind of flood in several rounds, each compared with the time just before it.

    `nice` is the niceness of the flood's process: with 19 it takes no CPU time from the service and its
    clients, which a comparison needs. On a machine with other load it then hardly runs.
    """
    report: dict[str, Any] = {"good_rate": GOOD_RATE, "flood_rate": FLOOD_RATE, "kinds": {}}
    for kind in KINDS:
        found = [await _round(testbed, kind, seconds, number, nice) for number in range(rounds)]
        quiet = statistics.median(one[0] for one in found)
        loud = statistics.median(one[1] for one in found)
        report["kinds"][kind] = {
            "p99_ms_before": round(quiet * 1000, 1),
            "p99_ms_during": round(loud * 1000, 1),
            "ratio": round(loud / quiet, 2),
            "flood": dict(sum((one[2] for one in found), Counter())),
        }
        log_progress(f"flood of {kind}: {report['kinds'][kind]}")
    return report


async def _round(
    testbed: Testbed, kind: str, seconds: float, number: int, nice: int
) -> tuple[float, float, Counter[str]]:
    quiet = quantile(await measure_good_clients(testbed, seconds), 0.99)
    with _run_flood(testbed, kind, number, nice) as flooder:
        # The first line shows that the flood has started.
        first = await asyncio.to_thread(_read_counts, flooder)
        loud = quantile(await measure_good_clients(testbed, seconds), 0.99)
        if flooder.poll() is not None:
            raise Violation(f"the process of the flood of {kind} has exited")
        flooder.terminate()
        return quiet, loud, _read_counts(flooder, last=True) or first


def _read_counts(flooder: subprocess.Popen[str], *, last: bool = False) -> Counter[str]:
    """Read what a flood has sent: the first counts that are not empty, or the last ones."""
    assert flooder.stdout is not None
    counts: Counter[str] = Counter()
    while (line := flooder.stdout.readline()).endswith("\n"):
        counts = Counter(json.loads(line))
        if counts and not last:
            break
    return counts


@contextlib.contextmanager
def _run_flood(
    testbed: Testbed, kind: str, number: int, nice: int
) -> Iterator[subprocess.Popen[str]]:
    # A new source address each time: requests from an address that is still blocked would not be read. All
    # addresses outside the network of the pods, 127.64.0.0/10, are one source, as are the good clients.
    source = f"127.64.{number}.{10 + KINDS.index(kind)}"
    target = [testbed.replicas[0].url, str(testbed.config.ca_file), source]
    with subprocess.Popen(
        [sys.executable, str(_FLOOD_PROCESS), *target, kind, str(FLOOD_RATE)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: os.nice(nice),
    ) as flooder:
        try:
            yield flooder
        finally:
            flooder.kill()


def check_ratio(report: dict[str, Any]) -> None:
    """Check that no flood increased the p99 of well-behaved clients beyond the allowed ratio.

    Raises Violation.
    """
    for kind, seen in report["kinds"].items():
        if seen["ratio"] > RATIO:
            raise Violation(f"p99 of well-behaved clients under a flood of {kind}: {seen}")
