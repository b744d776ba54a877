"""Database outages under load: the service responds correctly or with 503 and Retry-After, then recovers."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.soak.cases import RequestCases
from tests.soak.report import Violation, log_progress, milliseconds
from tests.soak.testbed import Testbed
from tests.soak.token_client import TokenClient, TokenResponse

LONGEST_SECONDS = 3.5
BACK_SECONDS = 10.0
_UNREADABLE = 90033
_CLIENTS = 8
_PAUSE_SECONDS = 0.02


class StoppableServer(Protocol):
    """A database server that a test can stop and kill."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...


@dataclass
class OutageRecord:
    """The responses that clients received during an outage.

    Units: seconds of the monotonic clock; `refused_last` is None if no client was refused.
    """

    answers: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    refused_last: float | None = None

    def record(self, answer: TokenResponse, wanted: int) -> None:
        """Check and count a response. Raises Violation."""
        self.seconds.append(answer.seconds)
        if answer.seconds > LONGEST_SECONDS:
            raise Violation(
                f"a response took {answer.seconds:.1f} s: {answer.status} {answer.cause}"
            )
        if answer.code == wanted:
            self.answers["right"] += 1
            return
        if (answer.status, answer.code) != (503, _UNREADABLE):
            raise Violation(f"want {wanted} or 503, got {answer.status} {answer.cause}")
        if not (answer.retry_after or "").isdigit():
            raise Violation(f"a 503 has Retry-After {answer.retry_after!r}")
        self.answers["503"] += 1
        self.refused_last = time.monotonic()


async def run_outage(
    testbed: Testbed, down: Callable[[], None], up: Callable[[], None], *, seconds: float
) -> dict[str, Any]:
    """Send requests while the database stops and starts again. Raises Violation."""
    seen = OutageRecord()
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                TokenClient(
                    testbed.replicas[each % len(testbed.replicas)].url, testbed.config.ca_file
                )
            )
            for each in range(_CLIENTS)
        ]
        over = asyncio.Event()
        asking = [
            asyncio.ensure_future(_send_requests(client, RequestCases(testbed.issuer), seen, over))
            for client in clients
        ]
        try:
            await _run_step(asking, asyncio.sleep(seconds / 2))
            await _run_step(asking, asyncio.to_thread(down))
            await _run_step(asking, asyncio.sleep(seconds))
            await _run_step(asking, asyncio.to_thread(up))
            came = time.monotonic()
            await _run_step(asking, asyncio.sleep(seconds))
            before = seen.answers.copy()
            await _run_step(asking, asyncio.sleep(1))
        finally:
            over.set()
            await asyncio.gather(*asking, return_exceptions=True)
    back = max(0.0, (seen.refused_last or came) - came)
    if seen.answers["right"] == before["right"] or back > BACK_SECONDS:
        raise Violation(
            f"{back:.1f} s after the database started, the service has not recovered: {seen.answers}"
        )
    return {
        "answers": dict(seen.answers),
        "ms": milliseconds(seen.seconds),
        "back_after_seconds": round(back, 2),
    }


async def _send_requests(
    client: TokenClient, cases: RequestCases, seen: OutageRecord, over: asyncio.Event
) -> None:
    for number in itertools.count():
        if over.is_set():
            return
        request = cases.invalid_request(number) if number % 4 == 0 else cases.valid_request(number)
        answer = await client.request_token(request.form, request.path)
        seen.record(answer, request.code)
        await asyncio.sleep(_PAUSE_SECONDS)


async def _run_step(asking: Sequence[asyncio.Future[None]], step: Awaitable[Any]) -> None:
    """Run a step; raise as soon as a client has received a violation."""
    doing = asyncio.ensure_future(step)
    await asyncio.wait([doing, *asking], return_when=asyncio.FIRST_COMPLETED)
    for one in asking:
        if one.done():
            await asyncio.gather(doing, return_exceptions=True)
            one.result()
    await doing


async def run_outages(
    testbed: Testbed, server: StoppableServer, *, seconds: float, rounds: int
) -> dict[str, Any]:
    """Stop and kill the database server alternately under load."""
    found = []
    for number in range(rounds):
        how = "stop" if number % 2 == 0 else "kill"
        down = server.stop if how == "stop" else server.kill
        found.append({"how": how, **await run_outage(testbed, down, server.start, seconds=seconds)})
        log_progress(f"database outage {number + 1} of {rounds}: {found[-1]}")
    return {"rounds": found}
