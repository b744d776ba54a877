"""The parts of a soak and how long each runs: what `python -m tests.soak` runs."""

import tempfile
from collections.abc import Callable, Coroutine, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import postgres
from tests.soak import admin, webhook_load
from tests.soak.bulk_load import load_credentials
from tests.soak.flood import check_ratio, measure_floods
from tests.soak.kill import KillRounds
from tests.soak.mixed_load import AGES, MixedLoad, MixedLoadPlan, check_flat
from tests.soak.outages import run_outages
from tests.soak.replicas import check_two_replicas
from tests.soak.report import Violation, log_progress, milliseconds, quantile
from tests.soak.testbed import run_testbed

RESTART_SECONDS = 2.0
# The rate limits are off: all load comes from one address.
UNLIMITED = ("--client-rate", "0", "--source-rate", "0", "--refused-rate", "0")


@dataclass(frozen=True, kw_only=True)
class SoakPlan:
    """The durations and the numbers of rounds of the parts.

    Units: `minutes` is the time of the mixed load; `seconds` is the time of each step of the other parts.
    """

    seed: int
    rounds: int = 200
    minutes: float = 30
    credentials: int = 100_000
    seconds: float = 10
    workers: int = 1


def check_restarts(seconds: Sequence[float], credentials: int) -> None:
    """Check the time from the start of a process until it serves. Raises Violation."""
    # The p90 and not the slowest: other programs of the machine may delay one start.
    slow = quantile(seconds, 0.9)
    if credentials and slow > RESTART_SECONDS:
        raise Violation(f"a restart takes {slow:.2f} s with {credentials:,} credentials")


def temporary_folder() -> Any:
    """Return a temporary folder that is removed at the end."""
    return tempfile.TemporaryDirectory(prefix="podpass-soak-")


async def kill_sqlite(plan: SoakPlan) -> dict[str, Any]:
    """Kill the process that writes to SQLite."""
    with temporary_folder() as name:
        url = f"sqlite:///{Path(name) / 'directory.db'}"
        return await _kill(plan, url, Path(name), lambda _number: {})


async def kill_postgres(plan: SoakPlan) -> dict[str, Any]:
    """Kill the process that writes to PostgreSQL, and in every other round the server itself."""
    with temporary_folder() as name, postgres.running(fsync=True) as server:
        harm = {"crash": server.kill, "recover": server.start}
        return await _kill(
            plan, server.fresh(), Path(name), lambda number: harm if number % 2 else {}
        )


async def _kill(
    plan: SoakPlan, url: str, here: Path, harm: Callable[[int], dict[str, Callable[[], None]]]
) -> dict[str, Any]:
    if plan.credentials:
        log_progress(f"writing {plan.credentials:,} federated credentials")
        await load_credentials(url, plan.credentials)
    rounds = KillRounds(url, here, plan.seed)
    await rounds.prepare()
    for number in range(plan.rounds):
        await rounds.run_round(**harm(number))
        if (number + 1) % 10 == 0:
            rounds.check_integrity()
            log_progress(
                f"{number + 1} of {plan.rounds} rounds, {rounds.acknowledged:,} changes stored"
            )
    rounds.check_integrity()
    check_restarts(rounds.start_seconds, plan.credentials)
    return {
        "rounds": plan.rounds,
        "changes acknowledged": rounds.acknowledged,
        "lost": 0,
        "half done": 0,
        "credentials": plan.credentials,
        "process start to open_ms": milliseconds(rounds.start_seconds),
    }


@contextmanager
def _own_database() -> Any:
    with temporary_folder() as name, postgres.running(fsync=True) as server:
        yield Path(name), server


async def kill_authority(plan: SoakPlan) -> dict[str, Any]:
    """Kill `podpass authority` during writes to its admin APIs, on both databases."""
    with _own_database() as (here, server):
        found = {}
        rounds = max(2, plan.rounds // 4)
        for kind in ("sqlite", "postgres"):
            (here / kind).mkdir()
            file = f"sqlite:///{here / kind / 'directory.db'}"
            url = file if kind == "sqlite" else server.fresh()
            if plan.credentials:
                await load_credentials(url, plan.credentials)
            async with run_testbed(here / kind, url, flags=(*UNLIMITED, *admin.FLAGS)) as testbed:
                admin.seed_administrator(testbed)
                testbed.start(1)
                found[kind], started = await admin.admin_kills(testbed, rounds, plan.seed)
                check_restarts(started, plan.credentials)
        return found


async def database_outages(plan: SoakPlan) -> dict[str, Any]:
    """Stop and kill PostgreSQL while clients request tokens."""
    with _own_database() as (here, server):
        async with run_testbed(here, server.fresh(), flags=(*UNLIMITED, *AGES.flags)) as testbed:
            testbed.start(2, workers=plan.workers)
            rounds = max(2, plan.rounds // 20)
            return await run_outages(testbed, server, seconds=plan.seconds / 2, rounds=rounds)


async def two_replicas(plan: SoakPlan) -> dict[str, Any]:
    """Kill and drain replicas; check that they use the same keys and receive changes."""
    with _own_database() as (here, server):
        url = server.fresh()
        if plan.credentials:
            await load_credentials(url, plan.credentials)
        async with run_testbed(here, url, flags=(*UNLIMITED, *AGES.flags)) as testbed:
            testbed.start(2, workers=plan.workers)
            started = [one.started_seconds for one in testbed.replicas]
            log_progress(
                f"replicas start in {max(started):.2f} s with {plan.credentials:,} credentials"
            )
            changes = max(2, plan.rounds // 10)
            found = await check_two_replicas(
                testbed, AGES, seconds=plan.seconds / 2, changes=changes
            )
            started += [one.started_seconds for one in testbed.replicas]
            check_restarts(started, plan.credentials)
            return {**found, "credentials": plan.credentials, "start_ms": milliseconds(started)}


async def mixed_load(plan: SoakPlan) -> dict[str, Any]:
    """Run all kinds of requests and events at once on two replicas."""
    load_plan = MixedLoadPlan(seconds=plan.minutes * 60)
    if plan.minutes < 10:
        share = plan.minutes * 60
        load_plan = MixedLoadPlan(
            seconds=share,
            signing_key=share / 3,
            issuer_key=share / 5,
            outage=share / 2,
            outage_seconds=3,
            sample=0.5,
        )
    with _own_database() as (here, server):
        async with run_testbed(here, server.fresh(), flags=(*UNLIMITED, *AGES.flags)) as testbed:
            testbed.start(2, workers=plan.workers)
            report = await MixedLoad(testbed, load_plan, plan.seed).run()
    check_flat(report)
    return report


async def flooded(plan: SoakPlan) -> dict[str, Any]:
    """Send floods to one replica that has the default rate limits."""
    with temporary_folder() as name:
        here = Path(name)
        async with run_testbed(here, f"sqlite:///{here / 'directory.db'}") as testbed:
            testbed.start(1, workers=plan.workers)
            report = await measure_floods(
                testbed, plan.seconds, rounds=3 if plan.rounds >= 100 else 1
            )
    if plan.rounds >= 100:
        check_ratio(report)
    return report


async def webhook(plan: SoakPlan) -> dict[str, Any]:
    """Send reviews to the webhook at full rate while ten thousand accounts change and are listed again."""
    with temporary_folder() as name:
        load_plan = webhook_load.WebhookLoadPlan(seconds=plan.minutes * 60)
        report = await webhook_load.WebhookLoad(Path(name), load_plan, plan.seed).run()
    check_flat(report)
    if plan.minutes >= 10:
        webhook_load.check_stall(report)
    return report


PARTS: dict[str, Callable[[SoakPlan], Coroutine[Any, Any, dict[str, Any]]]] = {
    "kill-sqlite": kill_sqlite,
    "kill-postgres": kill_postgres,
    "kill-authority": kill_authority,
    "database-outages": database_outages,
    "replicas": two_replicas,
    "mixed": mixed_load,
    "flood": flooded,
    "webhook": webhook,
}
