"""Short runs of what `make soak` does for hours: real processes under load, every response checked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgres
from tests.soak import admin
from tests.soak.flood import measure_floods
from tests.soak.mixed_load import AGES, MixedLoad, MixedLoadPlan
from tests.soak.outages import run_outages
from tests.soak.parts import UNLIMITED
from tests.soak.replicas import check_two_replicas
from tests.soak.testbed import run_testbed

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


@pytest.mark.postgres
@pytest.mark.timeout(900)
async def test_service_recovers_from_one_database_outage(
    tmp_path: Path, server: postgres.Server
) -> None:
    """One round of the test below, which runs in `make soak` only."""
    async with run_testbed(tmp_path, server.fresh(), flags=FLAGS) as testbed:
        testbed.start(1)
        report = await run_outages(testbed, server, seconds=1, rounds=1)
    assert all(one["answers"]["503"] for one in report["rounds"]), "no client saw the outage"


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
async def test_service_recovers_when_the_database_is_available_again(
    tmp_path: Path, server: postgres.Server
) -> None:
    async with run_testbed(tmp_path, server.fresh(), flags=FLAGS) as testbed:
        testbed.start(2)
        report = await run_outages(testbed, server, seconds=2, rounds=2)
    assert all(one["answers"]["503"] for one in report["rounds"]), "no client saw the outages"


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
