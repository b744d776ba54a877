"""The parts of a soak, each with how long it goes on: what `python -m soak` runs, and the short tests."""

import tempfile
from collections.abc import Callable, Coroutine, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import postgres
from tests.soak import admin, admission
from tests.soak.filling import fill
from tests.soak.flood import check_ratio, flood
from tests.soak.kill import Killing
from tests.soak.mixed import AGES, Mixed, Pace, check_flat
from tests.soak.outages import outages
from tests.soak.progress import say
from tests.soak.quantiles import milliseconds, quantile
from tests.soak.replicas import replicas
from tests.soak.site import site
from tests.soak.wrong import Wrong

RESTART_SECONDS = 2.0
# Loads are no clients of whom there are too many.
UNLIMITED = ("--client-rate", "0", "--source-rate", "0", "--refused-rate", "0")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of everything.

    Units:   `minutes` of the mixed load; `seconds` of each stretch of the others.
    """

    seed: int
    rounds: int = 200
    minutes: float = 30
    credentials: int = 100_000
    seconds: float = 10
    workers: int = 1


def check_restarts(seconds: Sequence[float], credentials: int) -> None:
    """Hold the time from a process's start until it serves.

    Errors:  Wrong.
    """
    # Not the slowest: what else the machine does now and then is no matter of ours.
    slow = quantile(seconds, 0.9)
    if credentials and slow > RESTART_SECONDS:
        raise Wrong(f"a restart takes {slow:.2f} s with {credentials:,} credentials")


def folder() -> Any:
    """Give a folder that is removed afterwards."""
    return tempfile.TemporaryDirectory(prefix="podpass-soak-")


async def kill_sqlite(plan: Plan) -> dict[str, Any]:
    """Kill whoever writes to SQLite."""
    with folder() as name:
        url = f"sqlite:///{Path(name) / 'directory.db'}"
        return await _kill(plan, url, Path(name), lambda _number: {})


async def kill_postgres(plan: Plan) -> dict[str, Any]:
    """Kill whoever writes to PostgreSQL, and the server itself every other round."""
    with folder() as name, postgres.running(fsync=True) as server:
        harm = {"crash": server.kill, "recover": server.start}
        return await _kill(
            plan, server.fresh(), Path(name), lambda number: harm if number % 2 else {}
        )


async def _kill(
    plan: Plan, url: str, here: Path, harm: Callable[[int], dict[str, Callable[[], None]]]
) -> dict[str, Any]:
    if plan.credentials:
        say(f"writing {plan.credentials:,} federated credentials")
        await fill(url, plan.credentials)
    killing = Killing(url, here, plan.seed)
    await killing.begin()
    for number in range(plan.rounds):
        await killing.round(**harm(number))
        if (number + 1) % 10 == 0:
            killing.end()
            say(f"{number + 1} of {plan.rounds} rounds, {killing.acknowledged:,} changes held")
    killing.end()
    check_restarts(killing.opened, plan.credentials)
    return {
        "rounds": plan.rounds,
        "changes acknowledged": killing.acknowledged,
        "lost": 0,
        "half done": 0,
        "credentials": plan.credentials,
        "process start to open_ms": milliseconds(killing.opened),
    }


@contextmanager
def _own_database() -> Any:
    with folder() as name, postgres.running(fsync=True) as server:
        yield Path(name), server


async def kill_authority(plan: Plan) -> dict[str, Any]:
    """Kill `podpass authority` while its admin APIs are written to, on both databases."""
    with _own_database() as (here, server):
        found = {}
        rounds = max(2, plan.rounds // 4)
        for kind in ("sqlite", "postgres"):
            (here / kind).mkdir()
            file = f"sqlite:///{here / kind / 'directory.db'}"
            url = file if kind == "sqlite" else server.fresh()
            if plan.credentials:
                await fill(url, plan.credentials)
            async with site(here / kind, url, flags=(*UNLIMITED, *admin.FLAGS)) as made:
                admin.seed(made)
                made.start(1)
                found[kind], started = await admin.admin_kills(made, rounds, plan.seed)
                check_restarts(started, plan.credentials)
        return found


async def database_outages(plan: Plan) -> dict[str, Any]:
    """Stop and kill PostgreSQL under exchange load."""
    with _own_database() as (here, server):
        async with site(here, server.fresh(), flags=(*UNLIMITED, *AGES.flags)) as made:
            made.start(2, workers=plan.workers)
            rounds = max(2, plan.rounds // 20)
            return await outages(made, server, seconds=plan.seconds / 2, rounds=rounds)


async def two_replicas(plan: Plan) -> dict[str, Any]:
    """Kill and drain replicas; let them agree on keys and learn of changes."""
    with _own_database() as (here, server):
        url = server.fresh()
        if plan.credentials:
            await fill(url, plan.credentials)
        async with site(here, url, flags=(*UNLIMITED, *AGES.flags)) as made:
            made.start(2, workers=plan.workers)
            started = [one.started_seconds for one in made.replicas]
            say(f"replicas start in {max(started):.2f} s with {plan.credentials:,} credentials")
            changes = max(2, plan.rounds // 10)
            found = await replicas(made, AGES, seconds=plan.seconds / 2, changes=changes)
            started += [one.started_seconds for one in made.replicas]
            check_restarts(started, plan.credentials)
            return {**found, "credentials": plan.credentials, "start_ms": milliseconds(started)}


async def mixed_load(plan: Plan) -> dict[str, Any]:
    """Everything at once, on two replicas."""
    pace = Pace(seconds=plan.minutes * 60)
    if plan.minutes < 10:
        share = plan.minutes * 60
        pace = Pace(
            seconds=share,
            signing_key=share / 3,
            issuer_key=share / 5,
            outage=share / 2,
            outage_seconds=3,
            sample=0.5,
        )
    with _own_database() as (here, server):
        async with site(here, server.fresh(), flags=(*UNLIMITED, *AGES.flags)) as made:
            made.start(2, workers=plan.workers)
            report = await Mixed(made, pace, plan.seed).run()
    check_flat(report)
    return report


async def flooded(plan: Plan) -> dict[str, Any]:
    """Flood one replica, with its rate limits as they come."""
    with folder() as name:
        here = Path(name)
        async with site(here, f"sqlite:///{here / 'directory.db'}") as made:
            made.start(1, workers=plan.workers)
            report = await flood(made, plan.seconds, rounds=3 if plan.rounds >= 100 else 1)
    if plan.rounds >= 100:
        check_ratio(report)
    return report


async def webhook(plan: Plan) -> dict[str, Any]:
    """Ask the webhook at full rate while ten thousand accounts change and are listed again."""
    with folder() as name:
        pace = admission.Pace(seconds=plan.minutes * 60)
        report = await admission.Admission(Path(name), pace, plan.seed).run()
    check_flat(report)
    if plan.minutes >= 10:
        admission.check_stall(report)
    return report


PARTS: dict[str, Callable[[Plan], Coroutine[Any, Any, dict[str, Any]]]] = {
    "kill-sqlite": kill_sqlite,
    "kill-postgres": kill_postgres,
    "kill-authority": kill_authority,
    "database-outages": database_outages,
    "replicas": two_replicas,
    "mixed": mixed_load,
    "flood": flooded,
    "webhook": webhook,
}
