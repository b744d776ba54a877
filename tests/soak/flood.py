"""What good clients feel of a flood: their p99 before it and during it."""

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

from tests.soak.asking import Asker
from tests.soak.cases import Cases
from tests.soak.flooding import KINDS
from tests.soak.progress import say
from tests.soak.quantiles import quantile
from tests.soak.site import Site
from tests.soak.wrong import Wrong

GOOD_RATE, FLOOD_RATE = 50.0, 1000.0
RATIO = 2.0
_CLIENTS = 8
_FLOODER = Path(__file__).with_name("flooding.py")


async def good(site: Site, seconds: float) -> list[float]:
    """Ask rightly at a steady rate over connections that are kept; give the seconds of each answer.

    Errors:  Wrong, if one is refused.
    """
    cases, took = Cases(site.issuer), list[float]()

    async def once(asker: Asker, number: int) -> None:
        answer = await asker.ask(cases.good(number).form)
        if answer.code != 0:
            raise Wrong(f"a good client was refused: {answer.status} {answer.cause}")
        took.append(answer.seconds)

    async with AsyncExitStack() as stack:
        askers = [
            await stack.enter_async_context(Asker(site.replicas[0].url, site.place.ca_file))
            for _ in range(_CLIENTS)
        ]
        for number, asker in enumerate(askers):
            await once(asker, number)
        took.clear()
        async with asyncio.TaskGroup() as group:
            began = time.monotonic()
            for number in itertools.count():
                if time.monotonic() - began > seconds:
                    break
                group.create_task(once(askers[number % _CLIENTS], number))
                due = began + (number + 1) / GOOD_RATE
                await asyncio.sleep(max(0.0, due - time.monotonic()))
    return took


async def flood(site: Site, seconds: float, *, rounds: int) -> dict[str, Any]:
    """Measure each kind of flood, round by round, each beside the quiet time before it."""
    report: dict[str, Any] = {"good_rate": GOOD_RATE, "flood_rate": FLOOD_RATE, "kinds": {}}
    for kind in KINDS:
        found = [await _round(site, kind, seconds, number) for number in range(rounds)]
        quiet = statistics.median(one[0] for one in found)
        loud = statistics.median(one[1] for one in found)
        report["kinds"][kind] = {
            "p99_ms_before": round(quiet * 1000, 1),
            "p99_ms_during": round(loud * 1000, 1),
            "ratio": round(loud / quiet, 2),
            "flood": dict(sum((one[2] for one in found), Counter())),
        }
        say(f"flood of {kind}: {report['kinds'][kind]}")
    return report


async def _round(
    site: Site, kind: str, seconds: float, number: int
) -> tuple[float, float, Counter[str]]:
    quiet = quantile(await good(site, seconds), 0.99)
    with _flooding(site, kind, number) as flooder:
        # Its first line says that it has begun.
        first = await asyncio.to_thread(_told, flooder)
        loud = quantile(await good(site, seconds), 0.99)
        if flooder.poll() is not None:
            raise Wrong(f"the flood of {kind} ended by itself")
        flooder.terminate()
        return quiet, loud, _told(flooder, last=True) or first


def _told(flooder: subprocess.Popen[str], *, last: bool = False) -> Counter[str]:
    """Read what a flood has sent, at the first moment at which it was something, or at last."""
    assert flooder.stdout is not None
    counts: Counter[str] = Counter()
    while (line := flooder.stdout.readline()).endswith("\n"):
        counts = Counter(json.loads(line))
        if counts and not last:
            break
    return counts


@contextlib.contextmanager
def _flooding(site: Site, kind: str, number: int) -> Iterator[subprocess.Popen[str]]:
    # An address of its own each time: one that was shut out for the last would send nothing.
    source = f"127.0.{number}.{10 + KINDS.index(kind)}"
    place = [site.replicas[0].url, str(site.place.ca_file), source]
    with subprocess.Popen(
        [sys.executable, str(_FLOODER), *place, kind, str(FLOOD_RATE)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # The flood's own work must not take the processor from the service and its clients.
        preexec_fn=lambda: os.nice(19),
    ) as flooder:
        try:
            yield flooder
        finally:
            flooder.kill()


def check_ratio(report: dict[str, Any]) -> None:
    """Refuse a run in which good clients felt a flood too much.

    Errors:  Wrong.
    """
    for kind, seen in report["kinds"].items():
        if seen["ratio"] > RATIO:
            raise Wrong(f"good clients' p99 under a flood of {kind}: {seen}")
