"""The service's signing keys on both databases: rotation, withdrawal, damage, clocks."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy import delete, select, update

from podpass.crypto import jose
from podpass.crypto.envelope import InvalidSealingKey, Sealer
from podpass.database import CorruptRowError, Database
from podpass.exchange.schema import signing_keys
from podpass.exchange.signing import schedule, transactions
from podpass.exchange.signing.key_set import AuthorityKeys, KeyNotRetired, SigningKeysStale
from podpass.exchange.signing.key_store import DamagedKeysError
from podpass.exchange.signing.schedule import KeySchedule
from podpass.exchange.signing.token_sealer import BrokenSeal
from tests.waiting import eventually

SEALING = bytes(range(32))
SCHEDULE = KeySchedule(rotation_seconds=1000, ahead_seconds=100, token_seconds=50, skew_seconds=10)


@dataclass
class Clocks:
    """A wall clock that can be set, and a monotonic clock."""

    now: float = 1_750_000_000.0
    ticks: float = 0.0
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.ticks += seconds


@pytest.fixture
async def time() -> AsyncIterator[Clocks]:
    made = Clocks()
    async with made.stack:
        yield made


Open = Callable[..., Awaitable[AuthorityKeys]]


async def _open(url: str, time: Clocks, sealing: Path | bytes = SEALING) -> AuthorityKeys:
    database = await time.stack.enter_async_context(Database(url))
    return await AuthorityKeys.open(
        database, sealing, lambda: time.now, SCHEDULE, ticks=lambda: time.ticks
    )


@pytest.fixture
def replica(database_url: str, time: Clocks) -> Open:
    """Return a function that opens the keys as another replica."""
    return partial(_open, database_url, time)


def list_key_ids(keys: AuthorityKeys) -> list[str]:
    return [key.kid for key in keys.published]


async def test_two_keys_are_published_from_the_first_start(replica: Open) -> None:
    keys, again = await replica(), await replica()
    assert len(list_key_ids(keys)) == 2
    assert list_key_ids(again) == list_key_ids(keys)
    assert keys.active.kid == again.active.kid == list_key_ids(keys)[0]


async def test_key_id_is_the_certificate_thumbprint(replica: Open, time: Clocks) -> None:
    for key in (await replica()).published:
        certificate = x509.load_der_x509_certificate(key.certificate)
        assert key.kid == jose.b64encode(hashlib.sha1(key.certificate).digest())
        assert certificate.public_key() == key.public
        assert certificate.not_valid_before_utc.timestamp() == time.now
        certificate.verify_directly_issued_by(certificate)


async def test_every_replica_signs_with_the_next_key_at_its_time(
    replica: Open, time: Clocks
) -> None:
    one, other = await replica(), await replica()
    first, second = list_key_ids(one)
    time.advance(999.9)
    assert one.active.kid == other.active.kid == first
    time.advance(0.1)
    assert one.active.kid == other.active.kid == second
    # The first key signs again when the clock is set back, because it is still stored.
    time.now -= 1
    assert one.active.kid == first


async def test_following_key_is_published_before_it_signs(replica: Open, time: Clocks) -> None:
    one, other = await replica(), await replica()
    time.advance(1000)
    await one.ensure_keys()
    await other.refresh()
    assert len(list_key_ids(one)) == 3
    assert list_key_ids(other) == list_key_ids(one)
    assert one.slots[-1].activates == time.now + 1000


async def test_concurrent_rotations_of_two_replicas_create_one_key(
    replica: Open, time: Clocks
) -> None:
    replicas = [await replica() for _ in range(4)]
    time.advance(1000)
    await asyncio.gather(*(each.ensure_keys() for each in replicas))
    await asyncio.gather(*(each.refresh() for each in replicas))
    assert {tuple(list_key_ids(each)) for each in replicas} == {tuple(list_key_ids(replicas[0]))}
    assert len(list_key_ids(replicas[0])) == 3


async def test_two_concurrent_operator_rotations_rotate_once(replica: Open, time: Clocks) -> None:
    replicas = [await replica() for _ in range(2)]
    first, second = list_key_ids(replicas[0])
    time.advance(200)
    rotated = await asyncio.gather(*(each.rotate() for each in replicas))
    assert {rotated_key.kid for rotated_key in rotated} == {second}
    await asyncio.gather(*(each.refresh() for each in replicas))
    assert {each.active.kid for each in replicas} == {second}
    assert {len(list_key_ids(each)) for each in replicas} == {3}
    assert list_key_ids(replicas[0])[0] == first


async def test_early_rotation_waits_until_consumers_know_the_key(
    replica: Open, time: Clocks
) -> None:
    keys = await replica()
    first, second = list_key_ids(keys)
    time.advance(30)
    rotated_key = await keys.rotate()
    assert (rotated_key.kid, rotated_key.activates) == (second, time.now + 70)
    assert keys.active.kid == first
    time.advance(70)
    assert keys.active.kid == second


async def test_immediate_rotation_signs_with_the_next_key(replica: Open, time: Clocks) -> None:
    keys, other = await replica(), await replica()
    second = list_key_ids(keys)[1]
    rotated_key = await keys.rotate(at_once=True)
    assert (rotated_key.kid, rotated_key.activates) == (second, time.now)
    await other.refresh()
    assert keys.active.kid == other.active.kid == second
    assert len(list_key_ids(other)) == 3


async def test_key_is_deleted_when_all_its_tokens_expired(replica: Open, time: Clocks) -> None:
    keys = await replica()
    first = keys.active.kid
    time.advance(1000)
    await keys.ensure_keys()
    time.advance(59)
    await keys.ensure_keys()
    assert first in list_key_ids(keys)
    time.advance(1)
    await keys.ensure_keys()
    assert first not in list_key_ids(keys)
    assert len(list_key_ids(keys)) == 2


async def test_clock_jump_deletes_no_key_of_valid_tokens(replica: Open, time: Clocks) -> None:
    keys = await replica()
    first = keys.active.kid
    for jump in (5000, 90 * 24 * 3600, -10_000, 10 * 365 * 24 * 3600):
        time.now += jump
        await keys.ensure_keys()
        assert keys.active.kid in list_key_ids(keys)
        time.now -= jump
        await keys.ensure_keys()
        assert keys.active.kid == first
    # The clock jump does not stop rotation permanently.
    time.advance(1000)
    await keys.ensure_keys()
    assert keys.active.kid != first
    after = schedule.next_key(keys.slots, time.now)
    assert after is not None
    assert after.activates <= time.now + 1000


async def test_only_a_key_out_of_use_can_be_withdrawn(replica: Open) -> None:
    keys, other = await replica(), await replica()
    first = keys.active.kid
    for kid in (first, list_key_ids(keys)[1], "strange"):
        with pytest.raises(KeyNotRetired, match="out of use"):
            await keys.retire(kid)
    await keys.rotate(at_once=True)
    await keys.retire(first)
    await other.refresh()
    assert first not in list_key_ids(keys) + list_key_ids(other)
    assert keys.active.kid == other.active.kid


async def test_all_leaked_keys_are_replaced_immediately(replica: Open) -> None:
    keys, other = await replica(), await replica()
    before = list_key_ids(keys)
    text = keys.token_sealer.seal("p", {"v": 1})
    await keys.replace_all()
    await other.refresh()
    assert list_key_ids(other) == list_key_ids(keys)
    assert not set(before) & set(list_key_ids(keys))
    assert keys.active.kid == other.active.kid
    # The old token seal no longer creates valid refresh tokens.
    for each in (keys, other):
        with pytest.raises(BrokenSeal):
            each.token_sealer.open("p", text)
    assert other.token_sealer.open("p", keys.token_sealer.seal("p", {"v": 2})) == {"v": 2}


async def test_keys_replaced_under_another_sealing_key_are_no_longer_used(
    replica: Open, database_url: str
) -> None:
    """Signing keys and sealing key leaked: no replica may accept the old keys, also without the new ones."""
    keys, logged = await replica(), asyncio.Event()
    async with Database(database_url) as database, keys.running(logged.set):
        await AuthorityKeys(database, Sealer(bytes(32))).replace_all()
        async with asyncio.timeout(5):
            await logged.wait()
        assert list_key_ids(keys) == []
        with pytest.raises(SigningKeysStale):
            _ = keys.active
    with pytest.raises(InvalidSealingKey):
        await replica()


async def test_database_contains_no_plain_secret(replica: Open) -> None:
    keys = await replica()

    def rows(connection: object) -> bytes:
        found = connection.execute(select(signing_keys)).all()  # type: ignore[attr-defined]
        return b"".join(bytes(row.sealed) for row in found)

    stored = await keys.database.read(rows)
    assert b"PRIVATE KEY" not in stored
    assert b"CERTIFICATE" not in stored


async def test_wrong_sealing_key_is_refused_with_a_hint(replica: Open) -> None:
    keys = await replica()
    with pytest.raises(InvalidSealingKey) as caught:
        await replica(bytes(32))
    assert "every replica" in caught.value.hint
    assert list_key_ids(await replica()) == list_key_ids(keys)


async def test_damaged_row_is_named_and_prevents_the_start(replica: Open) -> None:
    keys = await replica()
    kid = list_key_ids(keys)[1]
    await damage(keys, kid)
    with pytest.raises(DamagedKeysError, match=kid) as caught:
        await replica()
    assert "backup" in caught.value.hint


async def test_all_damaged_keys_are_not_reported_as_wrong_sealing_key(replica: Open) -> None:
    """The sealing key opens the token seal. Fails if the error blames the sealing key."""
    keys = await replica()
    for kid in list_key_ids(keys):
        await damage(keys, kid)
    with pytest.raises(DamagedKeysError, match="damaged") as caught:
        await replica()
    assert "backup" in caught.value.hint


@pytest.mark.parametrize("which", [0, 1])
async def test_running_replica_keeps_keys_that_were_damaged_later(
    replica: Open, which: int
) -> None:
    keys, other = await replica(), await replica()
    before, signs = list_key_ids(keys), keys.active.kid
    await damage(keys, before[which])
    await keys.refresh()
    assert list_key_ids(keys) == before
    assert keys.active.kid == signs
    assert keys.damaged == [before[which]]
    # A deleted row is a withdrawn key.
    gone = delete(signing_keys).where(signing_keys.c.kid == before[which])
    await keys.database.write(lambda c: c.execute(gone))
    for each in (keys, other):
        await each.refresh()
        assert list_key_ids(each) == [before[1 - which]]
        assert each.damaged == []


async def test_damaged_next_key_can_be_withdrawn_and_is_replaced(
    replica: Open, time: Clocks
) -> None:
    keys = await replica()
    first, second = list_key_ids(keys)
    await damage(keys, second)
    # With a wrong sealing key all keys appear damaged; then none can be withdrawn.
    other_sealer = AuthorityKeys(keys.database, Sealer(bytes(32)), lambda: time.now, SCHEDULE)
    with pytest.raises(KeyNotRetired, match="no key with this ID"):
        await other_sealer.retire(second)
    await keys.retire(second)
    async with (await replica()).running() as again:
        assert list_key_ids(again)[0] == first
        assert list_key_ids(again)[1] not in (first, second)


async def test_damaged_active_key_cannot_be_withdrawn(replica: Open) -> None:
    keys = await replica()
    await damage(keys, keys.active.kid)
    with pytest.raises(KeyNotRetired, match="no key with this ID"):
        await keys.retire(keys.active.kid)


async def damage(keys: AuthorityKeys, kid: str) -> None:
    change = update(signing_keys).where(signing_keys.c.kid == kid)
    await keys.database.write(lambda c: c.execute(change.values(sealed=b"x" * 99)))


async def test_sealed_key_does_not_open_in_another_row(replica: Open) -> None:
    keys = await replica()
    first, second = list_key_ids(keys)
    table = signing_keys.c

    def swap(connection: object) -> None:
        run = connection.execute  # type: ignore[attr-defined]
        sealed = dict(run(select(table.kid, table.sealed)).all())
        for kid, other in ((first, second), (second, first)):
            run(update(signing_keys).where(table.kid == kid).values(sealed=sealed[other]))

    await keys.database.write(swap)
    with pytest.raises(DamagedKeysError, match=f"{first}, {second}"):
        await replica()


async def test_sealing_key_is_created_only_on_the_first_start(
    replica: Open, tmp_path: Path
) -> None:
    path = tmp_path / "keys" / "sealing.key"
    keys = await replica(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list_key_ids(await replica(path)) == list_key_ids(keys)
    path.unlink()
    with pytest.raises(InvalidSealingKey, match=r"sealing\.key is missing") as caught:
        await replica(path)
    assert "restore the file" in caught.value.hint
    assert not path.exists()


async def test_replica_with_stale_keys_does_not_sign(replica: Open, time: Clocks) -> None:
    keys = await replica()
    async with keys.running():
        assert keys.active
        time.now += 5.1
        with pytest.raises(SigningKeysStale) as caught:
            keys.active  # noqa: B018
        assert caught.value.status == 503
        # The failed call woke the background task, which refreshes the keys.
        await eventually(lambda: keys._read_at == time.now)
        assert keys.active


@pytest.mark.parametrize("moved", [90_000.0, -90_000.0])
async def test_clock_jump_refuses_no_request_while_keys_can_be_read(
    replica: Open, time: Clocks, moved: float
) -> None:
    """A laptop wakes up after a day: the first request must not be refused."""
    keys = await replica()
    async with keys.running():
        time.now += moved
        with pytest.raises(SigningKeysStale):
            keys.active  # noqa: B018
        found = await asyncio.gather(*(keys.current() for _ in range(50)))
        assert {key.kid for key in found} == {keys.active.kid}


async def test_key_withdrawn_before_a_clock_jump_does_not_sign_after_it(
    replica: Open, time: Clocks
) -> None:
    """The replica signs again because of the read, not because of the request."""
    keys = await replica()
    async with keys.running():
        await keys.database.write(lambda c: c.execute(delete(signing_keys)))
        time.now += 90_000
        with pytest.raises(SigningKeysStale) as caught:
            await keys.current()
        assert caught.value.status == 503


async def test_running_replicas_follow_a_rotation_within_a_second(replica: Open) -> None:
    keys, other = await replica(), await replica()
    async with keys.running(), other.running():
        rotated_key = await keys.rotate(at_once=True)
        await eventually(
            lambda: (
                other.active.kid == rotated_key.kid and list_key_ids(other) == list_key_ids(keys)
            )
        )


async def test_deleted_keys_are_no_longer_used(replica: Open) -> None:
    """Deleting all rows withdraws all keys."""
    keys = await replica()
    async with keys.running():
        await keys.database.write(lambda c: c.execute(delete(signing_keys)))
        await keys.refresh()
        assert list_key_ids(keys) == []
        for _ in range(3):
            with pytest.raises(SigningKeysStale):
                keys.active  # noqa: B018
            await keys.ensure_keys()


async def test_interrupted_rotation_is_completed(replica: Open, time: Clocks) -> None:
    keys = await replica()
    first, second = list_key_ids(keys)
    await keys.database.write(
        lambda c: transactions.activate_earlier(
            c, SCHEDULE, replaces=first, at_once=True, now=time.now
        )
    )
    again = await replica()
    assert again.active.kid == second
    async with again.running():
        assert list_key_ids(again)[:2] == [first, second]
        assert len(list_key_ids(again)) == 3


async def test_key_with_corrupt_times_still_signs_at_running_replicas(replica: Open) -> None:
    """Fails if one corrupt row stops all reads: every replica would stop signing after some minutes."""
    one = await replica()
    first, second = list_key_ids(one)
    change = update(signing_keys).where(signing_keys.c.kid == first).values(activates=9e99)
    await one.database.write(lambda connection: connection.execute(change))
    await one.refresh()
    assert (one.active.kid, list_key_ids(one), list(one.damaged)) == (
        first,
        [first, second],
        [first],
    )
    # No process starts with such keys, and no change is written.
    with pytest.raises(DamagedKeysError, match="is damaged"):
        await replica()
    with pytest.raises(CorruptRowError, match=first):
        await one.rotate()
    await one.retire(first)
    assert (one.active.kid, list(one.damaged)) == (second, [])
    await one.ensure_keys()
    assert len(list_key_ids(one)) == 2


async def test_database_with_corrupt_times_is_not_treated_as_new(replica: Open) -> None:
    """Fails if corrupt rows are not counted: a start would create new keys next to them."""
    one = await replica()
    await one.database.write(
        lambda connection: connection.execute(update(signing_keys).values(activates=9e99))
    )
    with pytest.raises(DamagedKeysError, match="is damaged"):
        await replica()
    await one.replace_all()
    assert len(list_key_ids(await replica())) == 2
