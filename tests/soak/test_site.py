"""What `make soak` does for hours, for seconds: real processes under load, and each answer looked at."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgres
from tests.soak import admin
from tests.soak.flood import flood
from tests.soak.mixed import AGES, Mixed, Pace
from tests.soak.outages import outages
from tests.soak.parts import UNLIMITED
from tests.soak.replicas import replicas
from tests.soak.site import site

SEED = int(os.environ.get("SOAK_SEED", "0")) or int.from_bytes(os.urandom(3))
FLAGS = (*UNLIMITED, *AGES.flags)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    with postgres.running(fsync=True) as running:
        yield running


@pytest.mark.timeout(90)
async def test_a_mixed_load_on_sqlite_gets_no_wrong_answer(tmp_path: Path) -> None:
    """Workers share the file: a change by one process is known to the others within a second."""
    async with site(tmp_path, f"sqlite:///{tmp_path / 'directory.db'}", flags=FLAGS) as made:
        made.start(1, workers=2)
        report = await Mixed(made, Pace(seconds=8, signing_key=1), SEED).run()
    assert report["wrong_answers"] == 0
    assert report["events"]["signing key rotations"] > 0
    assert report["tokens_checked_by_pyjwt"] > 50
    assert len(report["answers"]) > 10, "only some kinds of answers were seen"


@pytest.mark.timeout(90)
async def test_what_the_admin_apis_answered_outlives_kill_9(tmp_path: Path) -> None:
    url, flags = f"sqlite:///{tmp_path / 'directory.db'}", (*FLAGS, *admin.FLAGS)
    async with site(tmp_path, url, flags=flags) as made:
        admin.seed(made)
        made.start(1)
        report, started = await admin.admin_kills(made, 2, SEED)
    assert len(started) == 2
    assert report["changes answered"] > 0, "it was killed too early"


@pytest.mark.timeout(90)
async def test_good_clients_are_answered_in_a_flood(tmp_path: Path) -> None:
    async with site(tmp_path, f"sqlite:///{tmp_path / 'directory.db'}") as made:
        made.start(1)
        report = await flood(made, seconds=1, rounds=1)
    assert all(seen["flood"] for seen in report["kinds"].values()), "there was no flood"


@pytest.mark.postgres
@pytest.mark.timeout(120)
async def test_a_mixed_load_on_two_replicas_gets_no_wrong_answer(
    tmp_path: Path, server: postgres.Server
) -> None:
    async with site(tmp_path, server.fresh(), flags=FLAGS) as made:
        made.start(2)
        pace = Pace(seconds=30, signing_key=10, issuer_key=5, outage=25, outage_seconds=3)
        report = await Mixed(made, pace, SEED).run()
    assert report["wrong_answers"] == 0
    wanted = {"signing key rotations", "issuer key rotations", "identities changed five times"}
    assert wanted <= set(report["events"])


@pytest.mark.postgres
@pytest.mark.timeout(90)
async def test_service_goes_on_by_itself_when_the_database_comes_back(
    tmp_path: Path, server: postgres.Server
) -> None:
    async with site(tmp_path, server.fresh(), flags=FLAGS) as made:
        made.start(2)
        report = await outages(made, server, seconds=2, rounds=2)
    assert all(one["answers"]["503"] for one in report["rounds"]), "nobody noticed"


@pytest.mark.postgres
@pytest.mark.timeout(90)
async def test_no_exchange_fails_when_a_replica_is_drained_or_another_is_killed(
    tmp_path: Path, server: postgres.Server
) -> None:
    """Replicas agree on signing keys, and each honours within a second what was changed at another."""
    async with site(tmp_path, server.fresh(), flags=FLAGS) as made:
        made.start(2)
        report = await replicas(made, AGES, seconds=2, changes=2)
    assert report["drained"]["failed"] == report["killed"]["failed"] == 0
    assert report["changes"]["changes"] == 10
