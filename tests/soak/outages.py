"""The database goes away under exchange load: right answers or 503 with Retry-After, and then it goes on."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.soak.asking import Answer, Asker
from tests.soak.cases import Cases
from tests.soak.progress import say
from tests.soak.quantiles import milliseconds
from tests.soak.site import Site
from tests.soak.wrong import Wrong

LONGEST_SECONDS = 3.5
BACK_SECONDS = 10.0
_UNREADABLE = 90033
_CLIENTS = 8
_PAUSE_SECONDS = 0.02


class Server(Protocol):
    """A database server that can be stopped."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...


@dataclass
class Seen:
    """What clients saw of an outage.

    Units:   seconds by the monotonic clock; `refused_last` None where nobody was refused.
    """

    answers: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    refused_last: float | None = None

    def take(self, answer: Answer, wanted: int) -> None:
        """Judge an answer.

        Errors:  Wrong.
        """
        self.seconds.append(answer.seconds)
        if answer.seconds > LONGEST_SECONDS:
            raise Wrong(f"an answer took {answer.seconds:.1f} s: {answer.status} {answer.cause}")
        if answer.code == wanted:
            self.answers["right"] += 1
            return
        if (answer.status, answer.code) != (503, _UNREADABLE):
            raise Wrong(f"want {wanted} or 503, got {answer.status} {answer.cause}")
        if not (answer.retry_after or "").isdigit():
            raise Wrong(f"503 says Retry-After {answer.retry_after!r}")
        self.answers["503"] += 1
        self.refused_last = time.monotonic()


async def outage(
    site: Site, down: Callable[[], None], up: Callable[[], None], *, seconds: float
) -> dict[str, Any]:
    """Let clients ask while the database goes and comes.

    Errors:  Wrong.
    """
    seen = Seen()
    async with AsyncExitStack() as stack:
        askers = [
            await stack.enter_async_context(
                Asker(site.replicas[each % len(site.replicas)].url, site.place.ca_file)
            )
            for each in range(_CLIENTS)
        ]
        over = asyncio.Event()
        asking = [
            asyncio.ensure_future(_ask(asker, Cases(site.issuer), seen, over)) for asker in askers
        ]
        try:
            await _unless_wrong(asking, asyncio.sleep(seconds / 2))
            await _unless_wrong(asking, asyncio.to_thread(down))
            await _unless_wrong(asking, asyncio.sleep(seconds))
            await _unless_wrong(asking, asyncio.to_thread(up))
            came = time.monotonic()
            await _unless_wrong(asking, asyncio.sleep(seconds))
            before = seen.answers.copy()
            await _unless_wrong(asking, asyncio.sleep(1))
        finally:
            over.set()
            await asyncio.gather(*asking, return_exceptions=True)
    back = max(0.0, (seen.refused_last or came) - came)
    if seen.answers["right"] == before["right"] or back > BACK_SECONDS:
        raise Wrong(f"{back:.1f} s after the database came back, service has not: {seen.answers}")
    return {
        "answers": dict(seen.answers),
        "ms": milliseconds(seen.seconds),
        "back_after_seconds": round(back, 2),
    }


async def _ask(asker: Asker, cases: Cases, seen: Seen, over: asyncio.Event) -> None:
    for number in itertools.count():
        if over.is_set():
            return
        request = cases.bad(number) if number % 4 == 0 else cases.good(number)
        answer = await asker.ask(request.form, request.path)
        seen.take(answer, request.code)
        await asyncio.sleep(_PAUSE_SECONDS)


async def _unless_wrong(asking: Sequence[asyncio.Future[None]], step: Awaitable[Any]) -> None:
    """Do a step; whoever saw something wrong meanwhile ends it."""
    doing = asyncio.ensure_future(step)
    await asyncio.wait([doing, *asking], return_when=asyncio.FIRST_COMPLETED)
    for one in asking:
        if one.done():
            await asyncio.gather(doing, return_exceptions=True)
            one.result()
    await doing


async def outages(site: Site, server: Server, *, seconds: float, rounds: int) -> dict[str, Any]:
    """Stop and kill the server, in turn, under load."""
    found = []
    for number in range(rounds):
        how = "stop" if number % 2 == 0 else "kill"
        down = server.stop if how == "stop" else server.kill
        found.append({"how": how, **await outage(site, down, server.start, seconds=seconds)})
        say(f"database outage {number + 1} of {rounds}: {found[-1]}")
    return {"rounds": found}
