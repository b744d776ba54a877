"""Short runs of what `make soak` does for hours: real processes under load, every response checked."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests import postgres
from tests.soak import admin
from tests.soak.flood import measure_floods
from tests.soak.kill import KillRounds
from tests.soak.mixed_load import AGES, MixedLoad, MixedLoadPlan, check_flat
from tests.soak.outages import run_outages
from tests.soak.parts import UNLIMITED
from tests.soak.replicas import check_two_replicas
from tests.soak.report import Violation
from tests.soak.testbed import run_testbed
from tests.soak.webhook_load import WebhookLoad, WebhookLoadPlan, check_stall

pytestmark = pytest.mark.processes

FLAGS = (*UNLIMITED, *AGES.flags)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    with postgres.running(fsync=True) as running:
        yield running


@pytest.mark.timeout(900)
async def test_mixed_load_on_sqlite_gets_no_wrong_response(tmp_path: Path, seed: int) -> None:
    """Workers share the file: every worker uses a change of another worker within a second."""
    url = f"sqlite:///{tmp_path / 'directory.db'}"
    async with run_testbed(tmp_path, url, flags=FLAGS) as testbed:
        testbed.start(1, workers=2)
        report = await MixedLoad(testbed, MixedLoadPlan(seconds=8, signing_key=1), seed).run()
    assert report["wrong_answers"] == 0
    assert report["events"]["signing key rotations"] > 0
    assert report["tokens_checked_by_pyjwt"] > 50
    assert len(report["answers"]) > 10, "only some kinds of responses were returned"


@pytest.mark.timeout(900)
async def test_acknowledged_admin_changes_survive_kill_9(tmp_path: Path, seed: int) -> None:
    url, flags = f"sqlite:///{tmp_path / 'directory.db'}", (*FLAGS, *admin.FLAGS)
    async with run_testbed(tmp_path, url, flags=flags) as testbed:
        admin.seed_administrator(testbed)
        testbed.start(1)
        report, started = await admin.admin_kills(testbed, 2, seed)
    assert len(started) == 2
    assert report["changes answered"] > 0, "the replica was killed before the first change"


@pytest.mark.timeout(900)
async def test_well_behaved_clients_are_served_during_a_flood(tmp_path: Path) -> None:
    async with run_testbed(tmp_path, f"sqlite:///{tmp_path / 'directory.db'}") as testbed:
        testbed.start(1)
        report = await measure_floods(testbed, seconds=1, rounds=1, nice=0)
    assert all(seen["flood"] for seen in report["kinds"].values()), "a flood sent no request"
    assert report["kinds"]


@pytest.mark.parametrize(
    "rounds", [pytest.param(1, marks=pytest.mark.postgres), pytest.param(2, marks=pytest.mark.soak)]
)
@pytest.mark.timeout(900)
async def test_service_recovers_when_the_database_is_available_again(
    tmp_path: Path, server: postgres.Server, rounds: int
) -> None:
    async with run_testbed(tmp_path, server.fresh(), flags=FLAGS) as testbed:
        testbed.start(rounds)
        report = await run_outages(testbed, server, seconds=rounds, rounds=rounds)
    assert all(one["answers"]["503"] for one in report["rounds"]), "no client saw the outages"


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_mixed_load_on_two_replicas_gets_no_wrong_response(
    tmp_path: Path, server: postgres.Server, seed: int
) -> None:
    async with run_testbed(tmp_path, server.fresh(), flags=FLAGS) as testbed:
        testbed.start(2)
        plan = MixedLoadPlan(seconds=30, signing_key=10, issuer_key=5, outage=25, outage_seconds=3)
        report = await MixedLoad(testbed, plan, seed).run()
    assert report["wrong_answers"] == 0
    expected = {"signing key rotations", "issuer key rotations", "identities changed five times"}
    assert expected <= set(report["events"])


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_no_exchange_fails_when_a_replica_is_drained_or_another_is_killed(
    tmp_path: Path, server: postgres.Server
) -> None:
    """Replicas agree on signing keys, and each uses a change of another replica within a second."""
    async with run_testbed(tmp_path, server.fresh(), flags=FLAGS) as testbed:
        testbed.start(2)
        report = await check_two_replicas(testbed, AGES, seconds=2, changes=2)
    assert report["drained"]["failed"] == report["killed"]["failed"] == 0
    assert report["changes"]["changes"] == 10


async def test_memory_and_descriptors_stay_constant_while_accounts_change_and_are_listed(
    tmp_path: Path,
) -> None:
    plan = WebhookLoadPlan(seconds=12, accounts=2000, relist=1.0, sample=0.2, stretch=2.0)
    report = await WebhookLoad(tmp_path, plan, seed=1).run()
    check_flat(report)
    assert report["pods mutated"] > 100
    assert report["lists"] >= 3
    assert report["read live"] == 0, "a new list keeps the cached accounts"


def test_blocked_event_loop_fails() -> None:
    check_stall({"longest stall_ms": {"total": 900.0, "process": 50.0}})
    with pytest.raises(Violation, match=r"blocked for 50\.1 ms"):
        check_stall({"longest stall_ms": {"total": 900.0, "process": 50.1}})


ROUNDS = 5


@pytest.mark.timeout(120)
async def test_acknowledged_changes_survive_kill_9_and_none_is_partial(
    tmp_path: Path, seed: int
) -> None:
    rounds = KillRounds(f"sqlite:///{tmp_path / 'directory.db'}", tmp_path, seed)
    await rounds.prepare()
    for _ in range(ROUNDS):
        await rounds.run_round()
    rounds.check_integrity()
    assert rounds.acknowledged > 0, "every writer was killed before its first change"


@pytest.mark.postgres
@pytest.mark.timeout(180)
async def test_acknowledged_changes_survive_kill_9_of_postgresql(tmp_path: Path, seed: int) -> None:
    with postgres.running(fsync=True) as server:
        rounds = KillRounds(server.fresh(), tmp_path, seed)
        await rounds.prepare()
        for number in range(ROUNDS):
            if number % 2:
                await rounds.run_round(server.kill, server.start)
            else:
                await rounds.run_round()
    assert rounds.acknowledged > 0, "every writer was killed before its first change"


async def test_lost_row_is_reported(tmp_path: Path, seed: int) -> None:
    """The checks must be able to fail."""
    path = tmp_path / "directory.db"
    rounds = KillRounds(f"sqlite:///{path}", tmp_path, seed)
    await rounds.prepare()
    await rounds.run_round()
    while not rounds.acknowledged:
        await rounds.run_round()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("delete from audit_entries where serial = 2")
    with pytest.raises(Violation, match="has changed after its round"):
        await rounds.run_round()


async def test_partial_change_is_reported(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "directory.db"
    rounds = KillRounds(f"sqlite:///{path}", tmp_path, seed)
    await rounds.prepare()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "create trigger forgets after insert on federated_credentials"
            " when new.name = 'c13' begin delete from federated_credentials where name = 'c13'; end"
        )

    async def run_rounds() -> None:
        while rounds.acknowledged < 20:
            await rounds.run_round()

    with pytest.raises(Violation, match="lost: federated_credentials"):
        await run_rounds()
